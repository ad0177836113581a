"""The masked graph: rows whose masks are small maps, brought to pixel size in the graph."""

from collections.abc import Hashable, Mapping, Sequence
from types import MappingProxyType

import numpy as np

from salience_service.bundle.manifest import InputContract
from salience_service.bundle.tensors import COLUMNS, LOGITS, MAPS, NORMALISE, ROWS, SCALE, SHIFT
from salience_service.interpolation import interpolation_matrix
from salience_service.row_graphs.kept_sources import one_source
from salience_service.row_graphs.slots import Slots
from salience_service.row_graphs.sources import FloatArray
from salience_service.runtime.session import Execution, Feed, Lane, Session
from salience_service.scheduling.row_graph import RowSpan


class MaskedGraph:
    """Scores rows of `MaskedImage`s; their maps are [n, h, w].

    Args:
        session: the bundle's masked graph.
        contract: the model's input.
        batch_size: rows per call, ≥ 1; shorter batches are padded with rows of zero scale.
        tuned: rows per call of maps of these shapes.
    """

    def __init__(
        self,
        session: Session,
        contract: InputContract,
        batch_size: int,
        tuned: Mapping[tuple[int, ...], int] = MappingProxyType({}),
    ) -> None:
        self._batch_size = batch_size
        self._tuned = tuned
        self._session = session
        self._contract = contract
        arrays, sizes = one_source(session), {batch_size, *tuned.values()}
        self._slots = {size: Slots(size, stretches=True, one_source=arrays) for size in sizes}

    def at(self, batch_size: int) -> "MaskedGraph":
        """The same graph with other batches, for whoever measures which are best."""
        return MaskedGraph(self._session, self._contract, batch_size)

    def batch_size(self, shape: tuple[int, ...]) -> int:
        """Rows per call of maps of a shape [h, w]."""
        return self._tuned.get(shape, self._batch_size)

    def shape_key(self, maps: FloatArray) -> Hashable:
        """Rows may share a batch where their maps have one shape."""
        return maps.shape[1:]

    def score(self, spans: Sequence[RowSpan], execution: Execution) -> FloatArray:
        """Logits [n, K] of the spans' rows in order."""
        count = sum(len(span) for span in spans)
        (logits,) = self._session.run(self._feeds(spans, execution.lane), [LOGITS], execution)
        return logits[:count]

    def _feeds(self, spans: Sequence[RowSpan], lane: Lane) -> dict[str, Feed]:
        height, width = spans[0].maps.shape[1:]
        slots = self._slots[self.batch_size((height, width))]
        padded = slots.padded
        lengths = [len(span) for span in spans]
        return {
            **slots.feeds(spans, lane),
            MAPS: padded(np.concatenate([span.maps for span in spans]), np.float32),
            ROWS: interpolation_matrix(self._contract.height, height),
            COLUMNS: interpolation_matrix(self._contract.width, width),
            NORMALISE: padded(np.repeat([s.normalise for s in spans], lengths), np.bool_),
            SCALE: padded(np.repeat([s.scale for s in spans], lengths), np.float32),
            SHIFT: padded(np.repeat([s.shift for s in spans], lengths), np.float32),
        }
