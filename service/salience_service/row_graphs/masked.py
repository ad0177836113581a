"""The masked graph: rows whose masks are small maps, brought to pixel size in the graph."""

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from salience_service.bundle.manifest import InputContract
from salience_service.interpolation import interpolation_matrix
from salience_service.row_graphs.slots import Slots
from salience_service.row_graphs.sources import FloatArray
from salience_service.session import Session, Stop
from salience_service.ticket import RowSpan


class MaskedGraph:
    """Scores rows of `MaskedImage`s; their maps are [n, h, w].

    Args:
        session: the bundle's masked graph.
        contract: the model's input.
        batch_size: rows per call, ≥ 1; shorter batches are padded with rows of zero scale.
    """

    def __init__(self, session: Session, contract: InputContract, batch_size: int) -> None:
        self.batch_size = batch_size
        self._session = session
        self._contract = contract
        self._slots = Slots(batch_size)

    def shape_key(self, maps: FloatArray) -> Hashable:
        """Rows may share a batch where their maps have one shape."""
        return maps.shape[1:]

    def score(self, spans: Sequence[RowSpan], stop: Stop) -> FloatArray:
        """Logits [n, K] of the spans' rows in order."""
        count = sum(len(span) for span in spans)
        (logits,) = self._session.run(self._feeds(spans), ["logits"], stop)
        return logits[:count]

    def _feeds(self, spans: Sequence[RowSpan]) -> dict[str, NDArray[np.generic]]:
        padded = self._slots.padded
        lengths = [len(span) for span in spans]
        height, width = spans[0].maps.shape[1:]
        return {
            **self._slots.feeds(spans),
            "maps": padded(np.concatenate([span.maps for span in spans]), np.float32),
            "rows": interpolation_matrix(self._contract.height, height),
            "columns": interpolation_matrix(self._contract.width, width),
            "normalise": padded(np.repeat([s.normalise for s in spans], lengths), np.bool_),
            "scale": padded(np.repeat([s.scale for s in spans], lengths), np.float32),
            "shift": padded(np.repeat([s.shift for s in spans], lengths), np.float32),
        }
