"""A torch module as a source: its taps are what its modules put out, and nothing of it changes."""

import copy
import io
import pickletools
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from salience_export.errors import ExportError
from salience_export.graphs.build import build_graphs
from salience_export.graphs.normal import lower_opset
from salience_export.source import SourceModel
from salience_export.sources.runtime import Run
from salience_export.sources.torch_module import open_torch
from salience_service.bundle.manifest import OutputKind
from salience_service.bundle.program import check_program
from salience_service.bundle.tensors import IMAGES, LOGITS
from tests.support import networks
from tests.support.contracts import image_contract


def opened(
    network: nn.Module, taps: Sequence[str] = (), output: OutputKind = OutputKind.SOFTMAX
) -> SourceModel:
    return open_torch(network, image_contract(), output, taps)


def tensors(source: SourceModel, images: torch.Tensor) -> dict[str, np.ndarray]:
    """What the graph computes for each tap, and its logits."""
    names = [LOGITS, *(tap.tensor for tap in source.taps)]
    found = dict(zip(names, Run(source.model, names)(images.numpy()), strict=True))
    return {tap.name: found[tap.tensor] for tap in source.taps} | {LOGITS: found[LOGITS]}


def images(count: int = 2) -> torch.Tensor:
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(5))


@pytest.fixture(scope="module")
def trap() -> SourceModel:
    return opened(networks.seeded(networks.BatchNormThenInPlace), ("norm", "act"))


@pytest.fixture(scope="module")
def calls() -> SourceModel:
    return opened(networks.residual_net(), ("layer2.relu#0", "layer2.relu#1", "layer1.conv2"))


def test_a_tap_before_an_in_place_activation_keeps_its_negative_values(trap: SourceModel) -> None:
    network = networks.seeded(networks.BatchNormThenInPlace)
    with torch.no_grad():
        norm = network.norm(network.conv(images())).clone()
        act = norm.relu()
    found = tensors(trap, images())
    assert norm.min() < -0.1
    np.testing.assert_allclose(found["norm"], norm, atol=1e-5)
    np.testing.assert_allclose(found["act"], act, atol=1e-5)


def test_torch_writes_an_opset_that_gpus_run(trap: SourceModel) -> None:
    assert lower_opset(trap.model) is trap.model


def test_calls_of_a_module_used_twice_are_told_apart(calls: SourceModel) -> None:
    block = networks.residual_net()
    with torch.no_grad():
        given = block.layer1(block.stem(images()))
        first = block.layer2.bn1(block.layer2.conv1(given)).relu()
        second = block.layer2(given)
    found = tensors(calls, images())
    np.testing.assert_allclose(found["layer2.relu#0"], first, atol=1e-5)
    np.testing.assert_allclose(found["layer2.relu#1"], second, atol=1e-5)


def test_a_convolution_before_a_batch_norm_is_a_tap_of_its_own(calls: SourceModel) -> None:
    network = networks.residual_net()
    with torch.no_grad():
        given = network.stem(images())
        inner = network.layer1.bn1(network.layer1.conv1(given)).relu()
        expected = network.layer1.conv2(inner)
    np.testing.assert_allclose(tensors(calls, images())["layer1.conv2"], expected, atol=1e-5)


def test_taps_come_in_the_order_of_the_computation(calls: SourceModel) -> None:
    assert [tap.name for tap in calls.taps] == ["layer1.conv2", "layer2.relu#0", "layer2.relu#1"]


def test_named_taps_leave_the_graph_one_output(calls: SourceModel) -> None:
    assert [value.name for value in calls.model.graph.output] == [LOGITS]
    assert [value.name for value in calls.model.graph.input] == [IMAGES]


def test_the_reference_is_the_network_itself(calls: SourceModel) -> None:
    network = networks.residual_net()
    reference = calls.reference(images().numpy())
    with torch.no_grad():
        np.testing.assert_array_equal(reference.logits, network(images()))
        layer2 = network.layer2(network.layer1(network.stem(images())))
    np.testing.assert_array_equal(reference.features["layer2.relu#1"], layer2)
    assert set(reference.features) == {tap.name for tap in calls.taps}


def test_chosen_taps_go_by_the_module_that_makes_them() -> None:
    source = opened(networks.residual_net())
    assert [tap.name for tap in source.taps] == ["stem", "layer1", "layer2", "layer3"]
    found, expected = tensors(source, images()), source.reference(images().numpy())
    for tap in source.taps:
        np.testing.assert_allclose(found[tap.name], expected.features[tap.name], atol=1e-5)


def test_an_in_place_activation_lends_its_name_to_what_it_makes() -> None:
    source = opened(networks.vgg_net())
    names = [tap.name for tap in source.taps]
    assert names == ["features.1", "features.4", "features.7", "features.8", "pool"]


def test_a_dropout_does_not_lend_its_name_to_what_it_hands_on() -> None:
    source = opened(networks.seeded(networks.ConvBatchNorm))
    assert "drop" not in {tap.name for tap in source.taps}


@pytest.mark.parametrize("count", [1, 2, 5])
def test_the_batch_is_free(trap: SourceModel, count: int) -> None:
    found = tensors(trap, images(count))
    assert found[LOGITS].shape == (count, 4)
    expected = trap.reference(images(count).numpy()).logits
    np.testing.assert_allclose(found[LOGITS], expected, atol=1e-5)


def test_the_module_is_left_as_it_was() -> None:
    network = networks.residual_net().train()
    network.stem.eval()
    before = copy.deepcopy(network.state_dict())
    modes = [module.training for module in network.modules()]
    opened(network, ("layer3",))
    assert [module.training for module in network.modules()] == modes
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert not any(module._forward_hooks for module in network.modules())
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])


def test_a_module_in_training_is_exported_for_inference() -> None:
    trained, still = networks.residual_net().train(), networks.residual_net()
    np.testing.assert_array_equal(
        opened(trained).reference(images().numpy()).logits, still(images()).detach()
    )


def test_the_digest_is_that_of_the_weights() -> None:
    first, again = opened(networks.smooth_net()), opened(networks.smooth_net())
    changed = networks.smooth_net()
    with torch.no_grad():
        changed.head.bias[0] += 1e-3
    assert first.digest == again.digest
    assert opened(changed).digest != first.digest


def test_weights_of_another_type_are_converted_and_it_is_said() -> None:
    source = opened(networks.smooth_net().double())
    assert source.changes == ("weights converted from torch.float64 to float32",)


def loaded(source: SourceModel) -> torch.export.ExportedProgram:
    return torch.export.load(io.BytesIO(source.torch_program or b""))


def test_the_program_gives_the_networks_logits_and_gradient() -> None:
    network = networks.vgg_net()
    program = loaded(opened(network)).module()
    image, twin = images(1).requires_grad_(), images(1).requires_grad_()
    logits, expected = program(image)[LOGITS], network(twin)
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-5)
    (gradient,) = torch.autograd.grad(logits[0, 3], image)
    (expected_gradient,) = torch.autograd.grad(expected[0, 3], twin)
    torch.testing.assert_close(gradient, expected_gradient, rtol=0, atol=1e-5)


def test_the_programs_batch_norms_are_folded_but_behind_a_tap(calls: SourceModel) -> None:
    program = loaded(calls)
    targets = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    assert "aten.conv2d.default" in targets
    # Of six, the one behind the tap layer1.conv2: folded, the tap would put out something else.
    assert [target for target in targets if "batch_norm" in target] == ["aten.batch_norm.default"]
    expected = calls.reference(images(1).numpy()).logits
    np.testing.assert_allclose(program.module()(images(1))[LOGITS].detach(), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("network", "taps"),
    [
        (networks.residual_net(), ("layer1.conv2", "layer2.relu#0", "layer2.relu#1", "layer3")),
        (networks.residual_net(), ("layer3", "layer3.bn2")),
        (networks.seeded(networks.BatchNormThenInPlace), ("conv", "norm", "act")),
        (networks.seeded(networks.ConvBatchNorm), ("conv", "norm")),
    ],
)
def test_the_programs_taps_are_the_graphs_and_the_logits_go_back_to_them(
    network: nn.Module, taps: tuple[str, ...]
) -> None:
    source = opened(network, taps)
    outputs = loaded(source).module()(images(1).requires_grad_())
    found = tensors(source, images(1))
    kept = {}
    for number, tap in enumerate(source.taps):
        kept[tap.name] = outputs[f"tap_{number}"]
        np.testing.assert_allclose(
            kept[tap.name].detach(), found[tap.name], atol=1e-5 * np.abs(found[tap.name]).max()
        )
    gradients = torch.autograd.grad(outputs[LOGITS][0, 1], list(kept.values()))
    assert all(gradient.abs().max() > 0 for gradient in gradients)


def test_chosen_taps_are_in_the_program_under_their_outputs() -> None:
    source = opened(networks.vgg_net())
    outputs = loaded(source).module()(images(1))
    assert sorted(outputs) == sorted([LOGITS, *(f"tap_{n}" for n in range(len(source.taps)))])


def test_the_program_holds_no_pickle_no_trace_and_no_path(calls: SourceModel) -> None:
    with zipfile.ZipFile(io.BytesIO(calls.torch_program or b"")) as archive:
        entries = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    assert [d for n, d in entries.items() if n.endswith("/data/sample_inputs/model.pt")] == [b""]
    assert not [name for name, data in entries.items() if _is_pickle(data)]
    graph = next(data for name, data in entries.items() if name.endswith("/models/model.json"))
    assert b"stack_trace" not in graph
    assert b".py" not in graph


def _is_pickle(data: bytes) -> bool:
    try:
        return bool(data) and any(op.name == "STOP" for op, _, _ in pickletools.genops(data))
    except Exception:
        return False


@pytest.mark.parametrize(
    ("taps", "said"),
    [
        (("nope",), "tap 'nope': the network has no module of that name"),
        (("",), "tap '': the network has no module of that name"),
        (("layer2.relu",), "is called 2 times; name the call: layer2.relu#0 to layer2.relu#1"),
        (("layer2.relu#2",), "is called 2 times; name the call: layer2.relu#0 to layer2.relu#1"),
        (("layer2#0",), "tap 'layer2#0': the module is called once; name it 'layer2'"),
        (("head",), "tap 'head' puts out [2, 10]; a tap is a float tensor [N, C, h, w]"),
        (("layer2", "layer2"), "tap 'layer2' is named twice"),
        (("layer2", "layer2.relu#1"), "taps 'layer2' and 'layer2.relu#1' are one tensor"),
    ],
)
def test_a_tap_that_is_none_is_refused(taps: tuple[str, ...], said: str) -> None:
    with pytest.raises(ExportError) as caught:
        opened(networks.residual_net(), taps)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("make", "output", "said"),
    [
        (networks.TwoInputs, OutputKind.SOFTMAX, "takes 2 inputs (x, prior)"),
        (networks.VolumeNet, OutputKind.SOFTMAX, "'conv' is a Conv3d: 3-D volumes are not served"),
        (networks.TwoOutputs, OutputKind.SOFTMAX, "puts out a tuple; wrap it"),
        (networks.ScoreMap, OutputKind.SOFTMAX, "puts out [2, 4, 30, 30] for 2 images"),
        (networks.SoftmaxAtTheEnd, OutputKind.SOFTMAX, "ends in a softmax; return the logits"),
        (networks.SigmoidAtTheEnd, OutputKind.SIGMOID, "ends in a sigmoid; return the logits"),
        (networks.SigmoidHeads, OutputKind.SIGMOID, "ends in a sigmoid; return the logits"),
        (networks.SigmoidThenFlat, OutputKind.SIGMOID, "ends in a sigmoid; return the logits"),
        (networks.BatchDecides, OutputKind.SOFTMAX, "torch cannot trace the module: "),
        (lambda: networks.ResidualNet(channels=1), OutputKind.SOFTMAX, "fails on images [2, 3, "),
    ],
)
def test_a_network_that_cannot_be_served_is_refused_by_name(
    make: object, output: OutputKind, said: str
) -> None:
    with pytest.raises(ExportError) as caught:
        opened(networks.seeded(make), output=output)  # type: ignore[arg-type]
    assert said in str(caught.value)


@pytest.mark.parametrize("make", [networks.StandardisedKernel, networks.NormalisedKernel])
def test_a_kernel_that_is_computed_keeps_its_batch_norm(
    tmp_path: Path, make: Callable[[], nn.Module]
) -> None:
    network = networks.seeded(make)
    source = opened(network)
    (tmp_path / "gradient.pt2").write_bytes(source.torch_program or b"")
    check_program(tmp_path / "gradient.pt2")
    with torch.no_grad():
        torch.testing.assert_close(
            loaded(source).module()(images(1))[LOGITS], network(images(1)), rtol=0, atol=1e-5
        )


def test_a_regression_may_end_in_a_sigmoid() -> None:
    source = opened(networks.seeded(networks.SigmoidAtTheEnd), output=OutputKind.REGRESSION)
    assert 0 < source.reference(images().numpy()).logits.min() < 1


class Mixing(nn.Module):
    """What it says of an image depends on those beside it."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return (images - images.mean(0)).flatten(1)[:, :5] + images.mean((2, 3)).sum(1)[:, None]


class SortedMeans(nn.Module):
    """Its sort is written in ONNX by a count that inference cannot follow."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 8, 3, stride=4), nn.Linear(8, 5)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.conv(images).flatten(2)
        logits: torch.Tensor = self.head(features.sort(2).values[:, :, -7:].mean(2))
        return logits


def test_shapes_that_only_torch_can_tell_are_kept() -> None:
    source = opened(networks.seeded(SortedMeans))
    forward = build_graphs(source.model, source.taps).forward
    sizes = forward.graph.output[0].type.tensor_type.shape.dim
    assert [size.dim_param or size.dim_value for size in sizes] == ["N", 5]


def test_a_network_that_mixes_the_images_of_a_batch_is_refused() -> None:
    with pytest.raises(ExportError, match="mixes the images of a batch"):
        opened(Mixing())
