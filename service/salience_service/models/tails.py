"""The tails of a model: a graph from each tap to the logits, opened when it is first needed."""

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from types import MappingProxyType

import numpy as np

from salience_service.bundle.manifest import GraphRole, Tap
from salience_service.bundle.reader import Bundle, read_golden
from salience_service.bundle.tensors import KEEP
from salience_service.drift import relative_difference
from salience_service.errors import BundleRefused
from salience_service.models.fixed_shapes import tail_shapes
from salience_service.openings import Openings
from salience_service.row_graphs.plain import PlainGraph
from salience_service.row_graphs.sources import TapRun, no_run
from salience_service.runtime.session import Device, Execution, Session
from salience_service.scheduling.row_graph import RowGraph, RowSpan

_OPENER = ThreadPoolExecutor(1, thread_name_prefix="salience-tails")
"""Opens tails one by one, while those who wait can still be told and cancelled."""


class Tails:
    """Owns the tails that are open. Safe from any thread.

    A tail is small work but holds weights of its own: few of a model's are ever asked for.

    Args:
        bundle: opened and verified.
        device: where they run.
        batch_size: rows per call.
        run: the forward graph, up to a tap.
        tuned: rows per call of the tails of these taps.
    """

    def __init__(
        self,
        bundle: Bundle,
        device: Device,
        batch_size: int,
        run: TapRun,
        tuned: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        self._batch_size = batch_size
        self._tuned = tuned
        self._run = run
        self._bundle = bundle
        self._device = device
        self._open: Openings[Tap, RowGraph] = Openings(_OPENER, self._opened)

    def batch_size(self, tap: str) -> int:
        """Rows per call of the tail of a tap."""
        return self._tuned.get(tap, self._batch_size)

    def open(self, tap: Tap) -> Future[RowGraph]:
        """The tail of a tap; one that failed to open is tried anew by the next who asks."""
        return self._open.of(tap)

    def close(self) -> None:
        """Lets go of the tails that are open; nobody may ask for one any more."""
        self._open.close()
        self._run = no_run  # It holds the model, which holds this.

    def _opened(self, tap: Tap) -> PlainGraph:
        graph = self._bundle.manifest.graph(GraphRole.TAIL, tap.name)
        assert graph is not None  # The plan refuses what the bundle lacks.
        self._bundle.check(graph.path)
        rows, path = self.batch_size(tap.name), self._bundle.path(graph.path)
        weights, shapes = self._bundle.weights(), tail_shapes(rows)
        session = Session(path, self._device, weights, shapes=shapes)
        tail = PlainGraph(session, rows, KEEP)
        self._check(tail, tap)
        return tail

    def _check(self, tail: PlainGraph, tap: Tap) -> None:
        """The tap of the golden image, whole, must come to its golden logits."""
        golden = read_golden(self._bundle)
        row = RowSpan(self._run(golden.image[0], tap), np.ones((1, tap.channels), np.float32))
        drift = max(
            relative_difference(tail.score([row], Execution(lane))[0], golden.logits[0])
            for lane in self._device.places()
        )
        allowed = self._bundle.manifest.tolerance(self._device.precision)
        if not drift <= allowed:
            raise BundleRefused(
                f"the tail of tap {tap.name} drifts from the golden example: {drift:.2e} relative, "
                f"allowed {allowed:.2e}"
            )
