"""The scheduler against a graph of its own: who shares a batch, who waits, who never runs."""

import queue
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from salience_service.control import Control
from salience_service.errors import (
    Cancelled,
    ComputeFailed,
    DeadlineExceeded,
    SalienceError,
    Unavailable,
)
from salience_service.runtime.session import Device, Execution, Lane
from salience_service.scheduling import scheduler as scheduler_module
from salience_service.scheduling.account import Account
from salience_service.scheduling.batch import Batch
from salience_service.scheduling.row_graph import RowSpan
from salience_service.scheduling.scheduler import Scheduler
from salience_service.scheduling.ticket import Ticket
from tests.support.freed import is_freed, without_the_collector
from tests.support.scheduling import BATCH, CountingGraph, finish, held, span
from tests.support.waiting import until


@pytest.fixture
def scheduler() -> Iterator[Scheduler]:
    scheduler = Scheduler()
    yield scheduler
    scheduler.close()


def test_rows_come_back_in_their_order(scheduler: Scheduler) -> None:
    graph = CountingGraph()
    logits = finish(scheduler.rows(graph, span("a", 10), Control(), Account()), graph)
    np.testing.assert_array_equal(logits[:, 0], np.arange(10))
    assert [rows for call in graph.calls for _, rows in call] == [4, 4, 2]


def test_one_batch_holds_rows_of_two_requests(scheduler: Scheduler) -> None:
    graph = CountingGraph()
    with held(scheduler):
        tickets = [scheduler.rows(graph, span(name, 6), Control(), Account()) for name in "ab"]
    for ticket in tickets:
        np.testing.assert_array_equal(finish(ticket, graph)[:, 0], np.arange(6))
    assert sorted(graph.calls[0]) == [("a", 2), ("b", 2)]
    assert graph.rows_run() == 12


def test_what_a_small_request_leaves_of_a_batch_goes_to_the_large(scheduler: Scheduler) -> None:
    graph = CountingGraph()
    with held(scheduler):
        large = scheduler.rows(graph, span("large", 7), Control(), Account())
        small = scheduler.rows(graph, span("small", 1), Control(), Account())
    finish(small, graph)
    finish(large, graph)
    assert sorted(graph.calls[0]) == [("large", 3), ("small", 1)]


def test_maps_of_two_shapes_never_share_a_batch(scheduler: Scheduler) -> None:
    graph = CountingGraph()
    with held(scheduler):
        first = scheduler.rows(graph, span("a", 2, size=2), Control(), Account())
        second = scheduler.rows(graph, span("b", 2, size=3), Control(), Account())
    finish(first, graph)
    finish(second, graph)
    assert sorted(graph.calls) == [[("a", 2)], [("b", 2)]]


def test_maps_of_two_shapes_have_batches_of_two_sizes(scheduler: Scheduler) -> None:
    graph = CountingGraph({(2, 2): 3, (5, 5): 7})
    with held(scheduler):
        small = [
            scheduler.rows(graph, span(name, 6, size=2), Control(), Account()) for name in "ab"
        ]
        large = [
            scheduler.rows(graph, span(name, 7, size=5), Control(), Account()) for name in "cd"
        ]
    graph.let.release(1000)
    for ticket in small + large:
        assert finish(ticket, graph)[:, 0].tolist() == [*range(ticket.size)]
    sizes = {"a": 3, "b": 3, "c": 7, "d": 7}
    for call in graph.calls:
        assert {sizes[name] for name, _ in call} == {sum(rows for _, rows in call)}
    assert sorted(sum(rows for _, rows in call) for call in graph.calls) == [3] * 4 + [7] * 2
    assert scheduler.workload.places == scheduler.workload.rows == 26


def test_rows_of_a_cancelled_request_stop_within_one_batch(scheduler: Scheduler) -> None:
    graph, control = CountingGraph(), Control()
    ticket = scheduler.rows(graph, span("a", 400), control, Account())
    assert graph.began.acquire(timeout=10)
    control.cancel()
    graph.let.release()
    with pytest.raises(Cancelled):
        ticket.wait(399, 10)
    other = scheduler.rows(graph, span("b", 4), Control(), Account())
    finish(other, graph)
    assert graph.rows_run() == 8


def test_a_running_batch_is_ended_only_when_every_row_in_it_is_dead(scheduler: Scheduler) -> None:
    graph, leaves, stays = CountingGraph(), Control(), Control()
    with held(scheduler):
        scheduler.rows(graph, span("a", 2), leaves, Account())
        neighbour = scheduler.rows(graph, span("b", 2), stays, Account())
    assert graph.began.acquire(timeout=10)
    leaves.cancel()
    assert not graph.executions[0].ended
    np.testing.assert_array_equal(finish(neighbour, graph)[:, 0], [0, 1])


def test_a_running_batch_of_the_dead_alone_is_ended(scheduler: Scheduler) -> None:
    graph, control = CountingGraph(), Control()
    scheduler.rows(graph, span("a", 2), control, Account())
    assert graph.began.acquire(timeout=10)
    control.cancel()
    assert graph.executions[0].ended
    graph.let.release()


def test_rows_past_their_deadline_never_run(scheduler: Scheduler) -> None:
    graph = CountingGraph()
    ticket = scheduler.rows(
        graph, span("late", 4), Control(deadline=time.monotonic() - 1), Account()
    )
    with pytest.raises(DeadlineExceeded):
        ticket.wait(0, 10)
    finish(scheduler.rows(graph, span("b", 1), Control(), Account()), graph)
    assert graph.rows_run() == 1


def test_a_failed_batch_fails_its_own_requests_only(scheduler: Scheduler) -> None:
    graph = CountingGraph()
    graph.fails = True
    ticket = scheduler.rows(graph, span("a", 8), Control(), Account())
    graph.let.release()
    with pytest.raises(ComputeFailed, match="failed on the device") as raised:
        ticket.wait(0, 10)
    assert "secret" not in str(raised.value)
    graph.fails = False
    finish(scheduler.rows(graph, span("b", 3), Control(), Account()), graph)
    assert graph.rows_run() == 7


def test_a_lane_that_cannot_begin_a_batch_tries_again(
    scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    failing = iter([True])

    def execution(lane: Lane) -> Execution:
        if next(failing, False):
            raise MemoryError
        return Execution(lane)

    monkeypatch.setattr(scheduler_module, "_BREATH_SECONDS", 0)
    monkeypatch.setattr(scheduler_module, "Execution", execution)
    graph = CountingGraph()
    for name in "ab":
        finish(scheduler.rows(graph, span(name, 3), Control(), Account()), graph)
    assert graph.rows_run() == 6
    assert "a batch could not be begun" in caplog.text


def test_what_fails_while_a_batch_is_formed_takes_nothing_from_who_waits(
    scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even what it may not share: such calls would wait for ever."""
    share_out, failing = scheduler_module.share_out, iter([True])

    def shared_out(order: Sequence[Ticket]) -> object:
        if next(failing, False):
            raise MemoryError
        return share_out(order)

    monkeypatch.setattr(scheduler_module, "_BREATH_SECONDS", 0)
    monkeypatch.setattr(scheduler_module, "share_out", shared_out)
    ran: list[int] = []
    for number in range(2):
        ticket = scheduler.call(
            lambda _, n=number: ran.append(n), Control(), Account(), alone="torch"
        )
        assert ticket.wait(0, 10)
    assert ran == [0, 1]


def test_who_shared_a_failed_batch_is_told_of_one_and_the_same_failure(
    scheduler: Scheduler,
) -> None:
    graph = CountingGraph()
    graph.fails = True
    with held(scheduler):
        tickets = [scheduler.rows(graph, span(name, 2), Control(), Account()) for name in "ab"]
    graph.let.release()
    failures = []
    for ticket in tickets:
        with pytest.raises(ComputeFailed) as told:
            ticket.wait(0, 10)
        failures.append(told.value)
    assert len(graph.calls) == 1
    assert failures[0] is not failures[1]
    assert failures[0].origin is failures[1].origin


def test_the_bill_counts_every_row_once_and_shares_device_time(scheduler: Scheduler) -> None:
    graph, bills = CountingGraph(), (Account(), Account())
    tickets = [
        scheduler.rows(graph, span(name, 6), Control(), bill)
        for name, bill in zip("ab", bills, strict=True)
    ]
    for ticket in tickets:
        finish(ticket, graph)
    assert [bill.rows for bill in bills] == [6, 6]
    assert all(bill.device_seconds > 0 and bill.queue_seconds >= 0 for bill in bills)


def test_a_closed_scheduler_refuses_work_and_tells_what_waits_to_come_again() -> None:
    scheduler, graph = Scheduler(), CountingGraph()
    waiting = scheduler.rows(graph, span("a", 8), Control(), Account())
    assert graph.began.acquire(timeout=10)
    closing = threading.Thread(target=scheduler.close)
    closing.start()
    with pytest.raises(Unavailable):
        waiting.wait(0, 10)
    graph.let.release()
    closing.join(10)
    with pytest.raises(Unavailable):
        scheduler.rows(graph, span("b", 1), Control(), Account())


def test_python_does_not_end_within_a_batch() -> None:
    script = """
import time
from salience_service.control import Control
from salience_service.scheduling.scheduler import Scheduler
from salience_service.scheduling.account import Account

def call(execution):
    print("began", flush=True)
    time.sleep(0.3)
    print("ended", flush=True)

scheduler = Scheduler()
scheduler.call(call, Control(), Account())
while not scheduler.running():
    time.sleep(0.001)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, ["began", "ended"], "")


def test_an_answer_of_the_wrong_shape_fails_its_request_and_the_device_goes_on(
    scheduler: Scheduler,
) -> None:
    class ShrinkingGraph(CountingGraph):
        """Forgets a class in its second batch."""

        def score(self, spans: list[RowSpan], execution: Execution) -> np.ndarray:
            logits = super().score(spans, execution)
            return np.repeat(logits, 3 if len(self.calls) == 1 else 2, axis=1)

    broken, whole = ShrinkingGraph(), CountingGraph()
    ticket = scheduler.rows(broken, span("a", 2 * BATCH), Control(), Account())
    with pytest.raises(ComputeFailed, match="failed on the device"):
        finish(ticket, broken)
    finish(scheduler.rows(whole, span("b", 2), Control(), Account()), whole)


@pytest.mark.parametrize("error", [Cancelled("it was ended early"), ComputeFailed("no memory")])
def test_a_batch_that_did_not_end_well_is_held_by_nobody(
    scheduler: Scheduler, error: SalienceError, caplog: pytest.LogCaptureFixture
) -> None:
    # pytest keeps what is logged, and with it the error's frames.
    caplog.set_level("CRITICAL", "salience_service.scheduling.scheduler")

    class Fails(CountingGraph):
        def score(self, spans: list[RowSpan], execution: Execution) -> np.ndarray:
            try:
                raise RuntimeError("from inside")
            except RuntimeError as inside:
                raise type(error)(str(error)) from inside

    with without_the_collector():
        graph = Fails()
        ticket = scheduler.rows(graph, span("a", 1), Control(), Account())
        with pytest.raises(type(error)) as told:
            ticket.wait(0, 10)
        gone = weakref.ref(graph)
        del graph, ticket, told
        assert is_freed(gone)


def test_why_a_batch_failed_is_told_in_the_log_alone(
    scheduler: Scheduler, caplog: pytest.LogCaptureFixture
) -> None:
    def call(_: Execution) -> None:
        try:
            raise RuntimeError("CUDA failure 700 at /inside")
        except RuntimeError as inside:
            raise ComputeFailed("the model failed on the device") from inside

    with pytest.raises(ComputeFailed) as told:
        scheduler.call(call, Control(), Account()).wait(0, 10)
    assert told.value.__cause__ is None
    (logged,) = (each for each in caplog.records if each.name.endswith("scheduler"))
    assert logged.exc_info
    assert str(logged.exc_info[1]) == "CUDA failure 700 at /inside"


def test_who_leaves_as_a_batch_is_taken_still_ends_it() -> None:
    """Between taking a batch and running it there is no moment at which nobody could end it."""
    control, ended = Control(), threading.Event()

    def call(execution: Execution) -> None:
        until = time.monotonic() + 10
        while not execution.ended and time.monotonic() < until:
            time.sleep(0.001)
        if execution.ended:
            ended.set()

    scheduler = Scheduler()
    try:
        taken = scheduler._form_batch

        def leaving(ready: Sequence[Ticket], execution: Execution) -> Batch:
            batch = taken(ready, execution)
            threading.Thread(target=control.cancel).start()  # It waits for the lock held here.
            return batch

        scheduler._form_batch = leaving  # type: ignore[method-assign,assignment]
        scheduler.call(call, control, Account())
        assert ended.wait(10)
    finally:
        scheduler.close()


def test_calls_that_cannot_run_side_by_side_leave_the_other_lanes_to_others() -> None:
    scheduler, graph = Scheduler(Device(calls=2).lanes()), CountingGraph()
    begun, let = threading.Semaphore(0), threading.Semaphore(0)

    def call(execution: Execution) -> Execution:
        begun.release()
        assert let.acquire(timeout=10)
        return execution

    try:
        calls = [scheduler.call(call, Control(), Account(), alone="torch") for _ in range(3)]
        assert begun.acquire(timeout=10)
        rows = scheduler.rows(graph, span("a", 2 * BATCH), Control(), Account())
        finish(rows, graph)  # While one call runs and two wait.
        assert not begun.acquire(timeout=0.1)
        for ticket in calls:
            let.release()
            assert ticket.wait(0, 10)
        assert begun.acquire(timeout=10)
        assert begun.acquire(timeout=10)
    finally:
        let.release(3)
        scheduler.close()


def test_a_call_that_fails_or_is_cancelled_lets_the_next_of_its_kind_run() -> None:
    scheduler, control = Scheduler(Device(calls=2).lanes()), Control()
    let = threading.Semaphore(0)

    def fails(_: Execution) -> None:
        assert let.acquire(timeout=10)
        raise ComputeFailed("no memory")

    try:
        first = scheduler.call(fails, Control(), Account(), alone="torch")
        left = scheduler.call(fails, control, Account(), alone="torch")
        last = scheduler.call(lambda _: "done", Control(), Account(), alone="torch")
        control.cancel()
        let.release()
        with pytest.raises(ComputeFailed):
            first.wait(0, 10)
        assert last.wait(0, 10)
        with pytest.raises(Cancelled):
            left.wait(0, 10)
    finally:
        let.release(3)
        scheduler.close()


def test_lanes_run_side_by_side_and_rows_still_come_back_in_order() -> None:
    class FirstIsSlow(CountingGraph):
        """Its first batch ends after all others."""

        def __init__(self) -> None:
            super().__init__()
            self.lanes: list[Lane] = []
            self.one_by_one = threading.Lock()

        def score(self, spans: list[RowSpan], execution: Execution) -> np.ndarray:
            with self.one_by_one:
                first = not self.calls
                self.lanes.append(execution.lane)
                self.calls.append([(span.source, len(span)) for span in spans])
            if first:
                assert self.let.acquire(timeout=10)
            return np.concatenate([span.maps.mean(axis=(1, 2)) for span in spans])[:, None]

    scheduler, graph = Scheduler(Device(numbers=(0, 1)).lanes()), FirstIsSlow()
    try:
        ticket = scheduler.rows(graph, span("a", 5 * BATCH), Control(), Account())
        until(lambda: len(graph.calls) == 5)  # The other lane does all that is left meanwhile.
        assert ticket.wait(0, 0) == 0
        graph.let.release()
        assert ticket.wait(5 * BATCH - 1, 10) == 5 * BATCH
        np.testing.assert_array_equal(ticket.logits[:, 0], np.arange(5 * BATCH))
        assert {lane.place for lane in graph.lanes} == {0, 1}
    finally:
        graph.let.release()
        scheduler.close()


class Placed:
    """A call that runs until it is let, and tells on which device."""

    def __init__(self) -> None:
        self.places = queue.SimpleQueue[int]()
        self.let = threading.Event()

    def __call__(self, execution: Execution) -> None:
        self.places.put(execution.lane.place)
        assert self.let.wait(10)

    def place(self) -> int:
        return self.places.get(timeout=10)


@pytest.fixture
def two_by_two() -> Iterator[Scheduler]:
    """Two devices of two calls each, all lanes free."""
    scheduler = Scheduler(Device(numbers=(0, 1), calls=2).lanes())
    until(lambda: len(scheduler._free) == 4)
    yield scheduler
    scheduler.close()


def test_no_device_runs_two_calls_while_another_has_none(two_by_two: Scheduler) -> None:
    long = Placed()
    two_by_two.call(long, Control(), Account())
    place, others = long.place(), []
    for _ in range(20):
        short = two_by_two.call(lambda execution: execution.lane.place, Control(), Account())
        assert short.wait(0, 10)
        others.append(short.result)
    long.let.set()
    assert {*others} == {1 - place}


def test_the_device_that_runs_fewer_calls_goes_before_the_lane_that_came_free_last(
    two_by_two: Scheduler,
) -> None:
    calls: dict[int, list[Placed]] = {0: [], 1: []}
    for _ in range(4):
        call = Placed()
        two_by_two.call(call, Control(), Account())
        calls[call.place()].append(call)
    for free, call in enumerate([*calls[1], calls[0][0]], 1):
        call.let.set()
        until(lambda free=free: len(two_by_two._free) == free)
    last = Placed()
    two_by_two.call(last, Control(), Account())
    assert last.place() == 1
    for call in (last, calls[0][1]):
        call.let.set()


def test_a_cancelled_request_ends_on_every_lane_and_its_neighbour_goes_on() -> None:
    scheduler, graph, control = Scheduler(Device(calls=3).lanes()), CountingGraph(), Control()
    try:
        scheduler.rows(graph, span("a", 400), control, Account())
        assert all(graph.began.acquire(timeout=10) for _ in range(3))
        control.cancel()
        assert [execution.ended for execution in graph.executions] == [True] * 3
        neighbour = scheduler.rows(graph, span("b", 2 * BATCH), Control(), Account())
        graph.let.release(3)
        np.testing.assert_array_equal(finish(neighbour, graph)[:, 0], np.arange(2 * BATCH))
        assert graph.rows_run() == (3 + 2) * BATCH
    finally:
        graph.let.release(9)
        scheduler.close()


def test_the_workload_counts_rows_and_the_places_that_padding_took(scheduler: Scheduler) -> None:
    graph = CountingGraph()
    assert scheduler.workload.fill == 1
    scheduler.call(lambda _: None, Control(), Account()).wait(0, 10)
    finish(scheduler.rows(graph, span("a", BATCH + 1), Control(), Account()), graph)
    found = scheduler.workload
    assert (found.calls, found.batches, found.rows, found.places) == (1, 2, BATCH + 1, 2 * BATCH)
    assert found.fill == (BATCH + 1) / (2 * BATCH)


def test_no_rows_at_all_are_refused_and_the_device_goes_on(scheduler: Scheduler) -> None:
    graph = CountingGraph()
    with pytest.raises(ValueError, match="at least one"):
        scheduler.rows(graph, span("a", 0), Control(), Account())
    finish(scheduler.rows(graph, span("b", 2), Control(), Account()), graph)


def test_a_listener_is_kept_and_told_once_however_often_it_asked() -> None:
    told: list[str] = []

    class Listener:
        def hear(self) -> None:
            told.append("cancelled")

    control, listener = Control(), Listener()
    for _ in range(1000):  # As the scheduler does for an explanation of a thousand gradients.
        control.on_cancel(listener.hear)
    control.cancel()
    assert told == ["cancelled"]


def test_rows_that_are_given_up_never_run_and_the_explanation_goes_on(
    scheduler: Scheduler,
) -> None:
    graph, control, account = CountingGraph(), Control(), Account()
    running = scheduler.rows(graph, span("a", BATCH), control, account)
    assert graph.began.acquire(timeout=10)
    given_up = scheduler.rows(graph, span("a", 2 * BATCH), control, account)
    wanted = scheduler.rows(graph, span("a", 3), control, account)
    given_up.drop()
    finish(running, graph)
    np.testing.assert_array_equal(finish(wanted, graph)[:, 0], np.arange(3))
    assert graph.rows_run() == BATCH + 3
