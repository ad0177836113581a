"""The host's cores and threads: how many, whose, and how soon they hand over."""

import math
import os
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path

from threadpoolctl import ThreadpoolController

_FEW = 8
"""Explanations that run beside each other."""
_SOON, _PYTHONS_OWN = 1e-4, 5e-3
"""Seconds that a Python thread may run while others wait."""


def usable_cores() -> int:
    """Cores that this process may use, ≥ 1: those it may run on, or fewer by a quota."""
    return min(_cores_to_run_on(), quota_cores() or sys.maxsize)


def cores_held_to() -> int:
    """Cores that this process is held to, ≥ 1; 0 where it may use all that the machine has."""
    cores = usable_cores()
    return cores if cores < (os.cpu_count() or 1) else 0


def start_on_first_core() -> None:
    """Puts the calling thread on the first of its cores, and leaves it free to go on elsewhere.

    ONNX Runtime binds the threads of a pool to the cores that follow, one to each, and leaves this
    one to whoever calls it, who comes from anywhere. On a core that is bound, the two of them wait
    for each other at every operator while the first core idles; Linux parts them late, and later
    where idle cores of a virtual machine sleep at its host. A clean run of EfficientNet-Lite0 took
    10 ms or 15 ms, by lot, and takes 10 so (two cores of a virtual machine, one request at a time).
    Costs 7 µs. Other systems do not let a thread choose.
    """
    if not hasattr(os, "sched_setaffinity"):
        return
    with suppress(OSError):  # A sandbox may forbid it: the work goes on where it is.
        all_of_them = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {min(all_of_them)})
        os.sched_setaffinity(0, all_of_them)


def quota_cores(file: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """Cores' worth of time that a container's CPU limit leaves, ≥ 1; 0 where there is none.

    Threads beyond it share the time of the others and are all held back when it is used up.

    Args:
        file: "QUOTA PERIOD" in microseconds, QUOTA = max where there is none (cgroup v2).
    """
    try:
        quota, period = file.read_text("ascii").split()
        return math.ceil(int(quota) / int(period))
    except (OSError, ValueError):  # Another system, or "max".
        return 0


def _cores_to_run_on() -> int:
    if hasattr(os, "sched_getaffinity"):  # Linux alone tells which
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@cache
def keep_numpy_to_one_thread() -> None:
    """Lets NumPy's BLAS use one thread, for the life of this process.

    Masks are made while the device runs. OpenBLAS would share a product of small matrices
    among all cores, and its threads spin for a while when they are done: RISE ran at 0.70
    of the bare forward's speed with them, and at 0.96 without (EfficientNet-Lite0, two
    cores). Other libraries of linear algebra, such as torch's, are left alone.
    """
    ThreadpoolController().select(internal_api="openblas").limit(limits=1)


def hand_over(running: int) -> None:
    """Says how long a Python thread may run while others wait, by how many explanations run.

    Few: a tenth of a millisecond. Python's own five are what the event loop waits, message by
    message, while an explanation computes: from the last of a Fake-CAM's work to the caller's
    having it took 9.7 ms with them, 4.0 with half a millisecond (two busy cores), and 0.4 ms less
    with a tenth. Many: Python's own, for then all wait for the cores, and each handing over costs:
    64 callers got a tenth more Grad-CAMs (SqueezeNet 51 and 56 a second).

    For a server's process; a library that is used in another's leaves it alone.
    """
    sys.setswitchinterval(_SOON if running <= _FEW else _PYTHONS_OWN)
