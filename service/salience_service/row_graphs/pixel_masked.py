"""The pixel-masked graph: rows whose masks have the size of the model's input."""

from collections.abc import Hashable, Sequence

import numpy as np

from salience_service.row_graphs.slots import Slots
from salience_service.row_graphs.sources import FloatArray
from salience_service.session import Session, Stop
from salience_service.ticket import RowSpan


class PixelMaskedGraph:
    """Scores rows of `MaskedImage`s; their masks are [n, H, W].

    Args:
        session: the bundle's pixel-masked graph.
        batch_size: rows per call, ≥ 1; shorter batches are padded with rows of masks of zeros.
    """

    def __init__(self, session: Session, batch_size: int) -> None:
        self.batch_size = batch_size
        self._session = session
        self._slots = Slots(batch_size)

    def shape_key(self, maps: FloatArray) -> Hashable:
        """All rows may share a batch: there is but one size."""
        return maps.shape[1:]

    def score(self, spans: Sequence[RowSpan], stop: Stop) -> FloatArray:
        """Logits [n, K] of the spans' rows in order."""
        masks = np.concatenate([span.maps for span in spans])
        feeds = {**self._slots.feeds(spans), "masks": self._slots.padded(masks, np.float32)}
        (logits,) = self._session.run(feeds, ["logits"], stop)
        return logits[: len(masks)]
