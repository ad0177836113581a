"""Explain over a real loopback server: events in order, cancellation, deadlines, slow readers."""

import gc
import threading
import time
from collections.abc import Iterator

import grpc
import numpy as np
import pytest

from salience.v1 import explanation_service_pb2 as pb
from salience_service.control import Control
from salience_service.errors import ComputeFailed
from salience_service.events import Event, Progress
from salience_service.request import ExplainOrder
from tests.support.serving import (
    FINISHED,
    STARTED,
    FakeEngine,
    calling,
    endless,
    finished_map,
    partial_map,
    patient,
    plain,
    request,
    serving,
    until_answered,
)
from tests.support.waiting import SOON_SECONDS

"""Far above what is needed, far below the time limit of a test: machines are shared."""


def test_events_come_in_the_order_in_which_the_engine_tells_them() -> None:
    with serving(FakeEngine()) as server, calling(server) as stub:
        kinds = [response.WhichOneof("event") for response in stub.Explain(request())]
    assert kinds == ["started", "progress", "map", "finished"]


def test_events_that_are_to_be_gathered_come_together_at_the_end() -> None:
    with serving(FakeEngine()) as server, calling(server) as stub:
        apart = [each for each in stub.Explain(request()) if not each.HasField("progress")]
        (together,) = stub.Explain(request(gather=True))
    assert list(together.gathered.events) == apart


def test_what_was_gathered_before_a_failure_comes_before_its_error() -> None:
    def fails(order: ExplainOrder, control: Control) -> Iterator[Event]:
        yield STARTED
        raise ComputeFailed("the device")

    with serving(FakeEngine({"tiny": fails})) as server, calling(server) as stub:
        answers = stub.Explain(request(gather=True))
        assert [each.WhichOneof("event") for each in next(answers).gathered.events] == ["started"]
        with pytest.raises(grpc.RpcError) as told:
            next(answers)
    assert told.value.code() is grpc.StatusCode.INTERNAL


def test_started_arrives_before_any_work_is_done() -> None:
    may_work = threading.Event()

    def waits(order: ExplainOrder, control: Control) -> Iterator[Event]:
        yield STARTED
        assert may_work.wait(SOON_SECONDS), "started was held back until the work was done"
        yield FINISHED

    with serving(FakeEngine({"tiny": waits})) as server, calling(server) as stub:
        answers = stub.Explain(request())
        assert next(answers).started.model == "tiny"
        may_work.set()
        assert next(answers).WhichOneof("event") == "finished"


def test_cancelling_a_call_stops_its_explanation_and_not_its_neighbour() -> None:
    engine = FakeEngine({"tiny": patient})
    with serving(engine) as server, calling(server) as stub:
        first, second = stub.Explain(request()), stub.Explain(request())
        next(first), next(second)
        first.cancel()
        assert engine.ended.acquire(timeout=SOON_SECONDS)
        assert sorted(control.dead for control in engine.controls) == [False, True]
        assert next(second).HasField("progress")
        second.cancel()
        assert engine.ended.acquire(timeout=SOON_SECONDS)


def test_an_explanation_that_blocks_on_a_slow_reader_ends_when_the_caller_goes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    engine = FakeEngine({"tiny": endless})
    with serving(engine) as server, calling(server) as stub:
        call = stub.Explain(request())
        next(call)
        time.sleep(0.2)
        call.cancel()
        assert engine.ended.acquire(timeout=SOON_SECONDS)
    assert not caplog.records, "a caller who goes is no failure of the server"


def test_a_deadline_reaches_the_engine_and_ends_the_call() -> None:
    engine = FakeEngine({"tiny": patient})
    with serving(engine) as server, calling(server) as stub:
        stub.ListModels(pb.ListModelsRequest())  # Connected, so that no time goes on that.
        call = stub.Explain(request(), timeout=4)
        next(call)
        with pytest.raises(grpc.RpcError) as told:
            list(call)
        assert told.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert engine.ended.acquire(timeout=SOON_SECONDS)
    assert engine.controls[0].deadline is not None


def test_a_slow_reader_gets_fewer_partial_maps_but_every_map() -> None:
    partials, maps, read_on = 200, 3, threading.Event()

    def chatty(order: ExplainOrder, control: Control) -> Iterator[Event]:
        yield STARTED
        for map_id in range(maps):
            for step in range(partials):
                yield partial_map(step / partials, map_id)
                yield Progress(map_id, "score-cam", map_id * partials + step, maps * partials)
            yield finished_map(bytes(3 * 2**20), map_id)
        read_on.set()
        yield FINISHED

    with serving(FakeEngine({"tiny": chatty})) as server, calling(server) as stub:
        answers = stub.Explain(request())
        next(answers)
        time.sleep(0.3)
        rest = list(answers)
    seen = [response.partial_map for response in rest if response.HasField("partial_map")]
    finished = rest[-1].finished
    assert [r.map.map_id for r in rest if r.HasField("map")] == list(range(maps))
    assert sum(len(r.map_chunk.data) for r in rest if r.HasField("map_chunk")) == maps * 3 * 2**20
    assert 0 < len(seen) < maps * partials
    assert len(seen) + finished.partial_maps_skipped == maps * partials
    assert [partial.skipped for partial in seen] == sorted(partial.skipped for partial in seen)
    rows = [response.progress.rows_done for response in rest if response.HasField("progress")]
    assert rows == sorted(rows)


def test_a_map_of_24_megabytes_arrives_whole_within_the_default_message_limit() -> None:
    data = np.random.default_rng(0).bytes(24 * 2**20 + 5)

    def large(order: ExplainOrder, control: Control) -> Iterator[Event]:
        yield STARTED
        yield finished_map(data)
        yield FINISHED

    with serving(FakeEngine({"tiny": large})) as server, calling(server) as stub:
        answers = list(stub.Explain(request()))
    head = answers[1].map
    chunks = [answer.map_chunk for answer in answers if answer.HasField("map_chunk")]
    assert (head.total_bytes, head.data) == (len(data), b"")
    assert max(len(chunk.data) for chunk in chunks) <= 2**20
    assert all(chunk.offset == index * 2**20 for index, chunk in enumerate(chunks))
    assert b"".join(chunk.data for chunk in chunks) == data


def test_one_explanation_more_than_the_limit_is_refused_at_once_and_fits_later() -> None:
    engine = FakeEngine({"tiny": plain, "slow": patient})
    with serving(engine, max_explanations=1) as server, calling(server) as stub:
        running = stub.Explain(request("slow"))
        next(running)
        with pytest.raises(grpc.RpcError) as told:
            list(stub.Explain(request()))
        assert told.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "1 explanations" in told.value.details()
        running.cancel()
        assert engine.ended.acquire(timeout=SOON_SECONDS)
        until_answered(stub)


def test_requests_one_after_the_other_always_find_room() -> None:
    with serving(FakeEngine(), max_explanations=1) as server, calling(server) as stub:
        for _ in range(50):
            assert len(list(stub.Explain(request()))) == 4


def test_the_event_loop_answers_while_a_request_is_read_and_checked() -> None:
    """A slow script before its first event holds a worker thread, not the server."""
    go_on = threading.Event()

    def slow_to_start(order: ExplainOrder, control: Control) -> Iterator[Event]:
        go_on.wait(SOON_SECONDS)
        yield STARTED

    with serving(FakeEngine({"tiny": slow_to_start})) as server, calling(server) as stub:
        call = stub.Explain(request())
        assert len(stub.ListModels(pb.ListModelsRequest(), timeout=SOON_SECONDS / 2).models) == 1
        go_on.set()
        next(call)


def test_a_failure_after_some_events_ends_the_call_with_its_status() -> None:
    def fails(order: ExplainOrder, control: Control) -> Iterator[Event]:
        yield STARTED
        raise ComputeFailed("the model failed on the device")

    with serving(FakeEngine({"tiny": fails})) as server, calling(server) as stub:
        answers = stub.Explain(request())
        assert next(answers).HasField("started")
        with pytest.raises(grpc.RpcError) as told:
            next(answers)
    assert told.value.code() is grpc.StatusCode.INTERNAL
    assert told.value.details() == "the model failed on the device"


def test_callers_who_leave_at_once_leave_no_word_of_it_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with serving(FakeEngine()) as server, calling(server) as stub:
        for _ in range(50):
            stub.Explain(request()).cancel()
        assert [*stub.Explain(request())][-1].HasField("finished")
        gc.collect()  # What nobody has heard is told when it is collected.
    assert not [record.getMessage() for record in caplog.records if record.name == "asyncio"]
