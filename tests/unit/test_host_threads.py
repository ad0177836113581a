"""The host's threads: NumPy's leave the runtime its cores, Python's hand over by the load."""

import asyncio
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from salience_service.access.principal import ANONYMOUS
from salience_service.host_threads import (
    cores_held_to,
    hand_over,
    quota_cores,
    start_on_first_core,
    usable_cores,
)
from salience_service.rpc.calls.caller import enter
from salience_service.rpc.calls.explanations import Explanations
from tests.support.cores import current_core, start_on_last_core
from tests.support.serving import FakeEngine
from tests.support.waiting import SOON_SECONDS

COUNTED = """
from threadpoolctl import threadpool_info
import numpy
from salience_service.engine import Engine
from salience_service.explanation.telling import Pace
from salience_service.image.pixels import ImageLimits
Engine([], ImageLimits(), Pace(), 1).close()
print(*(each["num_threads"] for each in threadpool_info() if each["internal_api"] == "openblas"))
"""


def test_an_engine_keeps_numpy_to_one_thread_whatever_the_environment_says() -> None:
    done = subprocess.run(
        [sys.executable, "-c", COUNTED],
        env={"OPENBLAS_NUM_THREADS": "2"},
        capture_output=True,
        text=True,
        check=True,
    )
    threads = done.stdout.split()
    assert threads, "NumPy comes without OpenBLAS here: nothing was tested"
    assert set(threads) == {"1"}


@pytest.mark.parametrize(("running", "seconds"), [(0, 1e-4), (8, 1e-4), (9, 5e-3), (64, 5e-3)])
def test_threads_hand_over_soon_where_few_explanations_run(running: int, seconds: float) -> None:
    before = sys.getswitchinterval()
    try:
        hand_over(running)
        assert sys.getswitchinterval() == pytest.approx(seconds)
    finally:
        sys.setswitchinterval(before)


def test_a_server_counts_its_explanations_for_that() -> None:
    async def intervals() -> tuple[float, float]:
        """With nine running, and with none any more."""
        enter(ANONYMOUS, "1")
        explanations, gate = Explanations(FakeEngine(), 9), threading.Event()
        calls = [explanations.once(lambda _: gate.wait(SOON_SECONDS), None) for _ in range(9)]
        running = [asyncio.create_task(call) for call in calls]
        await asyncio.sleep(0)
        many = sys.getswitchinterval()
        gate.set()
        await asyncio.gather(*running)
        few = sys.getswitchinterval()
        await explanations.close()
        return many, few

    before = sys.getswitchinterval()
    try:
        assert asyncio.run(intervals()) == pytest.approx((5e-3, 1e-4))
    finally:
        sys.setswitchinterval(before)


@pytest.mark.parametrize(
    ("said", "cores"), [("200000 100000", 2), ("150000 100000", 2), ("max 100000", 0), ("", 0)]
)
def test_a_containers_quota_bounds_the_threads(tmp_path: Path, said: str, cores: int) -> None:
    (tmp_path / "cpu.max").write_text(said)
    assert quota_cores(tmp_path / "cpu.max") == cores


def test_where_there_is_no_quota_there_is_no_bound(tmp_path: Path) -> None:
    assert quota_cores(tmp_path / "absent") == 0


needs_cores_to_choose = pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity") or len(os.sched_getaffinity(0)) < 2,
    reason="this machine has one core, or lets no thread choose one",
)


@needs_cores_to_choose
def test_a_process_held_to_one_core_knows_it() -> None:
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert (usable_cores(), cores_held_to()) == (1, 1)
    finally:
        os.sched_setaffinity(0, before)


@pytest.mark.skipif(usable_cores() < (os.cpu_count() or 1), reason="this process is held to fewer")
def test_a_process_with_the_whole_machine_is_held_to_nothing() -> None:
    assert cores_held_to() == 0


@needs_cores_to_choose
def test_a_thread_starts_on_its_first_core_and_is_free_to_go_on() -> None:
    allowed = os.sched_getaffinity(0)

    def started_on() -> int:
        start_on_last_core()
        start_on_first_core()
        return current_core()

    assert min(allowed) in {started_on() for _ in range(50)}
    assert os.sched_getaffinity(0) == allowed


@needs_cores_to_choose
def test_where_no_thread_may_choose_its_core_the_work_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def forbidden(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "sched_setaffinity", forbidden)
    start_on_first_core()
