"""The parts of the benchmark by name, each measured in a process of its own."""

import importlib
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from typing import ParamSpec, TypeVar

from bench.report import Part, Skipped
from bench.workplace import Workplace

PARTS = (
    "score_cam_rate",
    "rise_rate",
    "many_targets",
    "peers",
    "ablation_rate",
    "gradient_rate",
    "opti_cam_rate",
    "opti_cam_quality",
    "memory",
    "latency",
    "gradient_families",
)
"""Modules of this package with `measure(place: Workplace) -> Part`, in the order they run."""

P = ParamSpec("P")
T = TypeVar("T")


def measured(name: str, place: Workplace) -> Part:
    """One part's findings, or the reason why there are none."""
    began = time.perf_counter()
    module = importlib.import_module(f"bench.{name}")
    try:
        part: Part = module.measure(place)
    except Skipped as reason:
        part = Part(name, module.__doc__ or "", skipped=str(reason))
    return replace(part, seconds=time.perf_counter() - began)


def in_a_fresh_process(work: Callable[P, T], *given: P.args, **named: P.kwargs) -> T:
    """So that no part sees the threads, libraries or memory of another."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(work, *given, **named).result()
