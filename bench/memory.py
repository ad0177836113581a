"""Peak memory of servers: VmHWM of /proc/PID/status, at rest, after a Score-CAM, after a RISE.

Each a fresh `salience serve` over EfficientNet-Lite0 with its own configuration (batches of 2 on
each core, as used for speed), in a process that has not loaded torch, which is checked. One
answers a Score-CAM of 1,280 rows, one a RISE of 6,000 masks, over gRPC, for a PNG of 451×300, with
partial maps and scores. VmHWM is the most memory that the process ever held, in megabytes of 10⁶
bytes, the interpreter and every library included.
"""

from pathlib import Path

from bench.report import Figure, Part, Skipped
from bench.serving import serving
from bench.workplace import MODEL, Workplace, cat
from salience_client import Client, Method

LIMIT_MB = 600.0
MASKS = 6000
PATIENCE_SECONDS = 900.0


def measure(place: Workplace) -> Part:
    """VmHWM at rest, and after each of the two."""
    if not Path("/proc/self/status").exists():
        raise Skipped("VmHWM is read from /proc, which this system does not have")
    masks = 600 if place.quick else MASKS
    at_rest, score_cam = _peaks(place, Method("score-cam"), 1280)
    _, rise = _peaks(place, Method("rise", masks=masks), masks)
    return Part(
        "memory",
        __doc__ or "",
        (
            Figure("VmHWM at rest, warm", at_rest, "MB"),
            _figure("VmHWM after Score-CAM, 1,280 rows", score_cam),
            _figure(f"VmHWM after RISE, {masks} masks", rise),
        ),
    )


def _peaks(place: Workplace, method: Method, rows: int) -> tuple[float, float]:
    """VmHWM of a fresh server before and after one explanation of so many rows or more, run
    or spared.
    """
    with serving(place.models) as served, Client(served.address) as client:
        at_rest = served.memory("VmHWM")
        finished = client.explain(
            cat(),
            model=MODEL,
            methods=method,
            scores=["ad", "ai", "ag"],
            partial_maps=True,
            timeout=PATIENCE_SECONDS,
        ).finished
        peak, loaded = served.memory("VmHWM"), served.has_loaded("libtorch")
    if loaded or finished.rows + finished.rows_spared < rows:
        raise RuntimeError(f"not what was to be measured: torch loaded {loaded}, {finished}")
    return at_rest, peak


def _figure(name: str, peak: float) -> Figure:
    return Figure(name, peak, "MB", f"≤ {LIMIT_MB:.0f}", peak <= LIMIT_MB)
