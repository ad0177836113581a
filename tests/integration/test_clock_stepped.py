"""The machine's clock is set while the server serves: deadlines and drains do not notice."""

import ast
import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from salience.v1 import explanation_service_pb2_grpc as pb_grpc
from tests.support.processes import SERVER, config_file, running
from tests.support.serving import request
from tests.support.waiting import SOON_SECONDS

ROOT = Path(__file__).parents[2]
MAY_ASK_THE_DATE = {
    "access/certificates.py",  # Certificates bear dates.
    "access/expiry.py",  # How near the end of one is.
    "access/gate.py",  # So do tokens.
    "checking.py",  # Certificates once more.
    "audit/trail.py",  # Lines bear the time; nothing rests on it.
    "telemetry/tracing.py",  # Spans bear the time.
}
"""Who in the service asks what day it is. Whoever measures a time asks `time.monotonic`."""
_DATES = {"time.time", "time.time_ns", "datetime.now", "datetime.utcnow", "date.today"}

NEEDS_A_CLOCK = pytest.mark.skipif(
    importlib.util.find_spec("libfaketime") is None or sys.platform != "linux",
    reason="setting a process's clock needs libfaketime, on Linux",
)


def asks_the_date(path: Path) -> bool:
    names = [
        f"{node.value.id}.{node.attr}"
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    ]
    return bool(_DATES & set(names))


def test_nothing_asks_the_date_but_what_bears_one() -> None:
    service = ROOT / "service" / "salience_service"
    found = {
        path.relative_to(service).as_posix()
        for path in service.rglob("*.py")
        if asks_the_date(path)
    }
    assert found == MAY_ASK_THE_DATE


@NEEDS_A_CLOCK
@pytest.mark.parametrize("step", ["+7200", "-7200"])
def test_a_clock_that_is_set_ends_no_explanation_and_keeps_no_drain_waiting(
    tmp_path: Path, step: str
) -> None:
    clock = tmp_path / "clock"
    clock.write_text("+0")
    config = config_file(tmp_path, "drain_seconds = 1\n")
    command = (*SERVER, "patient", "127.0.0.1:0", config)
    with (
        running(*command, environment=_under(clock)) as (process, address),
        grpc.insecure_channel(address) as channel,
    ):
        stub = pb_grpc.ExplanationServiceStub(channel)
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        next(watch)
        answers = stub.Explain(request(), timeout=SOON_SECONDS)
        next(answers)
        clock.write_text(step)
        for _ in range(20):  # It goes on as if nothing was.
            assert next(answers).WhichOneof("event") == "progress"
        again = stub.Explain(request(), timeout=SOON_SECONDS)
        assert next(again).WhichOneof("event") == "started"
        began = time.monotonic()
        short = stub.Explain(request(), timeout=0.5)
        with pytest.raises(grpc.RpcError) as told:
            list(short)
        assert told.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert time.monotonic() - began >= 0.4
        told_at = time.monotonic()
        process.send_signal(signal.SIGTERM)
        with pytest.raises(grpc.RpcError) as told:
            list(answers)
        assert told.value.code() is grpc.StatusCode.UNAVAILABLE
        assert 0.9 <= time.monotonic() - told_at < SOON_SECONDS
        assert process.wait(SOON_SECONDS) == 0


@NEEDS_A_CLOCK
def test_the_clock_of_a_running_process_is_set_by_its_file_and_its_stopwatch_is_not(
    tmp_path: Path,
) -> None:
    clock = tmp_path / "clock"
    clock.write_text("+0")
    program = (
        "import time\nfor _ in range(2): print(time.time(), time.monotonic(), flush=True), input()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | _under(clock),
    )
    with process:
        assert process.stdin
        assert process.stdout
        date, stopwatch = map(float, process.stdout.readline().split())
        clock.write_text("+7200")
        process.stdin.write("\n")
        process.stdin.flush()
        later, stopwatch_later = map(float, process.stdout.readline().split())
        process.stdin.write("\n")
    assert 7200 <= later - date < 7200 + SOON_SECONDS
    assert stopwatch_later - stopwatch < SOON_SECONDS


def _under(clock: Path) -> dict[str, str]:
    """The environment of a process that takes its date from a file, and nothing else."""
    found = importlib.util.find_spec("libfaketime")
    assert found
    assert found.origin
    library = Path(found.origin).parent / "vendor" / "libfaketime" / "src" / "libfaketime.so.1"
    return {
        "LD_PRELOAD": os.fspath(library),
        "FAKETIME_TIMESTAMP_FILE": os.fspath(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
