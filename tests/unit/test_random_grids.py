"""RISE's masks: as the paper draws them, the same for a seed, made late, summed without them."""

import weakref
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch

from salience_service.explanation.row_stream import RowStream, parts_ahead
from salience_service.methods.rows.random_grids import BLOCK, MaskSum, RandomGrids
from tests.oracle.rise import mask as oracle

MASKS = RandomGrids(200, 8, 0.3, 0, 54, 42)


@pytest.mark.parametrize(
    "masks",
    [MASKS, replace(MASKS, cells=5), replace(MASKS, cells=42), replace(MASKS, cells=2, height=9)],
    ids=["8 cells", "5 cells", "a cell a pixel", "2 cells"],
)
def test_a_mask_is_an_upsampled_grid_shifted(masks: RandomGrids) -> None:
    size = (masks.height, masks.width)
    for grid, down, right, found in zip(*masks.draws(62, 66), masks[62:66], strict=True):
        expected = oracle(grid.tolist(), size, int(down), int(right))
        np.testing.assert_allclose(found, expected.numpy(), atol=1e-6)


def test_masks_do_not_depend_on_where_they_are_cut() -> None:
    whole = MASKS[0:200]
    for start, stop in [(0, 1), (BLOCK - 1, BLOCK + 1), (BLOCK, 2 * BLOCK), (3, 199)]:
        np.testing.assert_array_equal(MASKS[start:stop], whole[start:stop])
    np.testing.assert_array_equal(replace(MASKS, count=7)[0:7], whole[:7])


def test_another_seed_draws_other_masks_and_the_same_seed_the_same() -> None:
    again, other = replace(MASKS), replace(MASKS, seed=1)
    assert again == MASKS != other
    np.testing.assert_array_equal(again[0:9], MASKS[0:9])
    assert np.abs(other[0:9] - MASKS[0:9]).max() > 0.5


def test_no_two_masks_of_a_series_are_the_same() -> None:
    masks = replace(MASKS, count=3 * BLOCK)[0 : 3 * BLOCK].reshape(3 * BLOCK, -1)
    assert len(np.unique(masks, axis=0)) == 3 * BLOCK


@pytest.mark.parametrize("probability", [0.1, 0.5, 0.9])
def test_cells_show_the_image_as_often_as_asked(probability: float) -> None:
    """20,000 masks of 64 cells: the share of ones is within 5 of its own deviations."""
    draws = replace(MASKS, probability=probability, count=20000).draws(0, 20000)
    deviation = np.sqrt(probability * (1 - probability) / draws.grids.size)
    assert abs(draws.grids.mean(dtype=np.float64) - probability) < 5 * deviation


def test_shifts_take_every_place_within_a_cell_and_none_beyond() -> None:
    draws = replace(MASKS, count=2000).draws(0, 2000)
    assert set(draws.down) == set(range(7))
    assert set(draws.right) == set(range(6))


@pytest.mark.parametrize("parts", [(200,), (1, 62, 2, 135), (64, 0, 64, 72)])
def test_the_sum_is_that_of_the_weighed_masks(parts: tuple[int, ...]) -> None:
    scores = np.random.default_rng(0).normal(size=200)
    heard = MaskSum(MASKS)
    for stop in np.cumsum(parts):
        heard.add(scores[heard.done : stop])
    expected = np.tensordot(scores, MASKS[0:200].astype(np.float64), 1)
    assert heard.done == 200
    np.testing.assert_allclose(heard.total(), expected, atol=1e-5)


def test_a_copy_of_a_sum_goes_on_by_itself() -> None:
    heard = MaskSum(MASKS)
    heard.add(np.ones(3))
    before = heard.total()
    heard.copy().add(np.ones(4))
    assert heard.done == 3
    np.testing.assert_array_equal(heard.total(), before)


@dataclass
class Watched:
    """Counts how many of the parts that were cut of a series are alive."""

    masks: RandomGrids
    alive: int = 0
    most: int = 0
    cut: int = 0
    finalizers: list[weakref.finalize] = field(default_factory=list)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.masks.shape

    def __getitem__(self, part: slice) -> np.ndarray:
        made = self.masks[part]
        self.alive, self.cut = self.alive + 1, self.cut + 1
        self.most = max(self.most, self.alive)
        self.finalizers.append(weakref.finalize(made, self._gone))
        return made

    def _gone(self) -> None:
        self.alive -= 1


class Instant:
    """A ticket that is done when it is asked."""

    def __init__(self, masks: np.ndarray) -> None:
        self.size = len(masks)
        self.logits = np.zeros((self.size, 6), np.float32)

    def wait(self, beyond: int, timeout: float) -> int:
        return self.size


def test_of_six_thousand_masks_a_few_parts_exist_at_once() -> None:
    watched = Watched(RandomGrids(6000, 8, 0.1, 0, 24, 24))
    heard = MaskSum(watched.masks)
    stream = RowStream(watched, 8, lambda part: Instant(part))  # type: ignore[arg-type, return-value]
    while stream.done < stream.size:
        stream.wait(1)
        heard.add(stream.logits[heard.done :, 0])
    assert heard.done == 6000
    assert watched.cut == 188
    assert watched.most <= parts_ahead(1) + 1


def test_masks_are_float32_and_within_the_unit_range() -> None:
    masks = MASKS[0:200]
    assert masks.dtype == np.float32
    assert MASKS.shape == masks.shape
    assert masks.min() >= 0
    assert masks.max() <= 1 + 1e-6
    assert torch.from_numpy(masks).is_contiguous()
