"""Peak memory of a server: VmHWM of /proc/PID/status, at rest and after a Score-CAM.

A fresh `salience serve` over EfficientNet-Lite0 with its own configuration (batches of 8, the
batch used for speed), in a process that has not loaded torch, which is checked. One 1,280-row
Score-CAM with partial maps and scores comes in over gRPC, as a PNG of 451×300. VmHWM is the
most memory that the process ever held, in megabytes of 10⁶ bytes, the interpreter and every
library included.
"""

from pathlib import Path

from bench.report import Figure, Part, Skipped
from bench.serving import serving
from bench.workplace import MODEL, Workplace, cat
from salience_client import Client

LIMIT_MB = 600.0


def measure(place: Workplace) -> Part:
    """VmHWM at rest and after one Score-CAM."""
    if not Path("/proc/self/status").exists():
        raise Skipped("VmHWM is read from /proc, which this system does not have")
    with serving(place.models) as served, Client(served.address) as client:
        at_rest, resident = served.memory("VmHWM"), served.memory("VmRSS")
        explanation = client.explain(
            cat(), model=MODEL, methods="score-cam", scores=["ad", "ai", "ag"], partial_maps=True
        )
        peak = served.memory("VmHWM")
        loaded = served.has_loaded("libtorch")
    if loaded or explanation.finished.rows < 1280:
        raise RuntimeError(f"not what was to be measured: torch loaded {loaded}, {explanation}")
    return Part(
        "memory",
        __doc__ or "",
        (
            Figure("VmRSS at rest, warm", resident, "MB"),
            Figure("VmHWM at rest, warm", at_rest, "MB"),
            Figure(
                "VmHWM after Score-CAM, 1,280 rows, batch 8",
                peak,
                "MB",
                f"≤ {LIMIT_MB:.0f}",
                peak <= LIMIT_MB,
            ),
        ),
    )
