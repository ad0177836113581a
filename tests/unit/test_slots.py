"""What a batch's rows are made from: named once where all share it, else copied into slots."""

import weakref

import numpy as np
import pytest

from salience_service.row_graphs.slots import Slots
from salience_service.row_graphs.sources import MaskedImage, TappedImage
from salience_service.runtime.session import Lane
from salience_service.scheduling.row_graph import RowSpan
from tests.support.freed import is_freed, without_the_collector

COUNT, SHAPE = 4, (3, 5, 5)
HERE = Lane()


def image(value: float) -> MaskedImage:
    return MaskedImage(np.full(SHAPE, value, np.float32), np.full(SHAPE, -value, np.float32))


def span(source: MaskedImage | TappedImage, rows: int) -> RowSpan:
    return RowSpan(source, np.zeros((rows, 2, 2), np.float32))


def test_a_source_that_all_rows_share_is_named_once_and_not_copied() -> None:
    source = image(1)
    feeds = Slots(COUNT, stretches=True).feeds([span(source, 2), span(source, 1)], HERE)
    np.testing.assert_array_equal(feeds["image_of"], [0])
    assert feeds["differences"].shape == (1, *SHAPE)
    assert np.shares_memory(feeds["differences"], source.difference)


@pytest.mark.parametrize("sources", [1, 2, COUNT])
def test_a_graph_that_does_not_stretch_gets_the_slots_that_are_taken(sources: int) -> None:
    spans = [span(image(each), 1) for each in range(sources)]
    feeds = Slots(COUNT, stretches=False).feeds(spans, HERE)
    assert feeds["image_of"].shape == (COUNT,)
    assert len(feeds["differences"]) == sources


@pytest.mark.parametrize("stretches", [True, False])
def test_every_row_points_to_its_own_source(stretches: bool) -> None:
    slots = Slots(COUNT, stretches)
    random = np.random.default_rng(0)
    images = [image(value) for value in range(1, 8)]
    for _ in range(50):
        chosen = random.choice(len(images), size=random.integers(1, COUNT + 1), replace=False)
        spans = [span(images[each], 1) for each in chosen]
        feeds = slots.feeds(spans, HERE)
        found = feeds["differences"][feeds["image_of"]][: len(spans), 0, 0, 0]
        np.testing.assert_array_equal(found, chosen + 1)
        np.testing.assert_array_equal(feeds["fills"], -feeds["differences"])


@pytest.mark.parametrize("dtype", [np.bool_, np.int64, np.float16])
def test_what_is_copied_keeps_its_type(dtype: type) -> None:
    """Of live tensors a graph may read any, and ONNX Runtime takes none for another."""
    live = [np.asarray([number], dtype) for number in (0, 1)]
    sources = [TappedImage(np.ones(SHAPE, np.float32), {"dark": each}) for each in live]
    feeds = Slots(COUNT, stretches=False).feeds([span(each, 1) for each in sources], HERE)
    assert feeds["dark"].dtype == dtype
    np.testing.assert_array_equal(feeds["dark"], live)


def test_a_source_is_held_by_nobody_once_its_explanation_is_over() -> None:
    slots, source = Slots(COUNT, stretches=True), image(1)
    with without_the_collector():
        slots.feeds([span(source, 1), span(image(2), 1)], HERE)
        gone = weakref.ref(source)
        del source
        assert is_freed(gone)
        feeds = slots.feeds([span(image(3), 1), span(image(4), 1)], HERE)
    found = feeds["differences"][feeds["image_of"]][:2, 0, 0, 0]
    np.testing.assert_array_equal(found, [3, 4])


def test_what_one_lane_reads_another_never_writes() -> None:
    slots, first, second = Slots(COUNT, stretches=True), Lane(0), Lane(1)
    mine = slots.feeds([span(image(1), 1), span(image(2), 1)], first)
    before = mine["differences"].copy()
    slots.feeds([span(image(3), 1), span(image(4), 1)], second)
    np.testing.assert_array_equal(mine["differences"], before)
