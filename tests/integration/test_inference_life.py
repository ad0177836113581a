"""Predictions among the server's other work: counted, told to witnesses, ended with the server."""

import queue
import threading
from collections.abc import Callable

import grpc
import numpy as np
import pytest

from salience.inference import grpc_service_pb2 as pb
from salience.inference import grpc_service_pb2_grpc as pb_grpc
from salience_service.control import Control
from salience_service.errors import Unavailable
from salience_service.rpc.server.server import Server
from salience_service.telemetry.opening import Telemetry
from salience_service.telemetry.records import InferenceRecord
from salience_service.telemetry.witness import Witness
from tests.support.predicting import infer_request
from tests.support.serving import FakeEngine, serving
from tests.support.waiting import SOON_SECONDS

ASKED = infer_request(np.zeros((3, 3, 8, 8), np.float32))


class Ledger(Witness):
    """Keeps what it is told of predictions."""

    def __init__(self) -> None:
        self.records: queue.Queue[InferenceRecord] = queue.Queue()

    def inferred(self, record: InferenceRecord) -> None:
        self.records.put(record)

    def next(self) -> InferenceRecord:
        return self.records.get(timeout=SOON_SECONDS)


class Held:
    """Predictions that run until they are stopped."""

    def __init__(self) -> None:
        self.running = threading.Semaphore(0)

    def __call__(self, control: Control) -> None:
        stopped = threading.Event()
        control.on_cancel(stopped.set)
        self.running.release()
        stopped.wait(control.remaining(SOON_SECONDS))
        control.check()

    def wait(self) -> None:
        assert self.running.acquire(timeout=SOON_SECONDS)


def _stub(server: Server) -> tuple[grpc.Channel, pb_grpc.GRPCInferenceServiceStub]:
    channel = grpc.insecure_channel(server.address)
    return channel, pb_grpc.GRPCInferenceServiceStub(channel)


def _code(call: Callable[[], object]) -> grpc.StatusCode:
    with pytest.raises(grpc.RpcError) as told:
        call()
    return told.value.code()


def test_a_witness_is_told_of_every_prediction_however_it_ends() -> None:
    ledger, held = Ledger(), Held()
    engine = FakeEngine()
    with serving(engine, Telemetry((ledger,))) as server:
        channel, stub = _stub(server)
        with channel:
            stub.ModelInfer(ASKED, metadata=[("x-request-id", "scan-7")])
            good = ledger.next()
            assert (good.request_id, good.principal) == ("scan-7", "anonymous")
            assert (good.outcome, good.code, good.images) == ("ok", 0, 3)
            assert (good.model, good.version, good.bundle_digest) == ("tiny", "1", "d" * 64)
            assert (good.queue_seconds, good.compute_seconds) == (0.1, 0.2)
            assert good.whole_seconds > 0
            unknown = infer_request(np.zeros((1, 3, 8, 8), np.float32), "x")
            assert _code(lambda: stub.ModelInfer(unknown)) is grpc.StatusCode.NOT_FOUND
            missing = ledger.next()
            assert (missing.outcome, missing.code, missing.model) == ("NotFound", 5, "")
            engine.inferring = held
            call = stub.ModelInfer.future(ASKED)
            held.wait()
            call.cancel()
            assert ledger.next().outcome == "Cancelled"
            assert engine.controls[-1].dead


def test_an_answer_that_a_witness_does_not_let_go_out_is_told_for_that_alone() -> None:
    class Strict(Ledger):
        def inferred(self, record: InferenceRecord) -> None:
            if record.outcome == "ok":
                raise Unavailable("there is no room for it")
            super().inferred(record)

    ledger = Strict()
    with serving(FakeEngine(), Telemetry((ledger,))) as server:
        channel, stub = _stub(server)
        with channel:
            assert _code(lambda: stub.ModelInfer(ASKED)) is grpc.StatusCode.UNAVAILABLE
            assert ledger.next().outcome == "Unavailable"
    assert ledger.records.empty()


def test_a_witness_of_an_answer_may_wait_for_a_disk_and_holds_up_that_answer_alone() -> None:
    begun, may_end = threading.Event(), threading.Event()

    class Slow(Ledger):
        def inferred(self, record: InferenceRecord) -> None:
            begun.set()
            assert may_end.wait(SOON_SECONDS)
            super().inferred(record)

    with serving(FakeEngine(), Telemetry((Slow(),))) as server:
        channel, stub = _stub(server)
        with channel:
            call = stub.ModelInfer.future(ASKED)
            assert begun.wait(SOON_SECONDS)
            assert stub.ServerLive(pb.ServerLiveRequest(), timeout=SOON_SECONDS / 2).live
            assert not call.done()
            may_end.set()
            assert call.result(SOON_SECONDS).outputs


def test_predictions_and_explanations_have_one_limit_together() -> None:
    held = Held()
    engine = FakeEngine(inferring=held)
    with serving(engine, max_explanations=1) as server:
        channel, stub = _stub(server)
        with channel:
            first = stub.ModelInfer.future(ASKED)
            held.wait()
            full = grpc.StatusCode.RESOURCE_EXHAUSTED
            assert _code(lambda: stub.ModelInfer(ASKED)) is full
            first.cancel()
            engine.inferring = Control.check
            assert _answered_soon(stub), "the place is free again"


def _answered_soon(stub: pb_grpc.GRPCInferenceServiceStub) -> bool:
    """Whether a prediction is let in once the one before has left its thread."""
    for _ in range(200):
        try:
            return bool(stub.ModelInfer(ASKED).outputs)
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
                raise
            threading.Event().wait(0.01)
    return False


def test_a_server_that_stops_tells_who_still_waits_to_send_again() -> None:
    held = Held()
    with serving(FakeEngine(inferring=held), drain_seconds=0) as server:
        channel, stub = _stub(server)
        call = stub.ModelInfer.future(ASKED)
        held.wait()
    assert _code(call.result) is grpc.StatusCode.UNAVAILABLE
    channel.close()


def test_a_server_that_stops_lets_a_prediction_end() -> None:
    held, may_end = Held(), threading.Event()

    def nearly_done(control: Control) -> None:
        held.running.release()
        assert may_end.wait(SOON_SECONDS)
        control.check()

    with serving(FakeEngine(inferring=nearly_done), drain_seconds=SOON_SECONDS) as server:
        channel, stub = _stub(server)
        call = stub.ModelInfer.future(ASKED)
        held.wait()
        threading.Timer(0.2, may_end.set).start()
    assert call.result(SOON_SECONDS).outputs
    channel.close()
