"""Findings: what an explanation has found, told as the events of the contract."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from salience_service.bundle.manifest import GraphRole, OutputKind
from salience_service.events import (
    ClassScore,
    FinishedMap,
    MapFlag,
    MapScores,
    Prediction,
    Provenance,
    ScoreCurve,
    Started,
)
from salience_service.explanation.driver import Driver
from salience_service.explanation.plan import PlannedMethod
from salience_service.explanation.subject import Subject
from salience_service.explanation.voices import Voice
from salience_service.maps.render import render
from salience_service.methods.options import as_scalars
from salience_service.models.model import ServedModel
from salience_service.request import ExplainOrder, Fill
from salience_service.scores.box import box_of
from salience_service.scores.curves import areas
from salience_service.scores.faithfulness import faithfulness
from salience_service.targets.highest import highest
from salience_service.targets.probabilities import probabilities
from salience_service.version import SOFTWARE_VERSION

TOP_CLASSES = 5


@dataclass(frozen=True)
class Findings:
    """Tells what was found for one order on one model; runs nothing."""

    model: ServedModel
    order: ExplainOrder

    @property
    def score_fill(self) -> Fill:
        """What stands behind the masks that scores are taken of."""
        return self.order.score_fill or self.order.fill

    def started(self, beside: int) -> Started:
        """The model that answers, before the image is read."""
        model = self.model
        return Started(
            model.name,
            model.version,
            model.digest,
            model.provider,
            beside,
        )

    def prediction(self, subject: Subject) -> Prediction:
        """The best classes of the clean run, and what the targets came to."""
        placement = subject.prepared.placement
        top, scored = self._top_classes(subject.clean.logits), tuple(subject.scored.values())
        return Prediction(top, scored, placement.original_height, placement.original_width)

    def finished_map(
        self, voice: Voice, driver: Driver, planned: PlannedMethod, subject: Subject
    ) -> FinishedMap:
        """The map as it was asked for, with its cautions and all that it was made of."""
        contract, form, box = self.model.manifest.input, self.order.format, self.order.box
        outcome, fill = voice.ended, subject.image.fill
        encoded = render(outcome.map, outcome.signed, subject.prepared, contract, fill, form)
        flags = {
            MapFlag.DEGENERATE: encoded.degenerate,
            MapFlag.CLASS_AGNOSTIC: planned.method.class_agnostic,
            MapFlag.FAILS_SANITY_CHECKS: planned.method.fails_sanity_checks,
            MapFlag.NOT_CONVERGED: not outcome.converged,
        }
        return FinishedMap(
            map_id=voice.map_id,
            provenance=self._provenance(voice, driver, planned),
            target=subject.scored[voice.target],
            encoded=encoded,
            signed=outcome.signed,
            flags=tuple(flag for flag, raised in flags.items() if raised),
            iterations=outcome.iterations,
            box=None if box is None else box_of(outcome, subject.prepared.placement, box),
            convergence=voice.convergence,
        )

    def scores(
        self,
        voice: Voice,
        subject: Subject,
        masked: NDArray[np.float32],
        curves: Sequence[ScoreCurve],
    ) -> MapScores:
        """Scores of a map, in the order asked for.

        Args:
            voice: whose map.
            subject: the image.
            masked: float32 [K], the logits of the image masked by the map.
            curves: those that the scores asked for are taken of.
        """
        kinds, protocol = self.order.scores, self.order.curve_protocol
        result = faithfulness(kinds, voice.target, subject.clean.logits, masked)
        found = {**result.scores, **areas(kinds, curves, protocol)}
        return MapScores(
            map_id=voice.map_id,
            scores={kind: found[kind] for kind in kinds},
            fill=self.score_fill,
            clean_probability=result.clean_probability,
            masked_probability=result.masked_probability,
            curves=tuple(curves),
            curve_protocol=protocol if curves else None,
        )

    def _top_classes(self, logits: NDArray[np.float32]) -> tuple[ClassScore, ...]:
        """The best, with their probabilities where the head has any."""
        head, best = self.model.manifest.head, highest(logits, TOP_CLASSES)
        found: list[float | None] = [None] * len(best)
        if head.kind is not OutputKind.REGRESSION:
            found = [*probabilities(logits, head)[best].tolist()]
        labels = [head.labels[index] if head.labels else "" for index in best]
        told = zip(best.tolist(), labels, logits[best].tolist(), found, strict=True)
        return tuple(ClassScore(*each) for each in told)

    def _provenance(self, voice: Voice, driver: Driver, planned: PlannedMethod) -> Provenance:
        model = self.model
        ran = (
            model.graph_use(role, shape, tap)
            for role in GraphRole
            for ran_role, tap, shape in sorted(driver.ran, key=lambda each: each[1:])
            if ran_role is role
        )
        return Provenance(
            model=model.name,
            version=model.version,
            bundle_digest=model.digest,
            graphs=(model.graph_use(GraphRole.FORWARD), *ran),
            provider=model.provider,
            method=planned.method.name,
            options=as_scalars(planned.options),
            taps=tuple(tap.name for tap in planned.taps),
            fill=self.order.fill,
            gradient_side=driver.gradient_side,
            software_version=SOFTWARE_VERSION,
            precision=model.precision,
            tuning_digest=model.tuning_digest,
            signed_by=model.signed_by,
            stop_when=self.order.stop_when if voice.convergence else None,
        )
