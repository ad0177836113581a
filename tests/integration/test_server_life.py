"""A server's life: models told, health, reflection, limits of its address, a graceful stop."""

import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

from salience.v1 import explanation_service_pb2 as pb
from salience.v1 import map_pb2, method_pb2
from salience_service.config import ServeConfig
from salience_service.control import Control
from salience_service.errors import ConfigRefused
from salience_service.events import Event
from salience_service.life import farewell
from salience_service.request import ExplainOrder
from salience_service.rpc.server import departure
from tests.support.serving import (
    STARTED,
    FakeEngine,
    calling,
    held,
    patient,
    plain,
    request,
    serving,
    serving_on_loop,
)
from tests.support.statuses import told_of
from tests.support.waiting import SOON_SECONDS

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture
def noticed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The door closes as soon as health has said so."""
    monkeypatch.setattr(departure, "NOTICE_SECONDS", 0)


def test_list_models_tells_every_version_and_which_is_the_default() -> None:
    with serving(FakeEngine({"a": plain, "b": plain})) as server, calling(server) as stub:
        models = stub.ListModels(pb.ListModelsRequest()).models
    assert [(model.name, model.version, model.is_default) for model in models] == [
        ("a", "1", True),
        ("b", "1", True),
    ]


def test_describe_model_tells_input_classes_taps_methods_with_their_options_and_scores() -> None:
    with serving(FakeEngine()) as server, calling(server) as stub:
        told = stub.DescribeModel(pb.DescribeModelRequest(model="tiny"))
    assert told.summary.name == "tiny"
    assert (told.input.height, list(told.head.labels)) == (8, ["cat", "dog"])
    assert [tap.name for tap in told.taps] == ["last"]
    assert told.batch_size == 8
    assert list(told.scores) == [
        map_pb2.SCORE_KIND_AVERAGE_DROP,
        map_pb2.SCORE_KIND_AVERAGE_INCREASE,
        map_pb2.SCORE_KIND_AVERAGE_GAIN,
        map_pb2.SCORE_KIND_INSERTION,
        map_pb2.SCORE_KIND_DELETION,
        map_pb2.SCORE_KIND_INSERTION_DELETION,
    ]
    score_cam, opti_cam = told.methods
    assert (score_cam.available, list(score_cam.default_taps)) == (True, ["last"])
    assert (opti_cam.available, opti_cam.unavailable_reason) == (False, "no gradient side")
    assert opti_cam.needs_gradient
    assert opti_cam.options
    for option in opti_cam.options:
        assert option.summary
        assert option.type != method_pb2.OPTION_TYPE_UNSPECIFIED
        assert option.default_value.WhichOneof("value")


def test_describing_an_unknown_model_or_none_is_refused() -> None:
    with serving(FakeEngine()) as server, calling(server) as stub:
        with pytest.raises(grpc.RpcError) as unknown:
            stub.DescribeModel(pb.DescribeModelRequest(model="x"))
        with pytest.raises(grpc.RpcError) as none:
            stub.DescribeModel(pb.DescribeModelRequest())
    assert unknown.value.code() is grpc.StatusCode.NOT_FOUND
    assert none.value.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("name", ["", "salience.v1.ExplanationService", "tiny"])
def test_health_says_serving_for_the_server_the_service_and_each_model(name: str) -> None:
    with serving(FakeEngine()) as server, grpc.insecure_channel(server.address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        assert stub.Check(health_pb2.HealthCheckRequest(service=name)).status == SERVING


def test_health_of_an_unknown_name_is_not_found() -> None:
    with serving(FakeEngine()) as server, grpc.insecure_channel(server.address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        with pytest.raises(grpc.RpcError) as told:
            stub.Check(health_pb2.HealthCheckRequest(service="x"))
    assert told.value.code() is grpc.StatusCode.NOT_FOUND


def test_reflection_lists_the_service_with_its_calls() -> None:
    with serving(FakeEngine()) as server, grpc.insecure_channel(server.address) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        assert "salience.v1.ExplanationService" in database.get_services()
        service = DescriptorPool(database).FindServiceByName("salience.v1.ExplanationService")
    assert {call.name for call in service.methods} >= {"Explain", "ExplainMany"}


def test_reflection_can_be_switched_off() -> None:
    with (
        serving(FakeEngine(), reflection=False) as server,
        grpc.insecure_channel(server.address) as channel,
        pytest.raises(grpc.RpcError) as told,
    ):
        ProtoReflectionDescriptorDatabase(channel).get_services()
    assert told.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_an_address_that_is_taken_is_refused() -> None:
    with (
        serving(FakeEngine()) as server,
        pytest.raises(ConfigRefused, match="taken"),
        serving(FakeEngine(), address=server.address),
    ):
        pass


@pytest.mark.usefixtures("noticed_at_once")
def test_stopping_says_so_first_lets_what_runs_end_and_tells_new_calls_when_to_come_again() -> None:
    may_end = threading.Event()

    stopping = serving(FakeEngine({"tiny": held(may_end)}), drain_seconds=SOON_SECONDS)
    server = stopping.__enter__()
    with calling(server) as stub, grpc.insecure_channel(server.address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        watch = health.Watch(health_pb2.HealthCheckRequest())
        assert next(watch).status == SERVING
        running = stub.Explain(request())
        next(running)
        stop = threading.Thread(target=stopping.__exit__, args=(None, None, None))
        began = time.monotonic()
        stop.start()
        assert next(watch).status == NOT_SERVING
        for name in ("", "salience.v1.ExplanationService", "tiny"):
            said = health.Check(health_pb2.HealthCheckRequest(service=name)).status
            assert said == NOT_SERVING
        with pytest.raises(grpc.RpcError) as told:
            list(stub.Explain(request()))
        assert told_of(told.value) == (
            grpc.StatusCode.UNAVAILABLE,
            "the server is stopping and takes nothing new: send the request again",
            1.0,
        )
        with pytest.raises(grpc.RpcError) as told:
            stub.ListModels(pb.ListModelsRequest())
        assert told.value.code() is grpc.StatusCode.UNAVAILABLE
        may_end.set()
        assert [event.WhichOneof("event") for event in running] == ["finished"]
        stop.join()
    assert time.monotonic() - began < SOON_SECONDS, "an open health watch held the server up"


@pytest.mark.usefixtures("noticed_at_once")
def test_an_open_call_of_many_takes_nothing_new_while_the_server_stops_and_then_ends() -> None:
    may_end, asked = threading.Event(), queue.SimpleQueue[pb.ExplainManyRequest | None]()

    stopping = serving(FakeEngine({"tiny": held(may_end)}), drain_seconds=SOON_SECONDS)
    server = stopping.__enter__()
    with calling(server) as stub, grpc.insecure_channel(server.address) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        next(watch)
        answers = stub.ExplainMany(iter(asked.get, None))
        asked.put(pb.ExplainManyRequest(tag="before", request=request()))
        assert next(answers).tag == "before"
        stop = threading.Thread(target=stopping.__exit__, args=(None, None, None))
        stop.start()
        assert next(watch).status == NOT_SERVING
        asked.put(pb.ExplainManyRequest(tag="after", request=request()))
        refused = next(answers)
        assert (refused.tag, refused.error.code) == ("after", grpc.StatusCode.UNAVAILABLE.value[0])
        may_end.set()
        last = next(answers)
        assert (last.tag, last.response.WhichOneof("event")) == ("before", "finished")
        with pytest.raises(grpc.RpcError) as told:
            next(answers)
        stop.join()
        asked.put(None)
    assert told.value.code() is grpc.StatusCode.UNAVAILABLE


def test_stopping_ends_what_outlives_the_drain_time_and_tells_its_caller_to_send_it_again() -> None:
    engine = FakeEngine({"tiny": patient})
    stopping = serving(engine, drain_seconds=0.2)
    server = stopping.__enter__()
    with calling(server) as stub:
        running = stub.Explain(request())
        next(running)
        stopped_from = time.monotonic()
        stopping.__exit__(None, None, None)  # Would raise what the stop raises.
        assert engine.controls[0].dead
        assert 0.2 <= time.monotonic() - stopped_from < ServeConfig().drain_seconds
        with pytest.raises(grpc.RpcError) as told:
            list(running)
    assert told_of(told.value) == (
        grpc.StatusCode.UNAVAILABLE,
        "the server stopped before the answer was complete: send the request again",
        1.0,
    )


def test_who_watches_health_hears_of_the_stop_before_any_call_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(departure, "NOTICE_SECONDS", 1.5)
    with (
        serving_on_loop(FakeEngine()) as (server, run),
        calling(server) as stub,
        grpc.insecure_channel(server.address) as channel,
    ):
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert next(watch).status == SERVING
        stopping = threading.Thread(target=lambda: run(server.stop()))
        stopping.start()
        assert next(watch).status == NOT_SERVING
        assert len(list(stub.Explain(request()))) == 4, "a call on its way was refused"
        stopping.join()


def test_where_nobody_watches_a_stop_waits_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(departure, "NOTICE_SECONDS", 10 * SOON_SECONDS)
    began = time.monotonic()
    with serving(FakeEngine()):
        pass
    assert time.monotonic() - began < SOON_SECONDS


def test_abandoning_tells_everyone_who_waits_at_once_also_where_a_call_never_returns() -> None:
    may_end = threading.Event()

    def deaf(order: ExplainOrder, control: Control) -> Iterator[Event]:
        yield STARTED
        may_end.wait(2 * SOON_SECONDS)

    engine = FakeEngine({"tiny": patient, "deaf": deaf})
    with serving_on_loop(engine, drain_seconds=60) as (server, run), calling(server) as stub:
        waiting, stuck = stub.Explain(request()), stub.Explain(request("deaf"))
        next(waiting)
        next(stuck)
        began = time.monotonic()
        run(server.abandon(farewell.stuck()))
        for running in (waiting, stuck):
            with pytest.raises(grpc.RpcError) as told:
                list(running)
            code, text, _ = told_of(told.value)
            assert code is grpc.StatusCode.UNAVAILABLE
            assert "the device does not answer" in text
        assert time.monotonic() - began < SOON_SECONDS
        may_end.set()


@pytest.mark.parametrize("attempt", range(6))
def test_stopping_ends_well_whatever_ends_first(attempt: int) -> None:
    """The explanation may end before gRPC is done with all calls; which it is, is chance."""
    stopping = serving(FakeEngine({"tiny": patient}), drain_seconds=0.2)
    server = stopping.__enter__()
    with calling(server) as stub, grpc.insecure_channel(server.address) as channel:
        running = stub.Explain(request())
        next(running)
        health = health_pb2_grpc.HealthStub(channel)
        watches = [health.Watch(health_pb2.HealthCheckRequest()) for _ in range(30)]
        for watch in watches:
            next(watch)
        stopping.__exit__(None, None, None)  # Would raise what the stop raises.


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_a_serving_process_cleanly(number: signal.Signals) -> None:
    program = (
        "import asyncio\n"
        "from salience_service.config import ServeConfig\n"
        "from salience_service.rpc.server.process import run_until_told\n"
        "from tests.support.serving import FakeEngine\n"
        "config = ServeConfig(address='127.0.0.1:0', drain_seconds=1)\n"
        "announce = lambda address, models: print(address, models[0].name, flush=True)\n"
        "asyncio.run(run_until_told(FakeEngine(), config, announce))\n"
        "print('stopped', flush=True)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.getcwd()},  # noqa: PTH109
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline().endswith(" tiny\n")
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (0, "stopped\n", "")
