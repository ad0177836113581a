"""One explanation from order to finish: image, clean run, one map per method and target, scores."""

import time
from collections.abc import Iterator
from dataclasses import replace

from salience_service.admission import Load
from salience_service.bundle.manifest import GraphRole
from salience_service.control import Control
from salience_service.events import Event, Finished
from salience_service.explanation.answer_key import AnswerKey, is_repeatable, key_of
from salience_service.explanation.cache import Answer
from salience_service.explanation.driver import Driver
from salience_service.explanation.early_end import NEVER
from salience_service.explanation.findings import Findings
from salience_service.explanation.footprint import Footprint
from salience_service.explanation.known import Known
from salience_service.explanation.making import Made, Making
from salience_service.explanation.plan import PlannedMethod, plan
from salience_service.explanation.subject import Subject
from salience_service.explanation.telling import HEARTBEAT_SECONDS, Pace, Tally, Telling
from salience_service.field_path import read
from salience_service.image.fill import fill_tensor
from salience_service.image.pixels import ImageLimits
from salience_service.image.prepare import Prepared, prepare
from salience_service.models.model import Forward, ServedModel
from salience_service.request import ExplainOrder
from salience_service.row_graphs.sources import MaskedImage
from salience_service.scheduling.account import Account
from salience_service.scheduling.scheduler import Scheduler
from salience_service.scores.backdrops import backdrop
from salience_service.scores.curves import curved
from salience_service.stages import Stage
from salience_service.targets.resolve import none_above, resolve_targets
from salience_service.version import SOFTWARE_VERSION


class Explanation:
    """Answers one order; its events come from `events()`, in the order of the contract.

    Raises:
        SalienceError: on construction, where the order is wrong for this model.
    """

    def __init__(
        self,
        model: ServedModel,
        order: ExplainOrder,
        control: Control,
        scheduler: Scheduler,
        pace: Pace,
    ) -> None:
        self._began = time.monotonic()
        self.model, self._order = model, order
        self._control, self._scheduler, self._pace = control, scheduler, pace
        self._plan = plan(order, model)
        self._account = Account(order.priority.value)
        self._findings = Findings(model, order)

    def load(self, limits: ImageLimits, keeps: int) -> Load:
        """What running it will take at most; no image is decoded for that.

        Args:
            limits: what the image may be.
            keeps: bytes that an answer may have which is to be kept.
        """
        footprint = Footprint(self._order, self._plan, self.model, limits)
        return Load(1, footprint.rows, footprint.bytes + min(keeps, footprint.map_bytes))

    def key(self) -> AnswerKey | None:
        """What its answer may be kept under; None where another run may bring another answer."""
        if not is_repeatable(self._order):
            return None
        return key_of(self._order, self._plan, self.model, SOFTWARE_VERSION, self._control.asker)

    def repeated(self, answer: Answer, beside: int) -> Iterator[Event]:
        """The answer of an earlier explanation of the same order, in place of running this one."""
        yield self._findings.started(beside)
        for event in answer.events:
            self._control.check()
            if isinstance(event, Finished):
                seconds = time.monotonic() - self._began
                yield replace(event, total_seconds=seconds, from_cache=True)
            else:
                yield event

    def events(self, limits: ImageLimits, beside: int) -> Iterator[Event]:
        """Runs the explanation in the calling thread.

        Args:
            limits: what the image may be.
            beside: explanations running at the same time, for the caller's information.
        """
        yield self._findings.started(beside)
        self._control.check()  # Decoding may take seconds, and nothing can stop it.
        contract = self.model.manifest.input
        with self._control.stages.stage("decode"):
            prepared = read("image", prepare, self._order.image, contract, limits)
        subject = self._subject(prepared)
        yield self._findings.prediction(subject)
        if not subject.targets:
            raise none_above(subject.clean.logits, self.model.manifest.head)
        count = len(subject.targets)
        ahead = [planned.rows_for(count) for planned in self._plan]
        tally, made = Tally(expected=1 + sum(ahead), done=1), Made()
        known = Known(subject.prepared.tensor, keeps=len(self._plan) > 1)
        for place, planned in enumerate(self._plan):
            driver = self._driver(planned, subject, tally, known)
            making = Making(planned, subject, driver, self._findings, made)
            yield from making.events(place * count, sum(ahead[place + 1 :]))
        yield self._finished(made, tally)

    def _subject(self, prepared: Prepared) -> Subject:
        """The image as methods and scores see it, once the model has."""
        order, tensor, contract = self._order, prepared.tensor, self.model.manifest.input
        image = MaskedImage.over(tensor, fill_tensor(order.fill, tensor, contract))
        score_image, score_fill = image, self._findings.score_fill
        if order.scores and score_fill != order.fill:
            score_image = MaskedImage.over(tensor, fill_tensor(score_fill, tensor, contract))
        curve_images = {
            kind: MaskedImage.over(tensor, backdrop(order.curve_protocol, kind, tensor, contract))
            for kind in curved(order.scores)
        }
        with self._control.stages.stage("clean_run"):
            clean = self._clean_run(prepared)
        targets = resolve_targets(order.targets, clean.logits, self.model.manifest.head)
        return Subject(prepared, clean, targets, image, score_image, curve_images)

    def _clean_run(self, prepared: Prepared) -> Forward:
        taps = {tap.name: tap for planned in self._plan for tap in planned.taps}
        live = [
            name
            for planned in self._plan
            if planned.goes_on_from_taps
            for tap in planned.taps
            for name in self.model.manifest.live(tap)
        ]
        ticket = self._scheduler.call(
            lambda execution: self.model.forward(
                prepared.tensor, tuple(taps.values()), execution, live
            ),
            self._control,
            self._account,
            GraphRole.FORWARD.value,
        )
        queued = time.monotonic()
        while not ticket.wait(0, HEARTBEAT_SECONDS):
            pass
        waited = self._account.queue_seconds  # The first work of this explanation: all of it.
        self._control.stages.add(Stage("queue", queued, queued + waited))
        assert ticket.result is not None
        return ticket.result

    def _driver(
        self, planned: PlannedMethod, subject: Subject, tally: Tally, known: Known
    ) -> Driver:
        return Driver(
            gradient_side=planned.gradient_side,
            model=self.model,
            scheduler=self._scheduler,
            control=self._control,
            account=self._account,
            image=subject.image,
            clean=subject.clean,
            known=known,
            telling=Telling(planned.method.name, tally, self._pace, self._order.partial_maps),
            stop_when=self._order.stop_when or NEVER,
        )

    def _finished(self, made: Made, tally: Tally) -> Finished:
        account = self._account
        return Finished(
            account.rows,
            account.queue_seconds,
            account.device_seconds,
            time.monotonic() - self._began,
            tuple(made.seconds[map_id] for map_id in sorted(made.seconds)),
            tuple(made.rows[map_id] for map_id in sorted(made.rows)),
            rows_spared=tally.spared,
        )
