"""Sources kept on a device: brought there once, let go with their explanation, the same bits.

The CPU stands in for a GPU, where this never ran.
"""

import gc
from dataclasses import replace

import numpy as np
import pytest

from salience_service.bundle.reader import Bundle
from salience_service.models.model import ServedModel
from salience_service.row_graphs.kept_sources import KeptSources
from salience_service.row_graphs.sources import MaskedImage
from salience_service.runtime.session import Device, Execution, Kept, Lane
from salience_service.scheduling.row_graph import RowSpan

HOST = Device(threads=1, numbers=(0, 1), calls=2)
KEEPING = replace(HOST, keeps_sources=True)
DRAWN = np.random.default_rng(0)


def image() -> MaskedImage:
    pixels = DRAWN.normal(size=(2, 3, 32, 32)).astype(np.float32)
    return MaskedImage.over(*pixels)


class CountingSession:
    """A session that notes what it is given to keep."""

    keeps_sources = True

    def __init__(self) -> None:
        self.kept: list[tuple[int, tuple[int, ...]]] = []

    def keep(self, array: np.ndarray, lane: Lane) -> Kept:
        self.kept.append((lane.place, array.shape))
        return Kept(None, array.shape)


def test_a_source_is_brought_to_a_device_once_for_all_its_lanes() -> None:
    session, source = CountingSession(), image()
    kept = KeptSources(session)  # type: ignore[arg-type]
    first = [kept.arrays(source, lane) for lane in HOST.lanes() for _ in range(3)]
    assert session.kept == [(0, (1, 3, 32, 32))] * 2 + [(1, (1, 3, 32, 32))] * 2
    assert all(set(arrays) == {"differences", "fills"} for arrays in first)
    kept.arrays(image(), Lane())
    assert len(session.kept) == 6


def test_a_source_that_nobody_holds_is_let_go() -> None:
    kept, source = KeptSources(CountingSession()), image()  # type: ignore[arg-type]
    kept.arrays(source, Lane())
    assert len(kept) == 1
    del source
    gc.collect()
    assert len(kept) == 0


@pytest.mark.parametrize("sources", [1, 2])
def test_rows_of_a_kept_source_have_the_bits_of_any_other(
    tiny_bundle: Bundle, sources: int
) -> None:
    images = [image() for _ in range(sources)]
    maps = DRAWN.uniform(size=(2, 4, 4)).astype(np.float32)
    masks = DRAWN.uniform(size=(2, 32, 32)).astype(np.float32)
    found = []
    for device in (HOST, KEEPING):
        model = ServedModel(tiny_bundle, device, batch_size=4)
        assert model.pixel_masked is not None
        for lane in device.lanes():
            rows = model.masked.score([RowSpan(each, maps) for each in images], Execution(lane))
            pixels = [RowSpan(each, masks) for each in images]
            found.append([rows, model.pixel_masked.score(pixels, Execution(lane))])
    for rows, pixels in found[1:]:
        np.testing.assert_array_equal(rows, found[0][0])
        np.testing.assert_array_equal(pixels, found[0][1])


def test_what_is_kept_is_what_is_run_on(tiny_bundle: Bundle) -> None:
    # Were the arrays sent along again, changing them after the first batch would show.
    source = image()
    model = ServedModel(tiny_bundle, replace(KEEPING, numbers=(0,)), batch_size=4)
    span = RowSpan(source, np.ones((1, 4, 4), np.float32), normalise=False)
    first = model.masked.score([span], Execution())
    object.__setattr__(source, "difference", np.zeros_like(source.difference))
    np.testing.assert_array_equal(model.masked.score([span], Execution()), first)
