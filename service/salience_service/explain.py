"""One explanation from order to finish: image, clean run, one map per method and target, scores."""

import time
from collections.abc import Generator, Iterator

from salience_service.control import Control
from salience_service.driver import HEARTBEAT_SECONDS, Driver, Pace, Tally
from salience_service.events import Event, Finished
from salience_service.findings import Findings
from salience_service.image.fill import fill_tensor
from salience_service.image.pixels import ImageLimits
from salience_service.image.prepare import Prepared, prepare
from salience_service.masked_graph import MaskedImage
from salience_service.methods.probe import Base
from salience_service.model import Forward, ServedModel
from salience_service.plan import PlannedMethod, plan
from salience_service.request import ExplainOrder, Fill
from salience_service.resolve import resolve_targets
from salience_service.scheduler import Scheduler
from salience_service.scores.faithfulness import masked_row
from salience_service.target import Target
from salience_service.ticket import Account


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
        self._model, self._order = model, order
        self._control, self._scheduler, self._pace = control, scheduler, pace
        self._plan = plan(order, model)
        self._account = Account()
        self._head = model.manifest.head
        self._findings = Findings(model, order)

    def events(self, limits: ImageLimits, beside: int) -> Iterator[Event]:
        """Runs the explanation in the calling thread.

        Args:
            limits: what the image may be.
            beside: explanations running at the same time, for the caller's information.
        """
        yield self._findings.started(beside)
        self._control.check()  # Decoding may take seconds, and nothing can stop it.
        contract = self._model.manifest.input
        prepared = prepare(self._order.image, contract, limits)
        image = self._masked_image(prepared, self._order.fill)
        score_image, score_fill = image, self._findings.score_fill
        if self._order.scores and score_fill != self._order.fill:
            score_image = self._masked_image(prepared, score_fill)
        clean = self._clean_run(prepared)
        targets = resolve_targets(self._order.targets, clean.logits, self._head)
        yield self._findings.prediction(clean, targets, prepared.placement)
        tally = Tally(self._expected_rows(len(targets)), done=1)
        seconds, rows = [], []
        pairs = [(planned, target) for planned in self._plan for target in targets]
        for map_id, (planned, target) in enumerate(pairs):
            began, before = time.monotonic(), tally.done
            driver = self._driver(map_id, planned, target, image, tally)
            yield from self._explain(driver, planned, clean, prepared, score_image)
            seconds.append(time.monotonic() - began)
            rows.append(tally.done - before)
        yield self._finished(tuple(seconds), tuple(rows))

    def _explain(
        self,
        driver: Driver,
        planned: PlannedMethod,
        clean: Forward,
        prepared: Prepared,
        score_image: MaskedImage,
    ) -> Generator[Event, None, None]:
        """One map and its scores."""
        before = driver.tally.done
        base = self._base(planned, clean, driver, prepared)
        outcome = yield from driver.run(planned.method.run(base, planned.options))
        driver.tally.expected += driver.tally.done - before - planned.expected_rows
        yield self._findings.finished_map(driver, planned, outcome, clean, prepared)
        if self._order.scores:
            answers = yield from driver.score(masked_row(outcome), score_image)
            yield self._findings.scores(driver, clean, answers.logits[0])

    def _clean_run(self, prepared: Prepared) -> Forward:
        taps = {tap.name: tap for planned in self._plan for tap in planned.taps}
        ticket = self._scheduler.call(
            lambda stop: self._model.forward(prepared.tensor, tuple(taps.values()), stop),
            self._control,
            self._account,
        )
        while not ticket.wait(0, HEARTBEAT_SECONDS):
            pass
        assert ticket.result is not None
        return ticket.result

    def _masked_image(self, prepared: Prepared, fill: Fill) -> MaskedImage:
        behind = fill_tensor(fill, prepared.tensor, self._model.manifest.input)
        return MaskedImage(prepared.tensor - behind, behind)

    def _base(
        self, planned: PlannedMethod, clean: Forward, driver: Driver, prepared: Prepared
    ) -> Base:
        features = {tap.name: clean.features[tap.name] for tap in planned.taps}
        return Base(features, clean.logits, driver.target, prepared.tensor, driver.image.fill)

    def _driver(
        self, map_id: int, planned: PlannedMethod, target: Target, image: MaskedImage, tally: Tally
    ) -> Driver:
        return Driver(
            map_id=map_id,
            method=planned.method.name,
            gradient_side=planned.gradient_side,
            model=self._model,
            scheduler=self._scheduler,
            control=self._control,
            account=self._account,
            image=image,
            target=target,
            tally=tally,
            pace=self._pace,
            wants_partial_maps=self._order.partial_maps,
        )

    def _expected_rows(self, targets: int) -> int:
        """The clean run, every method's rows, and a row a map for its scores."""
        each = sum(p.expected_rows + bool(self._order.scores) for p in self._plan)
        return 1 + targets * each

    def _finished(self, map_seconds: tuple[float, ...], map_rows: tuple[int, ...]) -> Finished:
        account = self._account
        return Finished(
            account.rows,
            account.queue_seconds,
            account.device_seconds,
            time.monotonic() - self._began,
            map_seconds,
            map_rows,
        )
