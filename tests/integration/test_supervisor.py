"""The supervisor with real processes: scripts that crash, refuse, live on, or do not stop."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.waiting import SOON_SECONDS

COUNT = """
import os, sys, signal, time
log = open(sys.argv[1], "a")
print(os.getpid(), file=log, flush=True)
lives = len(open(sys.argv[1]).readlines())
"""
"""Every life writes its process id into a file, and knows how many there were."""
LIVE = "while True: signal.pause()\n"


@contextmanager
def supervised(
    script: str, lives: Path, *, most: int = 3, first_wait: float = 0.01, stop: float = 20.0
) -> Iterator[subprocess.Popen[str]]:
    """A supervisor of a Python script; killed with its child at the end of the block."""
    bounds = {
        "--most-restarts": most,
        "--window-seconds": 60,
        "--first-wait-seconds": first_wait,
        "--longest-wait-seconds": 60,
        "--stop-seconds": stop,
    }
    words = [str(word) for pair in bounds.items() for word in pair]
    command = [sys.executable, "-c", COUNT + script, str(lives)]
    process = subprocess.Popen(
        [sys.executable, "-m", "salience_service.life", *words, "--", *command],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=SOON_SECONDS)


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Its exit code, and what it said."""
    _, said = process.communicate(timeout=SOON_SECONDS)
    return process.returncode, said


def started(lives: Path, number: int) -> int:
    """Waits until the child lives for the `number`th time; its process id."""
    until = time.monotonic() + SOON_SECONDS
    while time.monotonic() < until:
        lines = lives.read_text("utf-8").split() if lives.exists() else []
        if len(lines) >= number:
            return int(lines[number - 1])
        time.sleep(0.01)
    raise AssertionError(f"no life {number} in time: {lives.read_text('utf-8')!r}")


@pytest.fixture
def lives(tmp_path: Path) -> Path:
    return tmp_path / "lives"


def test_a_child_that_ends_well_ends_the_supervisor_well(lives: Path) -> None:
    with supervised("", lives) as process:
        assert ended(process)[0] == 0
    assert len(lives.read_text().split()) == 1


@pytest.mark.parametrize("code", [1, 2])
def test_a_first_start_that_is_refused_is_not_tried_again(lives: Path, code: int) -> None:
    with supervised(f"sys.exit({code})", lives) as process:
        found, said = ended(process)
    assert (found, len(lives.read_text().split())) == (code, 1)
    assert f"refused to start (code {code})" in said


def test_a_later_start_that_is_refused_is_tried_again(lives: Path) -> None:
    with supervised("sys.exit([70, 1, 0][lives - 1])", lives) as process:
        assert ended(process)[0] == 0
    assert len(lives.read_text().split()) == 3


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT])
def test_a_child_that_a_signal_ends_is_started_again_and_why_is_said(
    lives: Path, number: signal.Signals
) -> None:
    with supervised(LIVE, lives) as process:
        os.kill(started(lives, 1), number)
        second = started(lives, 2)
        os.kill(second, 0)  # It lives.
        process.send_signal(signal.SIGTERM)
        code, said = ended(process)
    assert code == 128 + signal.SIGTERM  # As the script, which has no handler, ended.
    assert f"was ended by {number.name}; it starts again in 0.0 s" in said


def test_a_stuck_child_is_started_again(lives: Path) -> None:
    with supervised("sys.exit(75 if lives == 1 else 0)", lives) as process:
        code, said = ended(process)
    assert code == 0
    assert "was stuck and ended itself" in said


def test_a_crash_loop_gives_up_with_a_code_of_its_own(lives: Path) -> None:
    with supervised("os.kill(os.getpid(), signal.SIGKILL)", lives, most=3) as process:
        code, said = ended(process)
    assert (code, len(lives.read_text().split())) == (69, 4)
    assert "after 3 restarts within 60 s the supervisor gives up" in said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_word_to_stop_is_handed_on_and_the_childs_code_comes_back(
    lives: Path, number: signal.Signals
) -> None:
    listening = (
        f"signal.signal({int(number)}, lambda *_: sys.exit(0))\n"
        "print('ready', file=log, flush=True)\n"
    )
    with supervised(listening + LIVE, lives) as process:
        started_twice = time.monotonic() + SOON_SECONDS
        while "ready" not in (lives.read_text() if lives.exists() else ""):
            assert time.monotonic() < started_twice
            time.sleep(0.01)
        process.send_signal(number)
        assert ended(process)[0] == 0


def test_a_child_that_does_not_stop_in_time_is_killed(lives: Path) -> None:
    deaf = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('x', file=log, flush=True)\n"
    with supervised(deaf + "while True: time.sleep(1)\n", lives, stop=0.3) as process:
        until = time.monotonic() + SOON_SECONDS
        while not lives.exists() or "x" not in lives.read_text():
            assert time.monotonic() < until
            time.sleep(0.01)
        told = time.monotonic()
        process.send_signal(signal.SIGTERM)
        code, said = ended(process)
    assert code == 128 + signal.SIGKILL
    assert 0.3 <= time.monotonic() - told < SOON_SECONDS
    assert "did not stop within 0.3 s: killed" in said


def test_the_word_to_stop_ends_the_wait_for_the_next_start(lives: Path) -> None:
    with supervised("sys.exit(70)", lives, first_wait=60) as process:
        started(lives, 1)
        assert process.stderr is not None
        assert "starts again in 60.0 s" in process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        assert ended(process)[0] == 0


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's end")
def test_a_child_does_not_outlive_a_supervisor_that_is_killed(lives: Path) -> None:
    with supervised(LIVE, lives) as process:
        child = started(lives, 1)
        process.kill()
        process.wait(SOON_SECONDS)
        until = time.monotonic() + SOON_SECONDS
        while _lives(child) and time.monotonic() < until:
            time.sleep(0.01)
        assert not _lives(child)


def test_the_supervisor_loads_neither_onnxruntime_nor_grpc_nor_numpy() -> None:
    program = (
        "import sys, salience_service.life.__main__\n"
        "heavy = {'onnxruntime', 'grpc', 'numpy', 'pydantic', 'onnx'} & set(sys.modules)\n"
        "print(*heavy)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"\n", b"")


def _lives(process: int) -> bool:
    """Whether it runs; one that only waits for its parent to ask does not."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"
