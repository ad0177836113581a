"""The life of a server's process: it ends in time whatever happens, and is started again."""

import os
import signal
import sys
import threading
import time
from pathlib import Path

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from salience.v1 import explanation_service_pb2 as pb
from salience.v1 import explanation_service_pb2_grpc as pb_grpc
from salience_service.bundle.reader import Bundle
from salience_service.life.process_end import EXIT_SLACK_SECONDS
from tests.support.bundles import without
from tests.support.processes import COMMAND, SERVER, config_file, free_address, running
from tests.support.serving import request
from tests.support.statuses import told_of
from tests.support.waiting import SOON_SECONDS

UNSIGNED = '[bundles]\nunsigned = "allow"\n'
SUPERVISOR = "[supervisor]\nfirst_wait_seconds = 0.05\nmost_restarts = 3\n"


@pytest.fixture(scope="module")
def models(tiny_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("life")
    without(tiny_bundle, directory / "softmax" / "1")
    return directory


def image_request() -> pb.ExplainRequest:
    """Score-CAM of an image that every bundle of the tests takes."""
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    tensor = {
        "meaning": "TENSOR_MEANING_PIXELS",
        "data_type": "DATA_TYPE_UINT8",
        "axes": "HWC",
        "shape": pixels.shape,
        "data": pixels.tobytes(),
    }
    return request("softmax", image={"tensor": tensor})


def test_a_second_word_to_stop_ends_the_process_at_once(tmp_path: Path) -> None:
    config = config_file(tmp_path, "drain_seconds = 60\n")
    with (
        running(*SERVER, "patient", "127.0.0.1:0", config) as (process, address),
        grpc.insecure_channel(address) as channel,
    ):
        answers = pb_grpc.ExplanationServiceStub(channel).Explain(request())
        next(answers)
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        next(watch)
        process.send_signal(signal.SIGTERM)
        assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
        process.send_signal(signal.SIGTERM)
        assert process.wait(SOON_SECONDS) == 143


def test_a_call_that_never_returns_does_not_keep_the_process_alive(tmp_path: Path) -> None:
    config = config_file(tmp_path, "drain_seconds = 0.2\n")
    with (
        running(*SERVER, "deaf", "127.0.0.1:0", config) as (process, address),
        grpc.insecure_channel(address) as channel,
    ):
        answers = pb_grpc.ExplanationServiceStub(channel).Explain(request())
        next(answers)
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        with pytest.raises(grpc.RpcError) as told:
            list(answers)
        assert process.wait(SOON_SECONDS) == 0
    assert told.value.code() is grpc.StatusCode.UNAVAILABLE
    # The process ends by force; the rest is room for a busy machine.
    assert time.monotonic() - began < 0.2 + EXIT_SLACK_SECONDS + 5


def test_a_server_told_to_stop_before_it_serves_ends_at_once(tmp_path: Path) -> None:
    config = config_file(tmp_path, "")
    with running(*SERVER, "opening", "127.0.0.1:0", config) as (process, _):
        process.send_signal(signal.SIGTERM)
        assert process.wait(SOON_SECONDS) == 0


def test_a_fault_of_ours_ends_with_a_code_that_asks_for_another_start(
    tmp_path: Path, models: Path
) -> None:
    config = config_file(tmp_path, UNSIGNED)
    with running(*SERVER, "faulty", "127.0.0.1:0", config, models) as (process, _):
        assert process.wait(SOON_SECONDS) == 70
        assert process.stderr is not None
        assert "the server failed" in process.stderr.read()


def test_a_stuck_call_tells_all_who_wait_to_come_again_and_the_supervised_server_starts_anew(
    tmp_path: Path, models: Path
) -> None:
    config = config_file(tmp_path, UNSIGNED + "[watchdog]\nstuck_call_seconds = 5\n")
    address, marker = free_address(), tmp_path / "stuck"
    bounds = ("--most-restarts", 1, "--window-seconds", 600, "--first-wait-seconds", 0.05)
    bounds += ("--longest-wait-seconds", 1, "--stop-seconds", 20)
    server = (*SERVER, "stuck-once", address, config, models, marker)
    supervisor = (sys.executable, "-m", "salience_service.life", *bounds, "--", *server)
    with running(*supervisor) as (process, _), grpc.insecure_channel(address) as channel:
        stub = pb_grpc.ExplanationServiceStub(channel)
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        waiting = [stub.Explain(image_request()) for _ in range(3)]
        for answers in waiting:
            with pytest.raises(grpc.RpcError) as told:
                list(answers)
            code, text, wait = told_of(told.value)
            assert (code, wait) == (grpc.StatusCode.UNAVAILABLE, 1.0)
            assert "the device does not answer" in text
        assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
        assert events_in_the_end(stub)[-1].WhichOneof("event") == "finished"
        process.send_signal(signal.SIGTERM)
        assert process.wait(SOON_SECONDS) == 0
        assert process.stderr is not None
        assert "was stuck and ended itself; it starts again" in process.stderr.read()


def test_a_supervised_server_that_is_killed_under_load_serves_again_on_its_port(
    tmp_path: Path, models: Path
) -> None:
    config, address = config_file(tmp_path, UNSIGNED + SUPERVISOR), free_address()
    command = (*COMMAND, "serve", models, "--address", address, "--config", config)
    finished, lost, over = list[int](), list[grpc.StatusCode](), threading.Event()

    def load() -> None:
        with grpc.insecure_channel(address) as channel:
            stub = pb_grpc.ExplanationServiceStub(channel)
            while not over.is_set():
                try:
                    list(stub.Explain(image_request(), wait_for_ready=True, timeout=SOON_SECONDS))
                    finished.append(1)
                except grpc.RpcError as error:
                    lost.append(error.code())

    with running(*command) as (process, _):
        threads = [threading.Thread(target=load) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            await_more(finished, 8)
            os.kill(child_of(process.pid), signal.SIGKILL)
            await_more(finished, len(finished) + 8)
        finally:
            over.set()
            for thread in threads:
                thread.join()
        process.send_signal(signal.SIGTERM)
        assert process.wait(SOON_SECONDS) == 0
        assert process.stderr is not None
        assert "was ended by SIGKILL; it starts again" in process.stderr.read()
    assert set(lost) <= {grpc.StatusCode.UNAVAILABLE}  # All told to send it again.


WHILE_IT_ENDS = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
"""What gRPC answers for a server that has closed its door, and for one that is just going."""


def events_in_the_end(stub: pb_grpc.ExplanationServiceStub) -> list[pb.ExplainResponse]:
    """Asks, and asks again as it is told to, until it is answered."""
    until = time.monotonic() + SOON_SECONDS
    while True:
        try:
            return list(stub.Explain(image_request(), wait_for_ready=True, timeout=SOON_SECONDS))
        except grpc.RpcError as error:
            if error.code() not in WHILE_IT_ENDS or time.monotonic() > until:
                raise
            time.sleep(0.1)


def await_more(done: list[int], count: int) -> None:
    until = time.monotonic() + SOON_SECONDS
    while len(done) < count:
        assert time.monotonic() < until, f"{len(done)} of {count}"
        time.sleep(0.01)


def child_of(parent: int) -> int:
    """The one child of a process, by Linux's /proc."""
    return int(Path(f"/proc/{parent}/task/{parent}/children").read_text().split()[0])
