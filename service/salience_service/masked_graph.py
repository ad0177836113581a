"""The masked graph at its one batch shape: rows of any images in, logits out."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from salience_service.bundle.manifest import InputContract
from salience_service.interpolation import interpolation_matrix
from salience_service.session import Session, Stop
from salience_service.ticket import RowSpan

FloatArray = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class MaskedImage:
    """An image ready to be masked: `difference` = image − fill, and `fill`; float32 [C, H, W]."""

    difference: FloatArray
    fill: FloatArray


class MaskedGraph:
    """Scores rows on a session; used by the device thread alone.

    The image slots are as many as the batch has rows, so that every row may have its
    own image. An image is copied into its slot once and stays while it is used.

    Args:
        session: the bundle's masked graph.
        contract: the model's input.
        batch_size: rows per call, ≥ 1; shorter batches are padded with rows of zero scale.
    """

    def __init__(self, session: Session, contract: InputContract, batch_size: int) -> None:
        self.batch_size = batch_size
        self._session = session
        self._contract = contract
        shape = (batch_size, contract.channels, contract.height, contract.width)
        self._differences = np.zeros(shape, np.float32)
        self._fills = np.zeros(shape, np.float32)
        self._slots: list[object] = [None] * batch_size

    def shape_key(self, maps: FloatArray) -> Hashable:
        """Rows may share a batch where their maps have one shape."""
        return maps.shape[1:]

    def score(self, spans: Sequence[RowSpan], stop: Stop) -> FloatArray:
        """Logits [n, K] of the spans' rows in order."""
        count = sum(len(span) for span in spans)
        (logits,) = self._session.run(self._feeds(spans), ["logits"], stop)
        return logits[:count]

    def _feeds(self, spans: Sequence[RowSpan]) -> dict[str, NDArray[np.generic]]:
        slots = self._place([span.image for span in spans])
        lengths = [len(span) for span in spans]
        height, width = spans[0].maps.shape[1:]
        return {
            "differences": self._differences,
            "fills": self._fills,
            "image_of": self._padded(np.repeat(slots, lengths), np.int64),
            "maps": self._padded(np.concatenate([span.maps for span in spans]), np.float32),
            "rows": interpolation_matrix(self._contract.height, height),
            "columns": interpolation_matrix(self._contract.width, width),
            "normalise": self._padded(np.repeat([s.normalise for s in spans], lengths), np.bool_),
            "scale": self._padded(np.repeat([s.scale for s in spans], lengths), np.float32),
            "shift": self._padded(np.repeat([s.shift for s in spans], lengths), np.float32),
        }

    def _padded(self, values: NDArray[np.generic], dtype: type) -> NDArray[np.generic]:
        """The values, and zeros up to the batch size."""
        batch = np.zeros((self.batch_size, *values.shape[1:]), dtype)
        batch[: len(values)] = values
        return batch

    def _place(self, images: Sequence[object]) -> list[int]:
        """A slot for each image; those already there stay, others take slots not needed now."""
        present = {id(image): slot for slot, image in enumerate(self._slots)}
        needed = {id(image) for image in images}
        free = [slot for slot, image in enumerate(self._slots) if id(image) not in needed]
        for image in images:
            if id(image) not in present:
                present[id(image)] = self._fill_slot(free.pop(0), image)
        return [present[id(image)] for image in images]

    def _fill_slot(self, slot: int, image: object) -> int:
        assert isinstance(image, MaskedImage)
        self._differences[slot] = image.difference
        self._fills[slot] = image.fill
        self._slots[slot] = image
        return slot
