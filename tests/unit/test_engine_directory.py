"""The engine cache: a directory for each of all that an engine depends on, and for us alone."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from salience_service.bundle.graph_bytes import graph_bytes
from salience_service.errors import ComputeFailed, ConfigRefused
from salience_service.runtime.device import Device
from salience_service.runtime.engine_cache import EngineKey, engine_directory
from salience_service.runtime.engines import Engines
from salience_service.runtime.gpu import Gpu
from salience_service.runtime.graph_shape import GraphShape

GPU = Gpu("NVIDIA A100-SXM4-40GB", "8.0", "580.65")
KEY = EngineKey("ab12", "N=8 R=1..8", "float32", "1.31.1", (101300,), GPU)
OTHERS = {
    "graph": "ab13",
    "shape": "N=16 R=1..8",
    "precision": "tf32",
    "runtime": "1.31.2",
    "tensorrt": (101400,),
}


@pytest.mark.parametrize("part", OTHERS)
def test_another_part_of_the_key_is_another_engine(part: str) -> None:
    assert replace(KEY, **{part: OTHERS[part]}).digest != KEY.digest  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "gpu",
    [
        replace(GPU, name="NVIDIA H100 PCIe"),
        replace(GPU, compute_capability="9.0"),
        replace(GPU, driver="590.1"),
    ],
)
def test_another_device_or_driver_is_another_engine(gpu: Gpu) -> None:
    assert replace(KEY, gpu=gpu).digest != KEY.digest


def test_the_same_key_is_the_same_directory_open_to_nobody_else(tmp_path: Path) -> None:
    cache = tmp_path / "engines"
    directory = engine_directory(cache, KEY)
    assert engine_directory(cache, KEY) == directory
    assert [each.stat().st_mode & 0o777 for each in (cache, directory)] == [0o700, 0o700]


@pytest.mark.parametrize("mode", [0o770, 0o702, 0o720, 0o777])
def test_a_cache_that_others_may_write_is_refused(tmp_path: Path, mode: int) -> None:
    cache = tmp_path / "engines"
    cache.mkdir()
    cache.chmod(mode)
    with pytest.raises(ConfigRefused, match=rf"others may write.*mode {mode:o}.*give it mode 700"):
        engine_directory(cache, KEY)


def test_an_engines_own_directory_is_held_to_the_same(tmp_path: Path) -> None:
    engine_directory(tmp_path, KEY).chmod(0o777)
    with pytest.raises(ConfigRefused, match="others may write"):
        engine_directory(tmp_path, KEY)


def test_a_link_in_place_of_the_cache_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / "engines").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigRefused, match="no link"):
        engine_directory(tmp_path / "engines", KEY)


def test_a_cache_of_another_user_is_refused(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a directory away")
    os.chown(tmp_path, 12345, -1)
    with pytest.raises(ConfigRefused, match="belongs to another user"):
        engine_directory(tmp_path, KEY)


def test_a_cache_that_cannot_be_made_is_refused_without_its_path(tmp_path: Path) -> None:
    with pytest.raises(ConfigRefused, match="cannot be used: No such file") as told:
        engine_directory(tmp_path / "no" / "such", KEY)
    assert str(tmp_path) not in str(told.value)


def engines(
    directory: Path, device: Device, gpu: Callable[[int], Gpu] = lambda _: GPU, bias: float = 0.5
) -> Engines:
    node = helper.make_node("Add", ["images", "bias"], ["logits"])
    shapes = [helper.make_tensor_value_info(n, 1, ["N", 3]) for n in ("images", "logits")]
    weight = helper.make_tensor("bias", TensorProto.FLOAT, [1], [bias])
    graph = helper.make_graph([node], "g", shapes[:1], shapes[1:], [weight])
    path = directory / "graph.onnx"
    onnx.save(helper.make_model(graph, ir_version=8), path)
    return Engines(device, graph_bytes(path, {}), gpu, lambda: (101300,))


def test_a_graph_without_a_cache_asks_no_device_anything(tmp_path: Path) -> None:
    def never(number: int) -> Gpu:
        raise AssertionError(number)

    made = engines(tmp_path, Device("tensorrt"), never)
    (_, options), *_ = made.provider_chain(0, GraphShape({"N": 2}), "1.31.1")
    assert options["trt_engine_cache_enable"] == "False"


def test_engines_differ_by_graph_shape_precision_runtime_and_device(tmp_path: Path) -> None:
    device = Device("tensorrt", engine_cache=tmp_path / "engines")
    two = GraphShape({"N": 2})
    made = engines(tmp_path, device)
    places = [
        made.provider_chain(0, two, "1.31.1"),
        made.provider_chain(0, GraphShape({"N": 3}), "1.31.1"),
        made.provider_chain(0, GraphShape({}, {"N": (1, 2)}), "1.31.1"),
        made.provider_chain(0, two, "1.32.0"),
        engines(tmp_path, replace(device, precision="tf32")).provider_chain(0, two, "1.31.1"),
        engines(tmp_path, device, lambda _: replace(GPU, driver="1")).provider_chain(
            0, two, "1.31.1"
        ),
        engines(tmp_path, device, bias=0.25).provider_chain(0, two, "1.31.1"),
    ]
    paths = {chain[0][1]["trt_engine_cache_path"] for chain in places}
    assert len(paths) == len(places)
    assert {Path(path).parent for path in paths} == {tmp_path / "engines"}


def test_a_machine_without_a_driver_is_refused_where_engines_are_kept(tmp_path: Path) -> None:
    def none(number: int) -> Gpu:
        raise ComputeFailed("the NVIDIA driver's libcuda.so.1 cannot be loaded")

    made = engines(tmp_path, Device("tensorrt", engine_cache=tmp_path / "engines"), none)
    with pytest.raises(ComputeFailed, match="libcuda"):
        made.provider_chain(0, GraphShape({"N": 2}), "1.31.1")
