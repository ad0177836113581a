"""The slots of a batch: what its rows are made from, each copied in once, and kept while used."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from salience_service.row_graphs.sources import FloatArray
from salience_service.ticket import RowSource, RowSpan


class Slots:
    """As many slots as a batch has rows, so that every row may have a source of its own.

    Args:
        count: slots, ≥ 1.
    """

    def __init__(self, count: int) -> None:
        self._sources: list[RowSource | None] = [None] * count
        self._arrays: dict[str, FloatArray] = {}

    def feeds(self, spans: Sequence[RowSpan]) -> dict[str, NDArray[np.generic]]:
        """The sources' arrays, each [slots, …], and `image_of` int64 [slots]: the slot of each row.

        Rows beyond those of the spans point to the first slot.
        """
        slots = self._place([span.source for span in spans])
        image_of = self.padded(np.repeat(slots, [len(span) for span in spans]), np.int64)
        return {**self._arrays, "image_of": image_of}

    def padded(self, values: NDArray[np.generic], dtype: type) -> NDArray[np.generic]:
        """The values, and zeros for the rows beyond them."""
        batch = np.zeros((len(self._sources), *values.shape[1:]), dtype)
        batch[: len(values)] = values
        return batch

    def _place(self, sources: Sequence[RowSource]) -> list[int]:
        """A slot for each source; those already there stay, others take slots not needed now."""
        present = {id(source): slot for slot, source in enumerate(self._sources)}
        needed = {id(source) for source in sources}
        free = [slot for slot, source in enumerate(self._sources) if id(source) not in needed]
        for source in sources:
            if id(source) not in present:
                present[id(source)] = self._fill(free.pop(0), source)
        return [present[id(source)] for source in sources]

    def _fill(self, slot: int, source: RowSource) -> int:
        arrays: Mapping[str, FloatArray] = source.arrays()
        for name, array in arrays.items():
            if name not in self._arrays:
                self._arrays[name] = np.zeros((len(self._sources), *array.shape), np.float32)
            self._arrays[name][slot] = array
        self._sources[slot] = source
        return slot
