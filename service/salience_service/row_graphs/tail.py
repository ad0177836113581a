"""A tail graph: rows that go on from a tap, each of its channels weighed by a number."""

from collections.abc import Hashable, Sequence

import numpy as np

from salience_service.row_graphs.slots import Slots
from salience_service.row_graphs.sources import FloatArray
from salience_service.session import Session, Stop
from salience_service.ticket import RowSpan


class TailGraph:
    """Scores rows of `TappedImage`s of one tap; their maps are the weights [n, K].

    Args:
        session: the bundle's tail graph of the tap.
        batch_size: rows per call, ≥ 1; shorter batches are padded with rows of zero weights.
    """

    def __init__(self, session: Session, batch_size: int) -> None:
        self.batch_size = batch_size
        self._session = session
        self._slots = Slots(batch_size)

    def shape_key(self, maps: FloatArray) -> Hashable:
        """All rows may share a batch: there is but one number of channels."""
        return maps.shape[1:]

    def score(self, spans: Sequence[RowSpan], stop: Stop) -> FloatArray:
        """Logits [n, K] of the spans' rows in order."""
        kept = np.concatenate([span.maps for span in spans])
        feeds = {**self._slots.feeds(spans), "keep": self._slots.padded(kept, np.float32)}
        (logits,) = self._session.run(feeds, ["logits"], stop)
        return logits[: len(kept)]
