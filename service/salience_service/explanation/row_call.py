"""A method's rows as work for a graph: which graph scores them, and from what they are made."""

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

from salience_service.bundle.manifest import GraphRole, Tap
from salience_service.maps.layout import unfolded
from salience_service.methods.probe import ChannelRows, FloatMap, PixelRows, RowProbe, Rows, Series
from salience_service.models.model import Forward, ServedModel
from salience_service.row_graphs.sources import MaskedImage, TappedImage
from salience_service.scheduling.row_graph import RowGraph, RowSpan


@dataclass(frozen=True)
class RowCall:
    """Rows ready to be queued.

    Attributes:
        role: the graph that scores them; tap: where a tail begins.
        shape: that of their maps, for the provenance; (0, 0) for a tail.
        graph: there once it is open.
        masks: what is laid over their source.
        span: rows of these masks.
    """

    role: GraphRole
    tap: str
    shape: tuple[int, int]
    graph: Future[RowGraph]
    masks: Series
    span: Callable[[FloatMap], RowSpan]


@dataclass(frozen=True)
class RowCalls:
    """Puts probes for rows as calls.

    Attributes:
        model: whose graphs score them. clean: the run whose taps rows go on from.
        image: what rows are masked from.
    """

    model: ServedModel
    clean: Forward
    image: MaskedImage

    def of(self, probe: RowProbe) -> RowCall:
        """The call of any rows."""
        match probe:
            case Rows():
                return self._of_maps(probe)
            case PixelRows():
                return self._of_pixels(probe)
            case ChannelRows():
                return self._of_channels(probe)
        raise TypeError(f"no graph scores {type(probe).__name__}")

    def _of_maps(self, probe: Rows) -> RowCall:
        def span(maps: FloatMap) -> RowSpan:
            return RowSpan(self.image, maps, probe.normalise, probe.scale, probe.shift)

        _, height, width = probe.maps.shape
        graph = _open(self.model.masked)
        return RowCall(GraphRole.MASKED, "", (height, width), graph, probe.maps, span)

    def _of_pixels(self, probe: PixelRows) -> RowCall:
        assert self.model.pixel_masked is not None  # The plan refuses what the bundle lacks.
        _, height, width = probe.masks.shape
        graph = _open(self.model.pixel_masked)
        role = GraphRole.PIXEL_MASKED
        return RowCall(
            role, "", (height, width), graph, probe.masks, lambda masks: RowSpan(self.image, masks)
        )

    def _of_channels(self, probe: ChannelRows) -> RowCall:
        tap = self.model.manifest.tap(probe.tap)
        assert tap is not None
        source = self._tapped(tap, probe.features)
        graph = self.model.tails.open(tap)
        return RowCall(
            GraphRole.TAIL, tap.name, (0, 0), graph, probe.kept, lambda kept: RowSpan(source, kept)
        )

    def _tapped(self, tap: Tap, features: FloatMap | None) -> TappedImage:
        own = self.model.tapped(self.clean, tap)
        return own if features is None else TappedImage(unfolded(features, tap), own.live)


def _open(graph: RowGraph) -> Future[RowGraph]:
    """A graph that is open already."""
    opened: Future[RowGraph] = Future()
    opened.set_result(graph)
    return opened
