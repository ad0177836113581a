"""The classes with the highest logits: as a stable sort has them."""

import numpy as np
import pytest

from salience_service.targets.highest import highest


@pytest.mark.parametrize("count", [1, 2, 5, 9, 10, 11, 32])
def test_they_are_the_first_of_a_stable_sort(count: int) -> None:
    rng = np.random.default_rng(count)
    for _ in range(20):
        logits = rng.integers(-3, 3, 10).astype(np.float32)  # Many are equal.
        wanted = np.argsort(-logits, kind="stable")[:count]
        np.testing.assert_array_equal(highest(logits, count), wanted)


@pytest.mark.parametrize("count", [1, 2, 4])
def test_infinities_have_their_places(count: int) -> None:
    logits = np.array([-np.inf, 1, np.inf, -np.inf, np.inf], np.float32)
    assert highest(logits, count).tolist() == [2, 4, 1, 0][:count]
