"""The trials of a model: each of its graphs at every batch size, ready to be called and timed."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np

from salience_service.bundle.manifest import GraphRole, Tap
from salience_service.bundle.reader import read_golden
from salience_service.models.model import TAIL_BATCHES, ServedModel
from salience_service.models.tuning import LARGEST_BATCH
from salience_service.row_graphs.masked import MaskedGraph
from salience_service.row_graphs.plain import PlainGraph
from salience_service.row_graphs.sources import MaskedImage
from salience_service.runtime.session import Execution, Lane
from salience_service.scheduling.row_graph import RowSource, RowSpan
from salience_service.tune.choice import TunedGraph

Call = Callable[[Lane], object]
Opener = Callable[[], Call]
"""Makes ready what a trial calls; it is let go when the trial was timed, with its memory."""


class Trials:
    """Makes the trials of a model, on its golden image.

    Args:
        model: warmed; at any batch size, unless its device builds an engine for each.
    """

    def __init__(self, model: ServedModel) -> None:
        self.model = model
        self.image = read_golden(model.bundle).image[0]
        self.source = MaskedImage.over(self.image, np.zeros_like(self.image))

    def all(self, sizes: Sequence[int]) -> Iterator[tuple[TunedGraph, int, Opener]]:
        """Every graph that scores rows, at every size.

        Args:
            sizes: rows of a call, rising; of a tail `TAIL_BATCHES` times as many, up to 1,024.
        """
        model, pixels = self.model, self.image.shape[1:]
        taps = {(tap.height, tap.width) for tap in model.manifest.taps}
        for shape in sorted({*taps, pixels}):
            graph = TunedGraph(GraphRole.MASKED.value, shape)
            yield from self._rows(graph, model.masked, self.source, shape, sizes)
        if model.pixel_masked:
            graph = TunedGraph(GraphRole.PIXEL_MASKED.value)
            yield from self._rows(graph, model.pixel_masked, self.source, pixels, sizes)
        last = model.manifest.taps[-1]
        if model.manifest.graph(GraphRole.TAIL, last.name):
            yield from self._tail(last, sizes)

    def _tail(self, tap: Tap, sizes: Sequence[int]) -> Iterator[tuple[TunedGraph, int, Opener]]:
        model = self.model
        clean = model.forward(self.image, [tap], Execution(), model.manifest.live(tap))
        tail = model.tails.open(tap).result()
        assert isinstance(tail, PlainGraph)
        many = [TAIL_BATCHES * size for size in sizes if TAIL_BATCHES * size <= LARGEST_BATCH]
        graph = TunedGraph(GraphRole.TAIL.value, tap=tap.name)
        yield from self._rows(graph, tail, model.tapped(clean, tap), (tap.channels,), many)

    def _rows(
        self,
        graph: TunedGraph,
        runs: MaskedGraph | PlainGraph,
        source: RowSource,
        shape: tuple[int, ...],
        sizes: Sequence[int],
    ) -> Iterator[tuple[TunedGraph, int, Opener]]:
        for size in sizes:
            yield graph, size, partial(_scoring, runs, source, (size, *shape))


def _scoring(graph: MaskedGraph | PlainGraph, source: RowSource, shape: tuple[int, ...]) -> Call:
    """Scores rows of one explanation: masks of this shape [N, …] in one batch."""
    span = RowSpan(source, np.random.default_rng(0).random(shape, np.float32))
    at = graph.at(len(span))
    return lambda lane: at.score([span], Execution(lane))
