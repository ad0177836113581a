"""The parts of the benchmark by name, each measured in a process of its own."""

import importlib
import time
from dataclasses import replace

from bench.report import Part, Skipped
from bench.workplace import Workplace

PARTS = (
    "grpc_rate",
    "concurrency",
    "overhead",
    "telemetry",
    "cold_start",
    "endurance",
    "linear_cost",
    "many_targets",
    "peers",
    "captum_rate",
    "dianna_rate",
    "ablation_rate",
    "gradient_rate",
    "opti_cam_rate",
    "opti_cam_quality",
    "memory",
    "latency",
    "gradient_families",
    "gpu_rate",
)
"""Modules of this package with `measure(place: Workplace) -> Part`, in the order they run."""


def measured(name: str, place: Workplace) -> Part:
    """One part's findings, or the reason why there are none."""
    began = time.perf_counter()
    module = importlib.import_module(f"bench.{name}")
    try:
        part: Part = module.measure(place)
    except Skipped as reason:
        part = Part(name, module.__doc__ or "", skipped=str(reason))
    return replace(part, seconds=time.perf_counter() - began)
