"""The sources of a batch: what its rows are made from, each copied in once.

A copy lies in its slot until another takes it; the source itself is not held.
"""

from collections.abc import Mapping, Sequence
from weakref import ref

import numpy as np
from numpy.typing import NDArray

from salience_service.bundle.tensors import IMAGE_OF
from salience_service.row_graphs.kept_sources import OneSource, host_arrays
from salience_service.row_graphs.sources import FloatArray
from salience_service.runtime.session import Feed, Lane
from salience_service.scheduling.row_graph import RowSource, RowSpan


class Slots:
    """As many slots a lane as a batch has rows, so that every row may have a source of its own.

    Args:
        count: slots, ≥ 1.
        stretches: whether the graph lays a source that is named once under every row: a batch
            of one explanation then copies nothing.
        one_source: where the arrays of such a source are found.
    """

    def __init__(self, count: int, stretches: bool, one_source: OneSource = host_arrays) -> None:
        self._count = count
        self._stretches = stretches
        self._one_source = one_source
        self._of_lane: dict[Lane, _LaneSlots] = {}

    def feeds(self, spans: Sequence[RowSpan], lane: Lane) -> dict[str, Feed]:
        """The sources' arrays, each [slots, …], and `image_of` int64: the slot of each row.

        No slot behind the last that is taken: a device would be brought what nobody reads.

        `image_of` is [rows of a batch], those beyond the spans' point to the first slot; or [1]
        where one source is stretched over all rows.
        """
        sources = [span.source for span in spans]
        if self._stretches and all(source is sources[0] for source in sources):
            return {**self._one_source(sources[0], lane), IMAGE_OF: np.zeros(1, np.int64)}
        slots = self._of_lane.setdefault(lane, _LaneSlots(self._count))
        places = np.repeat(slots.place(sources), [len(span) for span in spans])
        taken = {name: array[: places.max() + 1] for name, array in slots.arrays.items()}
        return {**taken, IMAGE_OF: self.padded(places, np.int64)}

    def padded(self, values: NDArray[np.generic], dtype: type) -> NDArray[np.generic]:
        """The values, and zeros for the rows beyond them."""
        batch = np.zeros((self._count, *values.shape[1:]), dtype)
        batch[: len(values)] = values
        return batch


class _LaneSlots:
    """The slots that one lane fills and reads."""

    def __init__(self, count: int) -> None:
        self._sources: list[ref[RowSource] | None] = [None] * count
        self.arrays: dict[str, FloatArray] = {}

    def place(self, sources: Sequence[RowSource]) -> list[int]:
        """A slot for each source; those already there stay, others take slots not needed now."""
        lying = [kept and kept() for kept in self._sources]
        present = {id(source): slot for slot, source in enumerate(lying) if source is not None}
        needed = {id(source) for source in sources}
        free = [slot for slot, source in enumerate(lying) if id(source) not in needed]
        for source in sources:
            if id(source) not in present:
                present[id(source)] = self._fill(free.pop(0), source)
        return [present[id(source)] for source in sources]

    def _fill(self, slot: int, source: RowSource) -> int:
        arrays: Mapping[str, FloatArray] = source.arrays()
        for name, array in arrays.items():
            if name not in self.arrays:
                self.arrays[name] = np.zeros((len(self._sources), *array.shape), array.dtype)
            self.arrays[name][slot] = array
        self._sources[slot] = ref(source)
        return slot
