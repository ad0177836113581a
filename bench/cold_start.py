"""Seconds from the start of the process until health says SERVING, EfficientNet-Lite0.

`salience serve` with its own configuration: the interpreter and its libraries, the bundle's files
checked, every session opened, the golden example met and every shape warmed, without torch, which
is checked. Health is asked over gRPC as soon as the server has told its address. One start is
made before, so that files come from the system's cache.
"""

import time
from pathlib import Path

import grpc
import numpy as np
from grpc_health.v1 import health_pb2, health_pb2_grpc

from bench.report import Figure, Part, Table
from bench.serving import serving
from bench.workplace import Workplace

MOST_SECONDS = 4.0
STARTS, QUICK_STARTS = 15, 2


def measure(place: Workplace) -> Part:
    """Median and longest of some starts."""
    starts = QUICK_STARTS if place.quick else STARTS
    _start(place.models)
    taken = [_start(place.models) for _ in range(starts)]
    middle = float(np.median(taken))
    return Part(
        "cold_start",
        __doc__ or "",
        (
            Figure(
                "process start to SERVING, median",
                middle,
                "s",
                f"≤ {MOST_SECONDS:.0f}",
                middle <= MOST_SECONDS,
            ),
            Figure(f"the longest of {starts}", max(taken), "s"),
        ),
        (Table("Seconds", ("starts", "each"), ((str(starts), _words(taken)),)),),
    )


def _start(models: Path) -> float:
    """One start; the server is stopped again."""
    began = time.perf_counter()
    with serving(models) as served, grpc.insecure_channel(served.address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        told = health.Check(health_pb2.HealthCheckRequest(), timeout=10)
        taken = time.perf_counter() - began
        if told.status != health_pb2.HealthCheckResponse.SERVING:
            raise RuntimeError(f"not what was to be measured: health says {told}")
        if served.has_loaded("libtorch"):
            raise RuntimeError("not what was to be measured: torch was loaded")
    return taken


def _words(taken: list[float]) -> str:
    return ", ".join(f"{seconds:.2f}" for seconds in sorted(taken))
