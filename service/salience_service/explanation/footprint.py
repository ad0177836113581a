"""The footprint of an order: rows it asks the device for, and bytes it holds while it runs.

Both are known before its image is decoded, from the plan and the image's header, and are
bounds: what is unknown yet (how many classes exceed their threshold, when an optimisation
converges) counts with the most it can be. What a batch takes is the server's, not an order's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from salience_service.bundle.manifest import GraphRole, Tap
from salience_service.explanation.image_footprint import ImageFootprint
from salience_service.explanation.known import MOST_BYTES as MOST_KNOWN_BYTES
from salience_service.explanation.known import MOST_GRADIENTS, MOST_SERIES
from salience_service.explanation.plan import PlannedMethod
from salience_service.explanation.row_stream import PART_BATCHES, parts_ahead
from salience_service.image.pixels import ImageLimits
from salience_service.models.model import ServedModel
from salience_service.request import ExplainOrder
from salience_service.scores.curves import curved
from salience_service.targets.resolve import most_targets

FLOAT, DOUBLE = 4, 8
OWN_BYTES = 2**20
"""Of an explanation of nothing: its thread, its messages and their objects."""
NEVER_ALIKE = {GraphRole.PIXEL_MASKED, GraphRole.TAIL}
"""Graphs whose rows are not compared: their logits lie in one place, those of others may in two."""
WORKING_IMAGES = 4
"""Of doubles, that a method may sum into for each of its targets."""


@dataclass(frozen=True)
class Footprint:
    """What an order will take on a model.

    Attributes:
        order: what is asked. plan: what it came to. model: who answers.
        limits: what the image may be.
    """

    order: ExplainOrder
    plan: Sequence[PlannedMethod]
    model: ServedModel
    limits: ImageLimits

    @property
    def rows(self) -> int:
        """Rows and calls, the clean run among them."""
        return 1 + sum(planned.rows_for(self._targets) for planned in self.plan)

    @property
    def bytes(self) -> int:
        """Held at a time."""
        parts = (self._tensors, self._features, self._logits, self._masks, self._working)
        return OWN_BYTES + self._image.bytes + sum(parts)

    @property
    def map_bytes(self) -> int:
        """Of all maps as they are sent; an answer that is kept holds them to its end."""
        return len(self.plan) * self._targets * self._image.map_bytes

    @cached_property
    def _targets(self) -> int:
        return most_targets(self.order.targets, self.model.manifest.head)

    @cached_property
    def _image(self) -> ImageFootprint:
        contract = self.model.manifest.input
        boxed = self.order.box is not None
        return ImageFootprint(self.order.image, contract, self.order.format, self.limits, boxed)

    @property
    def _pixels(self) -> int:
        return self.model.manifest.input.height * self.model.manifest.input.width

    @property
    def _tensor(self) -> int:
        """Bytes of the model's input."""
        return FLOAT * self.model.manifest.input.channels * self._pixels

    @property
    def _tensors(self) -> int:
        """The model's input, and all that stands behind masks, each with what differs from it."""
        fills = 1 + bool(self.order.scores) + len(curved(self.order.scores))
        return self._tensor * (1 + 2 * fills)

    @property
    def _features(self) -> int:
        """Taps as the graph puts them out, as maps, as masks that are sent and those of them that
        differ; what tails take beside, gradients.
        """
        taps = {tap.name: tap for planned in self.plan for tap in planned.taps}
        once = sum(map(_tap_bytes, taps.values()))
        beside = sum(
            _tap_bytes(tap) * len(self.model.manifest.live(tap))
            for planned in self.plan
            if planned.goes_on_from_taps
            for tap in planned.taps
        )
        sent = (
            _tap_bytes(tap)
            for planned in self.plan
            if GraphRole.MASKED in planned.method.graphs
            for tap in planned.taps
        )
        asked = sum(self._targets for planned in self.plan if planned.method.needs_gradient)
        kept = min(asked, MOST_GRADIENTS) * (once + self._tensor)
        return 2 * once + 2 * max(sent, default=0) + beside + kept

    @property
    def _logits(self) -> int:
        """Of the method that has most, and those kept for methods that ask the same."""
        each = FLOAT * self.model.manifest.head.classes
        rows = [0 if planned.method.needs_gradient else planned.rows for planned in self.plan]
        held = [
            count if set(planned.method.graphs) & NEVER_ALIKE else 2 * count
            for count, planned in zip(rows, self.plan, strict=True)
        ]
        scored = 2 * self._targets * max(planned.score_rows for planned in self.plan)
        known = MOST_KNOWN_BYTES if len(self.plan) > 1 else 0
        return each * max(*held, scored) + min(known, each * sum(rows))

    @property
    def _masks(self) -> int:
        """Masks of the image's size that wait for the device."""
        graph, size = self.model.pixel_masked, self.model.manifest.input
        wanted = [each.rows for each in self.plan if GraphRole.PIXEL_MASKED in each.method.graphs]
        wanted += [each.score_rows for each in self.plan if curved(self.order.scores)]
        if graph is None or not wanted:
            return 0
        parts = parts_ahead(len(self.model.device.lanes()))
        ahead = parts * PART_BATCHES * graph.batch_size((size.height, size.width))
        side_by_side = max(len(curved(self.order.scores)), 1)  # Curves wait together.
        return FLOAT * self._pixels * side_by_side * min(ahead, max(wanted))

    @property
    def _working(self) -> int:
        """What maps are summed into, for each target, and what the hungriest of them works with."""
        channels = self.model.manifest.input.channels
        sums = WORKING_IMAGES * channels * self._pixels * self._targets
        most = DOUBLE * (sums + max(planned.working for planned in self.plan))
        if len(self.plan) == 1:
            return most
        # A series that is kept holds which superpixels it shows: a byte where its method has more.
        drawn = (e.working for e in self.plan if GraphRole.PIXEL_MASKED in e.method.graphs)
        return most + MOST_SERIES * max(drawn, default=0)


def _tap_bytes(tap: Tap) -> int:
    return FLOAT * tap.channels * tap.height * tap.width
