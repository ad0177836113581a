"""Tokens as maps and back."""

import numpy as np
import pytest

from salience_service.bundle.manifest import Tap, TokenLayout
from salience_service.maps.layout import folded, unfolded

MAPS = np.arange(2 * 2 * 3, dtype=np.float32).reshape(2, 2, 3)


def tap(layout: TokenLayout) -> Tap:
    return Tap("tokens", 2, 2, 3, "tap_0", layout)


def test_token_i_lies_at_row_i_over_width_and_column_i_modulo_width() -> None:
    tokens = np.float32([[10 * i, 10 * i + 1] for i in range(6)])
    maps = folded(tokens, tap(TokenLayout.TOKENS))
    assert maps.shape == (2, 2, 3)
    for i in range(6):
        np.testing.assert_array_equal(maps[:, i // 3, i % 3], tokens[i])


def test_the_class_token_comes_first_and_has_no_place() -> None:
    tokens = np.float32([[-1, -1]] + [[i, 100 + i] for i in range(6)])
    maps = folded(tokens, tap(TokenLayout.CLASS_AND_TOKENS))
    np.testing.assert_array_equal(maps[0].ravel(), np.arange(6))
    np.testing.assert_array_equal(maps[1].ravel(), 100 + np.arange(6))


@pytest.mark.parametrize("layout", TokenLayout)
def test_unfolding_undoes_folding(layout: TokenLayout) -> None:
    laid_out = unfolded(MAPS, tap(layout))
    np.testing.assert_array_equal(folded(laid_out, tap(layout)), MAPS)
    if layout is TokenLayout.CLASS_AND_TOKENS:
        np.testing.assert_array_equal(laid_out[0], [0, 0])
