"""The audit behind a real loopback server: no record, no answer; and every end is recorded."""

import errno
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
import pytest

from salience.inference import grpc_service_pb2_grpc as inference_grpc
from salience_service.audit.auditor import Auditor
from salience_service.audit.finding import records_of
from salience_service.audit.trail import Upkeep
from salience_service.control import Control
from salience_service.errors import ComputeFailed
from salience_service.events import Event
from salience_service.request import ExplainOrder
from salience_service.telemetry.opening import Telemetry
from tests.support.audit import KEYS, Disk, checked, fields, trail_of
from tests.support.predicting import infer_request
from tests.support.serving import (
    FINISHED,
    STARTED,
    FakeEngine,
    calling,
    finished_map,
    patient,
    request,
    serving,
)
from tests.support.waiting import until

DURABLE = Upkeep(rotate_bytes=2**20)
PREDICT = infer_request(np.zeros((1, 3, 8, 8), np.float32))


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "audit"


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
def auditor(directory: Path, disk: Disk) -> Iterator[Auditor]:
    made = Auditor(trail_of(directory, DURABLE, sync=disk.sync), KEYS)
    yield made
    made.close()


def watched(auditor: Auditor) -> Telemetry:
    return Telemetry(witnesses=(auditor,))


def kinds(directory: Path) -> list[object]:
    return [line["kind"] for line in fields(directory)]


def test_an_answer_is_recorded_before_its_end_is_told(directory: Path, auditor: Auditor) -> None:
    with serving(FakeEngine(), watched(auditor)) as server, calling(server) as stub:
        for response in stub.Explain(request(), metadata=[("x-request-id", "ward-7.42")]):
            if response.HasField("started"):
                assert "began" in kinds(directory)
            if response.HasField("finished"):
                assert kinds(directory) == ["head", "began", "ended"]
    ended = fields(directory)[2]
    assert (ended["principal"], ended["request"]) == ("anonymous", "ward-7.42")
    assert (ended["model"], ended["outcome"]) == ("tiny", "ok")


def test_with_a_full_disk_nothing_at_all_is_answered(auditor: Auditor, disk: Disk) -> None:
    engine = FakeEngine()
    with serving(engine, watched(auditor)) as server, calling(server) as stub:
        disk.full.set()
        heard = []
        with pytest.raises(grpc.RpcError) as refused:
            heard.extend(stub.Explain(request()))
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "answers none unrecorded" in refused.value.details()
        assert not heard
        disk.full.clear()
        assert [*stub.Explain(request())][-1].HasField("finished")


def test_a_prediction_is_recorded_before_it_is_told_and_with_a_full_disk_there_is_none(
    directory: Path, auditor: Auditor, disk: Disk
) -> None:
    with (
        serving(FakeEngine(), watched(auditor)) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        stub = inference_grpc.GRPCInferenceServiceStub(channel)
        stub.ModelInfer(PREDICT)
        assert kinds(directory) == ["head", "predicted"]
        disk.full.set()
        with pytest.raises(grpc.RpcError) as refused:
            stub.ModelInfer(PREDICT)
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "answers none unrecorded" in refused.value.details()
        assert auditor.failures
        disk.full.clear()
        assert stub.ModelInfer(PREDICT).outputs


def test_a_disk_that_fills_while_it_answers_leaves_the_beginning_and_no_end(
    directory: Path, auditor: Auditor, disk: Disk
) -> None:
    def filling(order: ExplainOrder, control: Control) -> Iterator[Event]:
        yield STARTED
        disk.full.set()
        yield finished_map()
        yield FINISHED

    engine = FakeEngine({"tiny": filling})
    with serving(engine, watched(auditor)) as server, calling(server) as stub:
        heard = []
        with pytest.raises(grpc.RpcError) as refused:
            heard.extend(each.WhichOneof("event") for each in stub.Explain(request()))
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "finished" not in heard
    disk.full.clear()
    assert "began" in kinds(directory)


def test_where_it_is_allowed_answers_go_on_while_the_disk_is_full(
    directory: Path, disk: Disk
) -> None:
    auditor = Auditor(trail_of(directory, DURABLE, sync=disk.sync), KEYS, refuses=False)
    with serving(FakeEngine(), watched(auditor)) as server, calling(server) as stub:
        disk.full.set()
        assert [*stub.Explain(request())][-1].HasField("finished")
        with grpc.insecure_channel(server.address) as channel:
            stub = inference_grpc.GRPCInferenceServiceStub(channel)
            assert stub.ModelInfer(PREDICT).outputs
        disk.full.clear()
    auditor.close()
    assert auditor.failures >= 2
    assert checked(directory).whole


def failing_at(line: int) -> Callable[[int], None]:
    """A sync that fails for the line of this number, from 2, and then no more: the kernel tells
    but once. Before it come those of the lines before, and the lock's.
    """
    left = iter(range(line + 1, 0, -1))

    def sync(descriptor: int) -> None:
        if next(left, 0) == 1:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        os.fsync(descriptor)

    return sync


# The head is the first line, `began` the second, `ended` the third.
@pytest.mark.parametrize("which", [2, 3])
def test_an_explanation_refused_for_a_failed_sync_has_one_end_and_it_is_no_ok(
    directory: Path, which: int
) -> None:
    auditor = Auditor(trail_of(directory, DURABLE, sync=failing_at(which)), KEYS)
    with serving(FakeEngine(), watched(auditor)) as server, calling(server) as stub:
        with pytest.raises(grpc.RpcError) as refused:
            list(stub.Explain(request()))
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    auditor.close()
    assert [line["withdrawn"] for line in fields(directory) if "withdrawn" in line] == [[which]]
    report = checked(directory)
    assert (report.faults, report.notes, report.explanations) == ([], [], 1)
    found = list(records_of(directory, KEYS, request().image.encoded))
    assert [(line["kind"], line["outcome"]) for line in found] == [("ended", "failed")]


@pytest.mark.parametrize("which", [2, 3])
def test_an_explanation_answered_in_spite_of_a_failed_sync_has_its_two_lines(
    directory: Path, which: int
) -> None:
    auditor = Auditor(trail_of(directory, DURABLE, sync=failing_at(which)), KEYS, refuses=False)
    with serving(FakeEngine(), watched(auditor)) as server, calling(server) as stub:
        assert [*stub.Explain(request())][-1].HasField("finished")
    auditor.close()
    assert auditor.failures == 1
    report = checked(directory)
    assert (report.faults, report.notes, report.explanations) == ([], [], 1)
    found = list(records_of(directory, KEYS, request().image.encoded))
    assert [(line["began"], line["outcome"]) for line in found] == [(2, "ok")]


def test_a_prediction_refused_for_a_failed_sync_is_withdrawn(directory: Path) -> None:
    auditor = Auditor(trail_of(directory, DURABLE, sync=failing_at(2)), KEYS)
    with (
        serving(FakeEngine(), watched(auditor)) as server,
        grpc.insecure_channel(server.address) as channel,
        pytest.raises(grpc.RpcError),
    ):
        inference_grpc.GRPCInferenceServiceStub(channel).ModelInfer(PREDICT)
    auditor.close()
    found = fields(directory)
    ended = [(line["number"], line["outcome"]) for line in found if line["kind"] == "predicted"]
    assert ended == [(2, "ok"), (4, "failed")]
    assert found[2]["withdrawn"] == [2]


def endings(directory: Path) -> list[dict[str, object]]:
    return [line for line in fields(directory) if line["kind"] == "ended"]


def test_every_end_is_recorded_for_what_it_was(directory: Path, auditor: Auditor) -> None:
    def broken(order: ExplainOrder, control: Control) -> Iterator[Event]:
        yield STARTED
        raise ComputeFailed("the model failed on the device")

    engine = FakeEngine({"tiny": patient, "broken": broken})
    with serving(engine, watched(auditor)) as server, calling(server) as stub:
        call = stub.Explain(request())
        assert next(call).HasField("started")
        call.cancel()
        until(lambda: len(endings(directory)) == 1)  # Its caller does not wait for the record.
        late = stub.Explain(request("tiny"), timeout=6)
        assert next(late).HasField("started")
        with pytest.raises(grpc.RpcError):
            list(late)
        until(lambda: len(endings(directory)) == 2)
        for stated in ("broken", "Jane Doe"):
            with pytest.raises(grpc.RpcError):
                list(stub.Explain(request(stated), timeout=30))
        with pytest.raises(grpc.RpcError):
            list(stub.Explain(request(methods=[])))
    auditor.close()
    ended = endings(directory)
    assert [(line["outcome"], line["code"]) for line in ended] == [
        ("cancelled", "CANCELLED"),
        ("cancelled", "DEADLINE_EXCEEDED"),
        ("failed", "INTERNAL"),
        ("refused", "NOT_FOUND"),
        ("refused", "INVALID_ARGUMENT"),
    ]
    assert [line["model"] for line in ended] == ["tiny", "tiny", "tiny", "", ""]
    report = checked(directory)
    assert (report.faults, report.notes) == ([], [])


def test_sixty_four_calls_at_once_leave_one_chain(directory: Path, auditor: Auditor) -> None:
    with serving(FakeEngine(), watched(auditor)) as server, calling(server) as stub:

        def ask(number: int) -> None:
            metadata = [("x-request-id", f"r{number}")]
            assert [*stub.Explain(request(), metadata=metadata)][-1].HasField("finished")

        with ThreadPoolExecutor(32) as threads:
            list(threads.map(ask, range(64)))
    auditor.close()
    report = checked(directory)
    assert (report.faults, report.explanations) == ([], 64)
    ended = {line["request"] for line in fields(directory) if line["kind"] == "ended"}
    assert ended == {f"r{number}" for number in range(64)}
