"""Whose turn it is: device time by weight, for newcomers and old, whether calls end well or not."""

import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from salience_service.control import Control
from salience_service.errors import Cancelled, ComputeFailed
from salience_service.runtime import turns as turns_module
from salience_service.runtime.session import Device, Execution
from salience_service.scheduling import scheduler as scheduler_module
from salience_service.scheduling import ticket as ticket_module
from salience_service.scheduling.account import Account
from salience_service.scheduling.row_graph import RowSpan
from salience_service.scheduling.scheduler import Scheduler
from tests.support.scheduling import Clock, CountingGraph, TimedGraph, finish, held, span
from tests.support.waiting import until


@pytest.fixture
def scheduler() -> Iterator[Scheduler]:
    scheduler = Scheduler()
    yield scheduler
    scheduler.close()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    played = Clock()
    monkeypatch.setattr(scheduler_module, "time", played)
    monkeypatch.setattr(ticket_module, "time", played)
    monkeypatch.setattr(turns_module, "time", played)
    return played


def test_priorities_share_a_batch_by_their_weights(scheduler: Scheduler) -> None:
    graph = CountingGraph()
    with held(scheduler):
        bulk = scheduler.rows(graph, span("bulk", 40), Control(), Account(weight=1))
        urgent = scheduler.rows(graph, span("urgent", 6), Control(), Account(weight=3))
    finish(urgent, graph)
    finish(bulk, graph)
    assert sorted(graph.calls[0]) == [("bulk", 1), ("urgent", 3)]


def test_of_graphs_that_cannot_share_the_heavier_gets_more_turns_and_the_light_never_starves(
    scheduler: Scheduler, clock: Clock
) -> None:
    order: list[str] = []

    def work(name: str) -> None:
        order.append(name)
        clock.now += 0.01

    accounts = {"bulk": Account(weight=1), "urgent": Account(weight=4)}
    with held(scheduler):
        tickets = [
            scheduler.call(lambda _, name=name: work(name), Control(), accounts[name])
            for name in ["bulk", "urgent"] * 12
        ]
    for ticket in tickets:
        assert ticket.wait(0, 10)
    first = order[:10]
    assert 6 <= first.count("urgent") <= 9
    assert order.count("bulk") == 12


@pytest.mark.parametrize(("heavy", "light"), [(16, 1), (16, 4), (4, 1)])
def test_in_small_batches_the_light_gets_its_share_beside_the_heavy(
    scheduler: Scheduler, clock: Clock, heavy: int, light: int
) -> None:
    graph, rows = TimedGraph(clock), 320
    accounts = {"heavy": Account(heavy), "light": Account(light)}
    with held(scheduler):
        tickets = [
            scheduler.rows(graph, span(name, rows), Control(), account)
            for name, account in accounts.items()
        ]
    for ticket in tickets:
        assert ticket.wait(rows - 1, 10) == rows
    done = {"heavy": 0, "light": 0}
    for call in graph.calls:
        for name, count in call:
            done[str(name)] += count
        if done["heavy"] == rows:
            break
    assert rows * light / heavy / 2 <= done["light"] <= 2 * rows * light / heavy


@pytest.mark.parametrize(("weight", "batches"), [(16, 2), (4, 2 + 16 // 4), (1, 2 + 16)])
def test_who_comes_to_two_of_unequal_weight_waits_no_longer_than_their_weights_say(
    scheduler: Scheduler, clock: Clock, weight: int, batches: int
) -> None:
    graph, waited = TimedGraph(clock), list[int]()
    flood = [
        scheduler.rows(graph, span(str(weight), 4000), Control(), Account(weight))
        for weight in (1, 16)
    ]
    assert flood[1].wait(8, 10)
    account = Account(weight)

    class Other(TimedGraph):
        def score(self, spans: list[RowSpan], execution: Execution) -> np.ndarray:
            waited.append(len(graph.calls))
            return super().score(spans, execution)

    def call(_: Execution) -> None:
        waited.append(len(graph.calls))
        clock.now += 0.01

    for queue in (
        lambda: scheduler.call(call, Control(), account),
        lambda: scheduler.rows(Other(clock), span("small", 2), Control(), account),
    ):
        with scheduler._state:  # No batch is taken between the count and the queue.
            before = len(graph.calls)
            ticket = queue()
        assert ticket.wait(ticket.size - 1, 10) == ticket.size
        assert waited.pop() - before <= batches
    for ticket in flood:
        ticket.drop()


def test_turns_are_counted_in_device_time_and_not_in_calls(
    scheduler: Scheduler, clock: Clock
) -> None:
    order: list[str] = []

    def work(name: str, seconds: float) -> None:
        order.append(name)
        clock.now += seconds

    accounts = {"short": (Account(), 0.01), "long": (Account(), 0.04)}
    with held(scheduler):
        tickets = [
            scheduler.call(lambda _, name=name, s=s: work(name, s), Control(), account)
            for _ in range(24)
            for name, (account, s) in accounts.items()
        ]
    for ticket in tickets:
        assert ticket.wait(0, 10)
    assert 3 <= order[:20].count("long") <= 5  # A quarter as often.


@pytest.mark.parametrize("fails", [False, True])
def test_single_calls_without_end_do_not_keep_out_who_was_served_before(
    scheduler: Scheduler, clock: Clock, fails: bool
) -> None:
    """Each is an explanation of its own, as predictions are, and so has had nothing yet; those
    that fail, or are ended by their deadline, take the device as long."""
    ran: list[str] = []

    def newcomer(_: Execution) -> None:
        clock.now += 1
        ran.append("new")
        if len(ran) < 100:
            scheduler.call(newcomer, Control(), Account(4))
        if fails:
            raise ComputeFailed("the model failed on the device")

    def served(_: Execution) -> None:
        clock.now += 1
        ran.append("served")

    account = Account(16)
    scheduler.call(served, Control(), account).wait(0, 10)
    ran.clear()
    account.turn += 0.5  # As if it had been served beside many.
    with held(scheduler):
        for _ in range(8):
            scheduler.call(newcomer, Control(), Account(4))
        again = scheduler.call(served, Control(), account)
    again.wait(0, 10)
    assert ran.index("served") <= 40  # Each second is 1/52 of virtual time, or 1/56.


def test_a_newcomer_of_high_priority_goes_before_all_newcomers_of_a_lower(
    scheduler: Scheduler, clock: Clock
) -> None:
    """Most explanations are one call or two: each would else be behind all that wait."""
    order: list[str] = []

    def work(name: str) -> None:
        clock.now += 1
        order.append(name)

    scheduler.call(lambda _: work("first"), Control(), Account()).wait(0, 10)
    with held(scheduler):
        tickets = [
            scheduler.call(lambda _, name=name: work(name), Control(), Account(weight))
            for name, weight in [*[("bulk", 1)] * 20, ("normal", 4), ("interactive", 16)]
        ]
    for ticket in tickets:
        assert ticket.wait(0, 10)
    assert order == ["first", "interactive", "normal", *["bulk"] * 20]


def test_low_priority_is_not_kept_out_by_newcomers_of_a_higher_without_end(
    scheduler: Scheduler, clock: Clock
) -> None:
    ran: list[str] = []

    def newcomer(_: Execution) -> None:
        clock.now += 1
        ran.append("interactive")
        if len(ran) < 200:
            scheduler.call(newcomer, Control(), Account(16))

    def bulk(_: Execution) -> None:
        clock.now += 1
        ran.append("bulk")

    with held(scheduler):
        for _ in range(2):
            scheduler.call(newcomer, Control(), Account(16))
        waiting = scheduler.call(bulk, Control(), Account(1))
    assert waiting.wait(0, 10)
    assert ran.index("bulk") <= 3 * 16 + 2  # Three of weight 16 are there as each call ends.


def test_the_device_time_of_what_failed_is_billed_and_none_of_its_rows(
    scheduler: Scheduler, clock: Clock
) -> None:
    account = Account(4)

    def failing(_: Execution) -> None:
        clock.now += 2
        raise ComputeFailed("the model failed on the device")

    with pytest.raises(ComputeFailed):
        scheduler.call(failing, Control(), account, "gradient").wait(0, 10)
    assert (account.rows, account.device_seconds, account.turn) == (0, 2, 0.5)
    found = scheduler.workload
    assert (found.calls, found.batches, found.device_seconds) == (0, 0, {"gradient": 2})
    assert found.wasted_seconds == 0


def test_the_device_time_of_who_left_is_wasted_though_the_call_was_ended(
    scheduler: Scheduler, clock: Clock
) -> None:
    control = Control()

    def call(_: Execution) -> None:
        clock.now += 3
        control.cancel()
        raise Cancelled("the run was ended")

    ticket = scheduler.call(call, control, Account(), "forward")
    with pytest.raises(Cancelled):
        ticket.wait(0, 10)
    scheduler.call(lambda _: None, Control(), Account()).wait(0, 10)  # Then it is billed.
    assert scheduler.workload.wasted_seconds == 3
    assert scheduler.workload.device_seconds["forward"] == 3


def test_nobody_waits_for_the_device_while_their_own_work_is_on_it(
    scheduler: Scheduler, clock: Clock
) -> None:
    graph, account = TimedGraph(clock), Account()
    with held(scheduler):
        tickets = [scheduler.rows(graph, span("rise", 40), Control(), account) for _ in range(3)]
    for ticket in tickets:
        assert ticket.wait(39, 10) == 40
    assert account.device_seconds == pytest.approx(1.2)
    assert account.queue_seconds == 0


def test_the_wait_for_others_is_counted_once_however_much_waits(
    scheduler: Scheduler, clock: Clock
) -> None:
    graph, account = TimedGraph(clock), Account()

    def other(_: Execution) -> None:
        clock.now += 2

    with held(scheduler):
        # Who has a deadline goes first.
        scheduler.call(other, Control(time.monotonic() + 900), Account())
        tickets = [scheduler.rows(graph, span("rise", 4), Control(), account) for _ in range(3)]
    for ticket in tickets:
        assert ticket.wait(3, 10) == 4
    assert account.queue_seconds == pytest.approx(2)


def test_among_equals_the_nearest_deadline_goes_first(scheduler: Scheduler) -> None:
    order: list[str] = []
    deadlines = {"none": None, "late": time.monotonic() + 900, "soon": time.monotonic() + 60}
    with held(scheduler):
        tickets = [
            scheduler.call(lambda _, name=name: order.append(name), Control(deadline), Account())
            for name, deadline in deadlines.items()
        ]
    for ticket in tickets:
        assert ticket.wait(0, 10)
    assert order == ["soon", "late", "none"]


def test_two_rows_beside_six_thousand_wait_for_two_batches_at_most(scheduler: Scheduler) -> None:
    graph, other = CountingGraph(), CountingGraph()
    other.calls = graph.calls  # One list, in the order in which they began.
    account = Account()
    for _ in range(2):
        scheduler.rows(graph, span("rise", 3000), Control(), account)
    graph.let.release(5)
    for _ in range(6):
        assert graph.began.acquire(timeout=10)
    before = len(graph.calls)  # The sixth runs until it is let.
    other.let.release(1)
    small = scheduler.rows(other, span("small", 2), Control(), Account())
    graph.let.release(3000)
    assert small.wait(1, 10) == 2
    assert graph.calls.index([("small", 2)]) - before <= 1  # The sixth, and one more.


def test_a_newcomer_waits_for_one_batch_not_for_all_rows_before_it(scheduler: Scheduler) -> None:
    graph = CountingGraph()
    first = scheduler.rows(graph, span("old", 400, size=2), Control(), Account())
    assert graph.began.acquire(timeout=10)
    graph.let.release(8)
    first.wait(16, 10)
    newcomer = scheduler.rows(graph, span("new", 2, size=3), Control(), Account())
    graph.let.release(3)
    assert newcomer.wait(1, 10) == 2
    graph.let.release(1000)


class InTurn:
    """A call of a session whose calls take turns: ten seconds of a played clock, when it is let."""

    def __init__(self, session: threading.Lock, clock: Clock) -> None:
        self._session, self._clock = session, clock
        self.let = threading.Event()

    def __call__(self, execution: Execution) -> None:
        with execution.turn.taken(self._session):
            assert self.let.wait(10)
            self._clock.now += 10


def test_a_call_that_waits_for_its_turn_is_neither_billed_for_it_nor_held_to_be_running(
    clock: Clock,
) -> None:
    scheduler, session = Scheduler(Device(calls=2).lanes()), threading.Lock()
    calls, accounts = [InTurn(session, clock) for _ in range(2)], [Account(), Account()]
    try:
        first = scheduler.call(calls[0], Control(), accounts[0])
        until(session.locked)
        second = scheduler.call(calls[1], Control(), accounts[1])
        until(lambda: scheduler.occupancy.busy == 2 and len(scheduler.running()) == 1)
        calls[0].let.set()
        assert first.wait(0, 10)
        until(lambda: len(scheduler.running()) == 1)
        calls[1].let.set()
        assert second.wait(0, 10)
    finally:
        for call in calls:
            call.let.set()
        scheduler.close()
    assert [account.device_seconds for account in accounts] == [10, 10]
    assert [account.queue_seconds for account in accounts] == [0, 10]
    assert scheduler.workload.device_seconds == {"call": 20}
