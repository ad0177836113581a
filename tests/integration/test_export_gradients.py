"""The gradient graphs of exported bundles: against torch's autograd, proved, and left out."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from typer.testing import CliRunner

from salience_export import Destination, ExportError, ModelContract, export_onnx
from salience_export.bundle import export_bundle
from salience_export.command import app
from salience_export.differentiate.rules import RULES
from salience_export.differentiate.step import Step
from salience_export.source import FloatArray, ReferenceGradient, SourceModel
from salience_export.sources.torch_module import open_torch
from salience_export.specimens import noise_images
from salience_service.bundle.manifest import GraphRole, OutputKind
from salience_service.bundle.reader import Bundle, open_bundle, read_golden
from salience_service.errors import BundleRefused
from salience_service.interpolation import interpolation_matrix
from salience_service.models.model import ServedModel
from salience_service.models.warm_up import warm_up
from salience_service.runtime.session import Device, Execution, Session
from tests.conftest import KINDS, BundleOf
from tests.integration.test_export_command import CONTRACT as CONTRACT_TOML
from tests.integration.test_export_graphs import NETWORKS
from tests.oracle.masked_gradient import masked_gradient
from tests.support import networks
from tests.support.bundles import listed_files, write_manifest
from tests.support.contracts import image_contract
from tests.support.onnx_networks import Drawing, evaluate

CONTRACT = ModelContract(image_contract(), OutputKind.SOFTMAX)
GRADIENTS = (GraphRole.GRADIENT, GraphRole.MASKED_GRADIENT)
CLOSE = 1e-5
"""By norms. These networks are small: no sum lies within rounding of a kink for these images."""


def session(bundle: Bundle, role: GraphRole, tap: str = "") -> Session:
    graph = bundle.manifest.graph(role, tap)
    assert graph is not None
    return Session(bundle.path(graph.path), Device())


def drawn(bundle: Bundle, count: int) -> tuple[Tensor, Tensor]:
    """Images and cotangents."""
    given = bundle.manifest.input
    generator = torch.Generator().manual_seed(21)
    images = torch.randn(count, given.channels, given.height, given.width, generator=generator)
    return images, torch.randn(count, bundle.manifest.head.classes, generator=generator)


def close(actual: NDArray[np.float32], expected: Tensor) -> None:
    wanted = expected.detach().numpy()
    assert actual.shape == wanted.shape
    assert np.linalg.norm(actual - wanted) <= CLOSE * np.linalg.norm(wanted)


def through(network: nn.Module, names: list[str], images: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Logits, and what the named modules put out; the network goes on with copies."""
    seen: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[..., Tensor]:
        def hook(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
            seen[name] = output
            return output.clone()

        return hook

    handles = [network.get_submodule(name).register_forward_hook(keep(name)) for name in names]
    logits = network(images)
    for handle in handles:
        handle.remove()
    return logits, [seen[name] for name in names]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [1, 4])
def test_gradients_to_images_and_taps_equal_torchs(
    bundle_of: BundleOf, kind: str, count: int
) -> None:
    bundle, network = bundle_of(kind), NETWORKS[kind]()
    images, cotangent = drawn(bundle, count)
    leaf = images.clone().requires_grad_()
    taps = bundle.manifest.taps
    logits, features = through(network, [tap.name for tap in taps], leaf)
    expected = torch.autograd.grad(logits, [leaf, *features], cotangent)
    outputs = ["logits", "d_images", *(f"d_{tap.output}" for tap in taps)]
    feeds = {"images": images.numpy(), "cotangent": cotangent.numpy()}
    found = session(bundle, GraphRole.GRADIENT).run(feeds, outputs, Execution())
    for actual, wanted in zip(found, [logits, *expected], strict=True):
        close(actual, wanted)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_from_a_tap_on_equal_torchs(bundle_of: BundleOf, kind: str) -> None:
    bundle, network = bundle_of(kind), NETWORKS[kind]()
    images, cotangent = drawn(bundle, 3)
    taps = bundle.manifest.taps
    logits, features = through(network, [tap.name for tap in taps], images.requires_grad_())
    expected = torch.autograd.grad(logits, features, cotangent)
    names = [value for graph in bundle.manifest.graphs for value in graph.live]
    names += [tap.output for tap in taps]
    clean = session(bundle, GraphRole.FORWARD).run(
        {"images": images.detach().numpy()}, names, Execution()
    )
    outputs = dict(zip(names, clean, strict=True))
    for tap, wanted in zip(taps, expected, strict=True):
        feeds: dict[str, NDArray[np.generic]] = {
            "tap": outputs[tap.output],
            **{name: outputs[name] for name in bundle.manifest.live(tap)},
            "cotangent": cotangent.numpy(),
        }
        tail = session(bundle, GraphRole.TAIL_GRADIENT, tap.name)
        found = tail.run(feeds, ["logits", "d_tap"], Execution())
        close(found[0], logits)
        close(found[1], wanted)


def test_a_gradient_from_the_last_tap_on_runs_nothing_in_front_of_it(tiny_bundle: Bundle) -> None:
    def nodes(role: GraphRole, tap: str = "") -> int:
        graph = tiny_bundle.manifest.graph(role, tap)
        assert graph is not None
        path = tiny_bundle.path(graph.path)
        return len(onnx.load(path, load_external_data=False).graph.node)

    last = tiny_bundle.manifest.taps[-1]
    assert 2 * nodes(GraphRole.TAIL_GRADIENT, last.name) < nodes(GraphRole.FORWARD)


@pytest.mark.parametrize("kind", ["softmax", "binary", "vgg", "smooth"])
def test_gradients_to_maps_equal_the_oracles(bundle_of: BundleOf, kind: str) -> None:
    bundle, network = bundle_of(kind), NETWORKS[kind]().double()
    (images, cotangents), maps = drawn(bundle, 3), torch.randn(3, 6, 5)
    fills = 0.3 * drawn(bundle, 6)[0][3:]
    size = images.shape[2:]
    feeds: dict[str, NDArray[np.generic]] = {
        "differences": (images - fills).numpy(),
        "fills": fills.numpy(),
        "image_of": np.array([2, 0, 1]),
        "maps": maps.numpy(),
        "rows": interpolation_matrix(size[0], 6),
        "columns": interpolation_matrix(size[1], 5),
        "normalise": np.ones(3, bool),
        "scale": np.ones(3, np.float32),
        "shift": np.zeros(3, np.float32),
        "cotangent": cotangents.numpy(),
    }
    (found,) = session(bundle, GraphRole.MASKED_GRADIENT).run(feeds, ["d_maps"], Execution())
    for row, image in enumerate((2, 0, 1)):
        fill = fills[image].double()
        difference = images[image].double() - fill
        given = maps[row].double(), cotangents[row].double()
        _, expected = masked_gradient(network, difference, fill, *given)
        close(found[row], expected)


def test_weights_lie_in_the_bundle_once_however_many_graphs_there_are(lite0_bundle: Bundle) -> None:
    sizes = {file.path: file.size for file in lite0_bundle.manifest.files}
    whole = sum(size for path, size in sizes.items() if path.endswith((".onnx", ".bin")))
    parameters = 4 * 4_652_008  # of EfficientNet-Lite0 (Liu 2020)
    assert sizes["weights.bin"] <= whole <= 1.1 * parameters
    assert {graph.role for graph in lite0_bundle.manifest.graphs} >= set(GRADIENTS)


def test_a_models_gradients_are_met_before_it_serves(tiny_bundle: Bundle) -> None:
    model = ServedModel(tiny_bundle, Device(threads=1), batch_size=2)
    assert warm_up(model) <= 1e-4
    golden = read_golden(tiny_bundle).gradient
    assert golden is not None
    assert all(np.abs(each).max() > 0 for each in (golden.d_cells, golden.d_tap, golden.d_maps))


@pytest.mark.parametrize("name", ["d_cells", "d_tap", "d_maps"])
def test_a_model_whose_gradients_drift_never_serves(
    tiny_bundle: Bundle, tmp_path: Path, name: str
) -> None:
    directory = tmp_path / "softmax" / "1"
    shutil.copytree(tiny_bundle.directory, directory)
    with np.load(directory / "golden.npz") as arrays:
        changed = {key: arrays[key] for key in arrays.files}
    changed[name] = changed[name] * np.float32(1.1)
    np.savez(directory / "golden.npz", **changed)
    write_manifest(directory, replace(tiny_bundle.manifest, files=listed_files(directory)))
    model = ServedModel(open_bundle(directory), Device(threads=1), batch_size=2)
    with pytest.raises(BundleRefused, match=r"gradients of model softmax 1 drift .*9\.09e-02"):
        warm_up(model)


def test_gradients_that_differ_from_the_source_are_not_written(tmp_path: Path) -> None:
    source = open_torch(networks.smooth_net(), CONTRACT.input, CONTRACT.output)
    own = source.gradient
    assert own is not None

    def turned(images: FloatArray, cotangents: FloatArray) -> ReferenceGradient:
        said = own(images, cotangents)
        return replace(said, images=said.images[:, :, ::-1].copy())

    wrong = replace(source, gradient=turned)
    with pytest.raises(ExportError, match=r"the gradient graphs differ from the source by"):
        export_bundle(lambda: wrong, CONTRACT, Destination(tmp_path, "net"))
    assert list(tmp_path.iterdir()) == []


def test_without_the_sources_word_gradients_are_held_against_slopes(tmp_path: Path) -> None:
    source = open_torch(networks.residual_net(), CONTRACT.input, CONTRACT.output)
    silent: SourceModel = replace(source, gradient=None)
    report = export_bundle(lambda: silent, CONTRACT, Destination(tmp_path, "net"))
    assert report.parity.gradient is not None
    assert 0 < report.parity.gradient <= 1e-2


def halves_net() -> onnx.ModelProto:
    """The sum of two convolutions, each of one half of the image."""
    d = Drawing()
    left = d.op("Slice", "images", d.ints(0), d.ints(16), d.ints(3))
    right = d.op("Slice", "images", d.ints(16), d.ints(32), d.ints(3))
    x = d.op("Add", d.conv(left, (3, 6), stride=2), d.conv(right, (3, 6), stride=2))
    x = d.op("Flatten", d.op("GlobalAveragePool", d.op("Relu", x, to="sum")))
    d.dense(x, (6, 10), to="logits")
    return d.model("logits")


def test_a_part_that_slopes_along_the_gradient_cannot_tell_is_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    onnx.save(halves_net(), tmp_path / "net.onnx")
    destination = Destination(tmp_path / "models", "net")
    whole = RULES["Add"]
    monkeypatch.setitem(RULES, "Add", lambda step: {0: whole(step)[0]})  # type: ignore[arg-type]
    with pytest.raises(ExportError, match="the gradient graphs lack a part of the source's"):
        export_onnx(tmp_path / "net.onnx", CONTRACT, destination)
    monkeypatch.undo()
    assert export_onnx(tmp_path / "net.onnx", CONTRACT, destination).parity.gradient is not None


def side_net(share: float) -> onnx.ModelProto:
    """A convolution, and beside it a Tanh that counts for a share in the logits."""
    d = Drawing()
    x = d.op("Relu", d.conv("images", (3, 6), stride=2), to="body")
    side = d.op("Tanh", d.conv(x, (6, 6), to="tap"))
    small = d.op("Mul", side, d.weight("share", np.array(share, np.float32)))
    x = d.op("Add", d.op("GlobalAveragePool", x), d.op("GlobalAveragePool", small))
    d.dense(d.op("Flatten", x), (6, 10), to="logits")
    return d.model("logits")


def test_a_wrong_gradient_to_a_tap_that_counts_for_little_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    onnx.save(side_net(0.05), tmp_path / "net.onnx")
    destination = Destination(tmp_path / "models", "net")
    right = RULES["Tanh"]

    def wrong(step: Step) -> dict[int, str]:
        return {0: step.emit("Mul", right(step)[0], step.number(1.5))}

    monkeypatch.setitem(RULES, "Tanh", wrong)  # type: ignore[arg-type]
    with pytest.raises(ExportError, match=r"graphs differ from the source by 3\.3e-01"):
        export_onnx(tmp_path / "net.onnx", CONTRACT, destination, ["tap"])
    monkeypatch.undo()
    report = export_onnx(tmp_path / "net.onnx", CONTRACT, destination, ["tap"])
    assert report.parity.gradient is not None
    assert report.parity.gradient <= 1e-3


def pooled_net() -> onnx.ModelProto:
    """A MaxPool over many equal zeros: a kink right at the tap in front of it."""
    d = Drawing()
    x = d.op("Relu", d.conv("images", (3, 6), stride=2), to="tap")
    x = d.op("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    x = d.op("Flatten", d.op("GlobalAveragePool", d.op("Relu", d.conv(x, (6, 6)))))
    d.dense(x, (6, 10), to="logits")
    return d.model("logits")


@pytest.mark.parametrize("network", [pooled_net(), side_net(1e-6)], ids=["kink", "no share"])
def test_right_gradients_to_a_tap_that_slopes_tell_badly_pass(
    tmp_path: Path, network: onnx.ModelProto
) -> None:
    onnx.save(network, tmp_path / "net.onnx")
    destination = Destination(tmp_path / "models", "net")
    report = export_onnx(tmp_path / "net.onnx", CONTRACT, destination, ["tap"])
    assert report.parity.gradient is not None


def cancelling_net(bias: float = 0) -> onnx.ModelProto:
    """One output, the sum of terms of about 100 and a bias."""
    d = Drawing()
    x = d.op("Flatten", d.op("GlobalAveragePool", d.op("Relu", d.conv("images", (3, 6), stride=2))))
    x = d.op("Add", x, d.weight("offset", np.array(100, np.float32)))
    d.dense(x, (6, 1), to="weighed")
    d.op("Add", "weighed", d.weight("bias", np.array(bias, np.float32)), to="logits")
    return d.model("logits")


def test_right_gradients_of_an_output_near_zero_are_no_lack(tmp_path: Path) -> None:
    contract = ModelContract(image_contract(), OutputKind.SIGMOID)
    (found,) = evaluate(cancelling_net(), noise_images(contract.input, 5), "logits")
    onnx.save(cancelling_net(-float(np.median(found))), tmp_path / "net.onnx")
    destination = Destination(tmp_path / "models", "net")
    assert export_onnx(tmp_path / "net.onnx", contract, destination).parity.gradient is not None


def remainder_net() -> onnx.ModelProto:
    """A network with an operator that no rule differentiates."""
    d = Drawing()
    x = d.op("Relu", d.conv("images", (3, 4), stride=2), to="conv")
    x = d.op("Mod", x, d.weight("two", np.array(2, np.float32)), fmod=1)
    x = d.op("Flatten", d.op("GlobalAveragePool", d.conv(x, (4, 6), stride=2)))
    d.dense(x, (6, 10), to="logits")
    return d.model("logits")


def test_an_operator_without_a_rule_is_named_and_the_bundle_written_without_gradients(
    tmp_path: Path,
) -> None:
    onnx.save(remainder_net(), tmp_path / "net.onnx")
    (tmp_path / "net.toml").write_text(CONTRACT_TOML)
    result = CliRunner().invoke(
        app,
        f"onnx {tmp_path / 'net.onnx'} --input {tmp_path / 'net.toml'} --name net "
        f"--out {tmp_path / 'models'}",
    )
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert any(
        line.startswith("changed: no graphs for gradients:") and "Mod" in line for line in lines
    )
    assert "gradients: none" in lines
    bundle = open_bundle(tmp_path / "models" / "net" / "1")
    assert not any(bundle.manifest.graph(role) for role in GRADIENTS)
    assert "Mod" in bundle.manifest.source.changes[-1]
    assert read_golden(bundle).gradient is None
    assert warm_up(ServedModel(bundle, Device(threads=1), batch_size=2)) <= 1e-4
