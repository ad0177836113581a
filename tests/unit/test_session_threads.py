"""The threads of a session: as many as this process has cores, and where a run starts."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from salience_service.host_threads import cores_held_to
from salience_service.runtime.session import Device, Execution, Session
from tests.support.cores import current_core, start_on_last_core
from tests.support.waiting import until

MADE = """
import os, sys
from pathlib import Path
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
from salience_service.runtime.session import Device, Session
before = len(os.listdir("/proc/self/task"))
session = Session(Path(sys.argv[1]), Device())
print(len(os.listdir("/proc/self/task")) - before)
"""

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/task").is_dir() or len(os.sched_getaffinity(0)) < 2,
    reason="this machine has one core, or no /proc to see threads in",
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """y = 2x."""
    numbers = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [3]) for n in ("x", "y")]
    add = helper.make_node("Add", ["x", "x"], ["y"])
    graph = helper.make_graph([add], "sum", numbers[:1], numbers[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (tmp_path / "graph.onnx").write_bytes(model.SerializeToString())
    return tmp_path / "graph.onnx"


def test_held_to_one_core_a_session_makes_no_threads_for_the_others(file: Path) -> None:
    """ONNX Runtime by itself makes one for each core of the machine and binds it there."""
    command = [sys.executable, "-c", MADE, str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0"]


@pytest.mark.skipif(bool(cores_held_to()), reason="this process is held to some cores: none bound")
def test_a_run_starts_on_the_core_that_no_thread_of_the_runtime_is_bound_to(file: Path) -> None:
    before = _threads()
    session = Session(file, Device())
    first, *others = sorted(os.sched_getaffinity(0))
    made = _threads() - before
    assert made, "the runtime made no threads: there is nothing to see"
    # Each binds itself once it runs.
    until(lambda: {core for each in made for core in os.sched_getaffinity(each)} <= set(others))

    def left_on() -> int:
        """The core that a run leaves its thread on, which came from the last."""
        start_on_last_core()
        session.run({"x": np.ones(3, np.float32)}, ["y"], Execution())
        return current_core()

    assert first in {left_on() for _ in range(50)}


def _threads() -> set[int]:
    return {int(task.name) for task in Path("/proc/self/task").iterdir()}
