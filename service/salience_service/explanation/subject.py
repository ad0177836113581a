"""The subject of an explanation: one image as every method and score sees it."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from salience_service.bundle.manifest import OutputKind, Tap
from salience_service.events import TargetScore
from salience_service.image.prepare import Prepared
from salience_service.methods.probe import Base
from salience_service.models.model import Forward
from salience_service.request import ScoreKind
from salience_service.row_graphs.sources import MaskedImage
from salience_service.targets.target import Target


@dataclass(frozen=True)
class Subject:
    """An image, its clean run and what is asked of it.

    Attributes:
        prepared: the image. clean: its run. targets: what is explained.
        image: what methods mask. score_image: what scores mask, perhaps over another fill.
        curve_images: what the curves asked for show or hide pixels of.
    """

    prepared: Prepared
    clean: Forward
    targets: tuple[Target, ...]
    image: MaskedImage
    score_image: MaskedImage
    curve_images: Mapping[ScoreKind, MaskedImage]

    @cached_property
    def scored(self) -> Mapping[Target, TargetScore]:
        """What each target came to in the clean run."""
        return {target: self._score(target) for target in self.targets}

    def _score(self, target: Target) -> TargetScore:
        """The target's value, and its probability where the head has any."""
        logits = self.clean.logits
        of_regression = target.output is OutputKind.REGRESSION
        probability = None if of_regression else float(target.probability(logits))
        return TargetScore(target, float(target.value(logits)), probability)

    def base(self, taps: tuple[Tap, ...], target: Target) -> Base:
        """What a method gets that reads these taps."""
        features = {tap.name: self.clean.features[tap.name] for tap in taps}
        prepared, fill = self.prepared, self.image.fill
        return Base(
            features, self.clean.logits, target, prepared.tensor, fill, prepared.colour_order
        )
