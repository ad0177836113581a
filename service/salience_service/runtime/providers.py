"""Execution providers: what ONNX Runtime is told for a device, whether it came up, and for what.

Names and values of options are those of ONNX Runtime 1.31's documentation and source. Those
of CUDA and TensorRT were never run: no GPU was at hand.
"""

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from salience_service.errors import ComputeFailed
from salience_service.runtime.device import Device
from salience_service.runtime.graph_shape import GraphShape

PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
"""Names in the configuration, and ONNX Runtime's."""

_log = logging.getLogger(__name__)
_NO_PROFILE: Mapping[str, str] = MappingProxyType({})


def check_available(device: Device, available: Sequence[str]) -> None:
    """Refuses a device that this installation of ONNX Runtime cannot run on.

    Raises:
        ComputeFailed: no such provider in it, or a precision that the provider has not.
    """
    wanted = PROVIDERS[device.provider]
    if wanted not in available:
        raise ComputeFailed(
            f"this installation of ONNX Runtime has no {wanted}: install salience[service-gpu] in "
            "place of salience[service], or use provider = 'cpu'"
        )
    if device.provider == "cpu" and device.precision == "tf32":
        raise ComputeFailed("the CPU has no TF32: use precision = 'float32'")


def check_came_up(device: Device, came: Sequence[str]) -> None:
    """Refuses a session that does not run where it was asked to; nothing steps in silently.

    Args:
        device: what was asked for.
        came: the session's providers in their order.

    Raises:
        ComputeFailed: another came first, CUDA for TensorRT or the CPU for either.
    """
    wanted = PROVIDERS[device.provider]
    first = came[0] if came else "none"
    if first != wanted:
        raise ComputeFailed(
            f"{wanted} was asked for, but {first} came up: its libraries may be missing or of "
            "another version; ONNX Runtime's log says which"
        )


def warn_of_the_cpu(device: Device, graph: str, assigned: Iterable[Any]) -> None:
    """Logs what of a graph runs on the CPU though another provider came up, where anything does.

    ONNX Runtime puts nodes there that have no other kernel, unsaid, or that only make shapes.

    Args:
        device: what was asked for.
        graph: its name.
        assigned: ONNX Runtime's assignment of its nodes: `ep_name` and `get_nodes()` of each part.
    """
    left = Counter(
        node.op_type
        for part in assigned
        if part.ep_name == PROVIDERS["cpu"]
        for node in part.get_nodes()
    )
    if left:
        counts = ", ".join(f"{operator} {count}" for operator, count in left.most_common())
        _log.warning(
            "%s: the CPU runs %d of its nodes, which %s has no kernel for, or which only make "
            "shapes: %s",
            *(graph, left.total(), device.provider, counts),
        )


def refused_by(device: Device, graph: str) -> ComputeFailed:
    """The error of a provider that did not open a graph."""
    return ComputeFailed(
        f"{PROVIDERS[device.provider]} did not come up with graph {graph}, or cannot run it; ONNX "
        "Runtime's log says which"
    )


def builds_engines(device: Device) -> bool:
    """Whether each shape of a graph needs an engine of its own, built before it runs."""
    return device.provider == "tensorrt"


def provider_chain(
    device: Device,
    number: int,
    profile: Mapping[str, str] = _NO_PROFILE,
    cache: Path | None = None,
) -> list[tuple[str, dict[str, str]]]:
    """The provider asked for, then those that ONNX Runtime needs behind it, with their options.

    Args:
        device: what is asked for.
        number: which of its devices.
        profile: of the engine to be built; see `engine_profile`.
        cache: where TensorRT keeps that engine and its timings; None: nowhere.
    """
    cpu: tuple[str, dict[str, str]] = (PROVIDERS["cpu"], {})
    if device.provider == "cpu":
        return [cpu]
    cuda = (PROVIDERS["cuda"], _cuda_options(device, number))
    if device.provider == "cuda":
        return [cuda, cpu]
    return [(PROVIDERS["tensorrt"], _tensorrt_options(device, number, profile, cache)), cuda, cpu]


def engine_profile(inputs: Mapping[str, Sequence[str | int]], shape: GraphShape) -> dict[str, str]:
    """The options that fix an engine's profile, of every input that is not wholly fixed.

    TensorRT builds for the least sizes best: one explanation is what a batch mostly holds.
    Without a profile ONNX Runtime would build when it first meets a shape, and anew for others.

    Args:
        inputs: the graph's, with their dimensions: sizes, or the graph's names for them.
        shape: at which it runs.

    Raises:
        ComputeFailed: a dimension of which the shape says nothing.
    """
    least, most = [], []
    for name, dimensions in inputs.items():
        spans = [_spanned(shape, name, each) for each in dimensions]
        if any(low != high for low, high in spans):
            least.append(f"{name}:{'x'.join(str(low) for low, _ in spans)}")
            most.append(f"{name}:{'x'.join(str(high) for _, high in spans)}")
    if not least:
        return {}
    return {
        "trt_profile_min_shapes": ",".join(least),
        "trt_profile_opt_shapes": ",".join(least),
        "trt_profile_max_shapes": ",".join(most),
    }


def _cuda_options(device: Device, number: int) -> dict[str, str]:
    return {
        "device_id": str(number),
        # Else TF32 is taken for float32 from compute capability 8.0 on. Off, it keeps float16's
        # convolutions from the tensor cores too: there `tf32.py` keeps it off for float32.
        "use_tf32": "0" if device.precision == "float32" else "1",
        # By rule. EXHAUSTIVE, the default, may take what is fastest on the day.
        "cudnn_conv_algo_search": "HEURISTIC",
        # Shapes are fixed but for the number of sources: what was needed once will be needed again.
        "arena_extend_strategy": "kSameAsRequested",
        # The default, stated: separate streams race (microsoft/onnxruntime#4829).
        "do_copy_in_default_stream": "1",
    }


def _tensorrt_options(
    device: Device, number: int, profile: Mapping[str, str], cache: Path | None
) -> dict[str, str]:
    """TensorRT's. Its TF32 is no option but the process's word: see `tf32.py`.

    Its truth values are the words True and False; a 1 or 0 is refused by ONNX Runtime, which
    then falls back to another provider.
    """
    options = {
        "device_id": str(number),
        # A graph in float16 runs as it is written: told to, TensorRT 10 would take float16 where
        # the graph says float32 as well, in the masks.
        "trt_fp16_enable": "False",
        "trt_engine_hw_compatible": "False",
        "trt_force_sequential_engine_build": str(len(device.numbers) > 1),
        "trt_engine_cache_enable": str(cache is not None),
        "trt_timing_cache_enable": str(cache is not None),
        **profile,
    }
    if cache is not None:
        options["trt_engine_cache_path"] = str(cache)
        options["trt_timing_cache_path"] = str(cache)
        options["trt_engine_cache_prefix"] = "salience"
    return options


def _spanned(shape: GraphShape, name: str, dimension: str | int) -> tuple[int, int]:
    span = shape.spanned(dimension)
    if span is None:
        raise ComputeFailed(
            f"TensorRT needs every size of {name!r} before it runs, but nothing fixes {dimension!r}"
        )
    return span
