"""Providers: what ONNX Runtime is told for each device, number and precision, to the letter.

Neither CUDA nor TensorRT ran here: the names are those of ONNX Runtime 1.31.1's GPU wheel.
"""

from pathlib import Path
from types import SimpleNamespace

import pytest

from salience_service.errors import ComputeFailed
from salience_service.runtime.device import Device
from salience_service.runtime.graph_shape import GraphShape
from salience_service.runtime.providers import (
    builds_engines,
    check_available,
    check_came_up,
    engine_profile,
    provider_chain,
    warn_of_the_cpu,
)

CPU = ("CPUExecutionProvider", {})
MASKED = {
    "differences": ("R", 3, 224, 224),
    "fills": ("R", 3, 224, 224),
    "image_of": ("S",),
    "maps": ("N", "h", "w"),
    "rows": (224, "h"),
    "columns": (224, "w"),
    "scale": ("N",),
}
TF32_OPTIONS = [("float32", "0"), ("tf32", "1"), ("float16", "1")]
EIGHT_OF_SEVEN = GraphShape({"N": 8, "h": 7, "w": 7}, {"R": (1, 8), "S": (1, 8)})


def cuda(number: int, tf32: str) -> tuple[str, dict[str, str]]:
    options = {
        "device_id": str(number),
        "use_tf32": tf32,
        "cudnn_conv_algo_search": "HEURISTIC",
        "arena_extend_strategy": "kSameAsRequested",
        "do_copy_in_default_stream": "1",
    }
    return "CUDAExecutionProvider", options


def tensorrt(number: int, sequential: str) -> tuple[str, dict[str, str]]:
    options = {
        "device_id": str(number),
        "trt_fp16_enable": "False",
        "trt_engine_hw_compatible": "False",
        "trt_force_sequential_engine_build": sequential,
        "trt_engine_cache_enable": "False",
        "trt_timing_cache_enable": "False",
    }
    return "TensorrtExecutionProvider", options


@pytest.mark.parametrize("number", [0, 3])
def test_the_cpu_is_told_nothing(number: int) -> None:
    assert provider_chain(Device("cpu"), number) == [CPU]


@pytest.mark.parametrize("number", [0, 1, 15])
@pytest.mark.parametrize(("precision", "tf32"), TF32_OPTIONS)
def test_cuda_bars_float32_alone_from_the_tensor_cores(
    number: int, precision: str, tf32: str
) -> None:
    device = Device("cuda", numbers=(number,), precision=precision)  # type: ignore[arg-type]
    assert provider_chain(device, number) == [cuda(number, tf32), CPU]


@pytest.mark.parametrize("numbers", [(0,), (2,), (0, 1)])
@pytest.mark.parametrize(("precision", "tf32"), TF32_OPTIONS)
def test_tensorrt_stands_before_cuda_and_the_cpu(
    numbers: tuple[int, ...], precision: str, tf32: str
) -> None:
    device = Device("tensorrt", numbers=numbers, precision=precision)  # type: ignore[arg-type]
    sequential = str(len(numbers) > 1)
    for number in numbers:
        chain = [tensorrt(number, sequential), cuda(number, tf32), CPU]
        assert provider_chain(device, number) == chain


def test_tensorrt_keeps_engine_and_timings_where_it_is_told(tmp_path: Path) -> None:
    profile = {"trt_profile_min_shapes": "image_of:1"}
    (_, options), *_ = provider_chain(Device("tensorrt"), 0, profile, tmp_path)
    (_, without), *_ = provider_chain(Device("tensorrt"), 0)
    assert {key: value for key, value in options.items() if without.get(key) != value} == {
        "trt_engine_cache_enable": "True",
        "trt_timing_cache_enable": "True",
        "trt_engine_cache_path": str(tmp_path),
        "trt_timing_cache_path": str(tmp_path),
        "trt_engine_cache_prefix": "salience",
        "trt_profile_min_shapes": "image_of:1",
    }


def test_a_profile_spans_what_is_not_fixed_and_is_best_at_one_explanation() -> None:
    least = "differences:1x3x224x224,fills:1x3x224x224,image_of:1"
    most = "differences:8x3x224x224,fills:8x3x224x224,image_of:8"
    assert engine_profile(MASKED, EIGHT_OF_SEVEN) == {
        "trt_profile_min_shapes": least,
        "trt_profile_opt_shapes": least,
        "trt_profile_max_shapes": most,
    }


def test_a_graph_whose_sizes_are_all_fixed_needs_no_profile() -> None:
    assert engine_profile({"images": ("N", 3, 8, 8)}, GraphShape({"N": 1})) == {}


def test_a_size_that_nothing_fixes_is_refused_by_name() -> None:
    with pytest.raises(ComputeFailed, match=r"every size of 'maps'.*nothing fixes 'w'"):
        engine_profile(MASKED, GraphShape({"N": 8, "h": 7}, EIGHT_OF_SEVEN.ranges))


@pytest.mark.parametrize(
    ("provider", "came"),
    [
        ("cuda", ["CPUExecutionProvider"]),
        ("tensorrt", ["CPUExecutionProvider"]),
        ("tensorrt", ["CUDAExecutionProvider", "CPUExecutionProvider"]),
        ("tensorrt", []),
    ],
)
def test_a_provider_that_did_not_come_up_is_an_error(provider: str, came: list[str]) -> None:
    with pytest.raises(ComputeFailed, match=f"was asked for, but {came[0] if came else 'none'}"):
        check_came_up(Device(provider), came)


def test_a_provider_that_came_up_is_none() -> None:
    check_came_up(Device("tensorrt"), ["TensorrtExecutionProvider", "CUDAExecutionProvider"])
    check_came_up(Device("cpu"), ["CPUExecutionProvider"])


def test_a_warning_counts_what_the_cpu_runs_and_nothing_else(
    caplog: pytest.LogCaptureFixture,
) -> None:
    own, cpu = part("CUDAExecutionProvider", "Conv"), part("CPUExecutionProvider", "MaxPool")
    warn_of_the_cpu(Device("cuda"), "forward.onnx", [own] * 4)
    assert not caplog.records
    elu = part("CPUExecutionProvider", "Elu", "MaxPool")
    warn_of_the_cpu(Device("cuda"), "forward.onnx", [own, elu, own, cpu])
    assert [each.getMessage() for each in caplog.records] == [
        "forward.onnx: the CPU runs 3 of its nodes, which cuda has no kernel for, or which only "
        "make shapes: MaxPool 2, Elu 1"
    ]


def part(provider: str, *operators: str) -> SimpleNamespace:
    """Nodes that ONNX Runtime gave to a provider, as it tells them."""
    nodes = [SimpleNamespace(op_type=operator) for operator in operators]
    return SimpleNamespace(ep_name=provider, get_nodes=lambda: nodes)


def test_a_provider_that_is_not_installed_is_refused_with_the_remedy() -> None:
    with pytest.raises(
        ComputeFailed, match=r"no CUDAExecutionProvider: install salience\[service-"
    ):
        check_available(Device("cuda"), ["CPUExecutionProvider"])
    check_available(Device("cuda"), ["CUDAExecutionProvider", "CPUExecutionProvider"])


def test_tf32_on_the_cpu_is_refused() -> None:
    with pytest.raises(ComputeFailed, match="the CPU has no TF32"):
        check_available(Device("cpu", precision="tf32"), ["CPUExecutionProvider"])


def test_only_tensorrt_builds_engines() -> None:
    built = [name for name in ("cpu", "cuda", "tensorrt") if builds_engines(Device(name))]
    assert built == ["tensorrt"]
