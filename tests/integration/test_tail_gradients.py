"""Gradients from a tap on: who answers from there, with what, and what is refused."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from salience_service.bundle.manifest import GraphRole
from salience_service.bundle.reader import Bundle, open_bundle
from salience_service.control import Control
from salience_service.engine import Engine
from salience_service.errors import BundleRefused
from salience_service.events import Event, FinishedMap
from salience_service.models.model import ServedModel
from salience_service.models.warm_up import warm_up
from salience_service.request import ExplainOrder, GradientChoice, MethodCall, PreparedImage
from salience_service.runtime.session import Device
from tests.support.bundles import listed_files, without, write_manifest
from tests.support.engines import engine_over

TAIL, GRADIENT = GraphRole.TAIL_GRADIENT, GraphRole.GRADIENT
IMAGE = np.random.default_rng(0).normal(size=(3, 32, 32)).astype(np.float32)


@pytest.fixture(scope="module")
def engine(tiny_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """The residual net, and its twin from before there were tail gradients."""
    old = without(tiny_bundle, tmp_path_factory.mktemp("old") / "1", TAIL, name="old")
    with engine_over(tiny_bundle, old) as made:
        yield made


def explained(
    engine: Engine, call: MethodCall, model: str = "softmax", **more: object
) -> list[Event]:
    order = ExplainOrder(model, PreparedImage(IMAGE), (call,), **more)  # type: ignore[arg-type]
    return list(engine.explain(order, Control()))


def map_of(engine: Engine, call: MethodCall, model: str = "softmax", **more: object) -> FinishedMap:
    (found,) = [e for e in explained(engine, call, model, **more) if isinstance(e, FinishedMap)]
    return found


def roles(engine: Engine, call: MethodCall, model: str = "softmax") -> set[tuple[GraphRole, str]]:
    """What gradients were taken by."""
    return {
        (use.role, use.tap)
        for use in map_of(engine, call, model).provenance.graphs
        if use.role is not GraphRole.FORWARD
    }


@pytest.mark.parametrize("tap", range(3))
@pytest.mark.parametrize("method", ["grad-cam", "smooth-grad-cam++", "layer-cam"])
def test_from_any_one_tap_on_the_map_is_that_of_the_whole_graph(
    engine: Engine, method: str, tap: int
) -> None:
    name = engine.models()[0].manifest.taps[tap].name
    call = MethodCall(method, taps=(name,))
    assert roles(engine, call) == {(TAIL, name)}
    assert roles(engine, call, "old") == {(GRADIENT, "")}
    ours, whole = (
        np.frombuffer(map_of(engine, call, model).encoded.data, "<f4")
        for model in ("softmax", "old")
    )
    assert whole.max() == 1
    np.testing.assert_allclose(ours, whole, atol=1e-4)


def test_a_cam_of_the_clean_image_runs_the_network_once(engine: Engine) -> None:
    """The service's own count of device time knows no second forward, and no whole gradient."""
    before = engine.workload.device_seconds
    explained(engine, MethodCall("grad-cam"))
    after = engine.workload.device_seconds
    grown = {work for work, seconds in after.items() if seconds > before.get(work, 0)}
    assert grown == {"forward", "tail_gradient"}


@pytest.mark.parametrize(
    "call",
    [
        MethodCall("integrated-gradients", {"steps": 2}),
        MethodCall("layer-cam", taps=("layer2", "layer3")),
    ],
    ids=["image", "several taps"],
)
def test_what_no_single_tap_answers_goes_back_from_the_image(
    engine: Engine, call: MethodCall
) -> None:
    assert roles(engine, call) == {(GRADIENT, "")}


def test_on_the_torch_side_torch_answers(engine: Engine) -> None:
    found = map_of(engine, MethodCall("grad-cam"), gradient_side=GradientChoice.TORCH)
    assert [use.role for use in found.provenance.graphs] == [GraphRole.FORWARD]


def test_at_a_lower_precision_gradients_begin_at_the_image(tiny_bundle: Bundle) -> None:
    model = ServedModel(tiny_bundle, Device(threads=1), batch_size=2)
    lower = replace(Device(threads=1), precision="float16")
    tap = tiny_bundle.manifest.taps[-1]
    assert model.tail_gradients.has(tap)
    assert not ServedModel(tiny_bundle, lower, batch_size=2).tail_gradients.has(tap)


@pytest.fixture
def changed(tiny_bundle: Bundle, tmp_path: Path) -> tuple[Path, Path]:
    """A copy of the bundle, and the file of its last tail gradient."""
    shutil.copytree(tiny_bundle.directory, tmp_path / "1")
    graph = tiny_bundle.manifest.graph(TAIL, tiny_bundle.manifest.taps[-1].name)
    assert graph is not None
    return tmp_path / "1", tmp_path / "1" / graph.path


def test_one_that_drifts_from_the_gradient_graph_never_serves(
    tiny_bundle: Bundle, changed: tuple[Path, Path]
) -> None:
    directory, path = changed
    model = onnx.load(path, load_external_data=False)
    end = next(node for node in model.graph.node if node.output[0] == "d_tap")
    end.CopyFrom(onnx.helper.make_node("Add", [end.input[0], end.input[0]], ["d_tap"]))
    path.write_bytes(model.SerializeToString())
    write_manifest(directory, replace(tiny_bundle.manifest, files=listed_files(directory)))
    served = ServedModel(open_bundle(directory), Device(threads=1), batch_size=2)
    with pytest.raises(BundleRefused, match=r"tail gradient of tap layer3 drifts .* 1\.00e\+00"):
        warm_up(served)


def test_one_that_changed_on_disk_is_refused_and_opened_when_it_is_whole_again(
    changed: tuple[Path, Path],
) -> None:
    directory, path = changed
    model = ServedModel(open_bundle(directory), Device(threads=1), batch_size=2)
    tap = model.manifest.taps[-1]
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(BundleRefused, match="does not match its SHA-256"):
        model.tail_gradients.open(tap).result()
    path.write_bytes(whole)
    assert model.tail_gradients.open(tap).result() is model.tail_gradients.open(tap).result()
