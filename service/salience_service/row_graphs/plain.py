"""Row graphs that take what is laid over a source as it is: the pixel-masked graph, and tails."""

from collections.abc import Hashable, Sequence

import numpy as np

from salience_service.bundle.tensors import LOGITS, MASKS
from salience_service.row_graphs.kept_sources import one_source
from salience_service.row_graphs.slots import Slots
from salience_service.row_graphs.sources import FloatArray
from salience_service.runtime.session import Execution, Session
from salience_service.scheduling.row_graph import RowSpan


class PlainGraph:
    """Scores rows of one shape.

    Args:
        session: the bundle's graph.
        batch_size: rows per call, ≥ 1; shorter batches are padded with rows of zeros.
        taken: the input that rows lie in: MASKS of `MaskedImage`s, or KEEP of `TappedImage`s.
    """

    def __init__(self, session: Session, batch_size: int, taken: str) -> None:
        self._batch_size = batch_size
        self._session = session
        self._taken = taken
        arrays = one_source(session)
        self._slots = Slots(batch_size, stretches=taken == MASKS, one_source=arrays)

    def at(self, batch_size: int) -> "PlainGraph":
        """The same graph with other batches, for whoever measures which are best."""
        return PlainGraph(self._session, batch_size, self._taken)

    def batch_size(self, shape: tuple[int, ...]) -> int:  # noqa: ARG002
        """Rows per call: there is but one shape."""
        return self._batch_size

    def shape_key(self, maps: FloatArray) -> Hashable:
        """All rows may share a batch: there is but one shape."""
        return maps.shape[1:]

    def score(self, spans: Sequence[RowSpan], execution: Execution) -> FloatArray:
        """Logits [n, K] of the spans' rows in order."""
        rows = np.concatenate([span.maps for span in spans])
        feeds = {
            **self._slots.feeds(spans, execution.lane),
            self._taken: self._slots.padded(rows, np.float32),
        }
        (logits,) = self._session.run(feeds, [LOGITS], execution)
        return logits[: len(rows)]
