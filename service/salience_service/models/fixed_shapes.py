"""The shapes at which a served model's graphs run, fixed before it serves."""

from dataclasses import dataclass

from salience_service.bundle.manifest import Manifest
from salience_service.models.tuning import Tuning
from salience_service.runtime.graph_shape import GraphShape


def map_shapes(manifest: Manifest) -> list[tuple[int, int]]:
    """Every [h, w] that maps of rows may have: those of the taps, and the image's own."""
    taps = {(tap.height, tap.width) for tap in manifest.taps}
    return sorted(taps | {(manifest.input.height, manifest.input.width)})


@dataclass(frozen=True)
class FixedShapes:
    """Shapes by graph; a batch's sources are one, or as many as its rows.

    Attributes:
        batch_size: rows of a call where the tuning names no other.
    """

    manifest: Manifest
    batch_size: int
    tuning: Tuning

    def forward(self) -> list[GraphShape]:
        """One image a call."""
        return [GraphShape({"N": 1})]

    def masked(self) -> list[GraphShape]:
        """One for every shape of maps."""
        return [
            _rows(self.tuning.masked.get((height, width), self.batch_size), h=height, w=width)
            for height, width in map_shapes(self.manifest)
        ]

    def pixel_masked(self) -> list[GraphShape]:
        """Masks have but one shape."""
        return [_rows(self.tuning.pixel_masked or self.batch_size)]


def tail_shapes(batch_size: int) -> list[GraphShape]:
    """A tail's."""
    return [_rows(batch_size)]


def _rows(count: int, **sizes: int) -> GraphShape:
    return GraphShape({"N": count, **sizes}, {"R": (1, count), "S": (1, count)})
