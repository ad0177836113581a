"""The graphs of exported bundles against the torch networks they came from, head by head."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import onnxruntime as ort
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from salience_service.bundle.manifest import GraphRole, Tap
from salience_service.bundle.reader import Bundle, read_golden
from tests.conftest import BundleOf
from tests.support import networks

NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "softmax": networks.residual_net,
    "sigmoid": lambda: networks.residual_net(classes=6, channels=1),
    "binary": lambda: networks.residual_net(classes=1),
    "regression": lambda: networks.residual_net(classes=2),
    "grey": lambda: networks.residual_net(channels=1),
    "vgg": networks.vgg_net,
    "smooth": networks.smooth_net,
}

kinds = pytest.mark.parametrize("kind", NETWORKS)


def session(bundle: Bundle, role: GraphRole, tap: str = "") -> ort.InferenceSession:
    graph = bundle.manifest.graph(role, tap)
    assert graph is not None
    return ort.InferenceSession(bundle.path(graph.path), providers=["CPUExecutionProvider"])


def images(bundle: Bundle, count: int) -> Tensor:
    given = bundle.manifest.input
    generator = torch.Generator().manual_seed(11)
    return torch.randn(count, given.channels, given.height, given.width, generator=generator)


def close(actual: NDArray[np.float32], expected: Tensor) -> None:
    """Within 1e-4 of the largest expected value: the limit the issue states."""
    wanted = expected.detach().numpy()
    assert actual.shape == wanted.shape
    assert np.abs(actual - wanted).max() <= 1e-4 * np.abs(wanted).max()


@contextmanager
def outputs_of(network: nn.Module, tap: Tap, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """What the tap's module puts out goes through `change` while the context is open."""
    handle = network.get_submodule(tap.name).register_forward_hook(
        lambda _module, _inputs, output: change(output)
    )
    try:
        yield
    finally:
        handle.remove()


@kinds
@pytest.mark.parametrize("count", [1, 4])
@torch.no_grad()
def test_logits_and_features_equal_torch(bundle_of: BundleOf, kind: str, count: int) -> None:
    bundle, network = bundle_of(kind), NETWORKS[kind]()
    given = images(bundle, count)
    outputs = ["logits", *(tap.output for tap in bundle.manifest.taps)]
    found = session(bundle, GraphRole.FORWARD).run(outputs, {"images": given.numpy()})
    close(found[0], network(given))
    for tap, features in zip(bundle.manifest.taps, found[1:], strict=True):
        seen: list[Tensor] = []
        with outputs_of(network, tap, lambda output, seen=seen: seen.append(output.clone())):
            network(given)
        close(features, seen[0])
        assert features.shape[1:] == (tap.channels, tap.height, tap.width)


@kinds
@torch.no_grad()
def test_masked_rows_equal_images_composed_in_torch(bundle_of: BundleOf, kind: str) -> None:
    bundle, network = bundle_of(kind), NETWORKS[kind]()
    given, fills = images(bundle, 2), images(bundle, 4)[2:]
    size = given.shape[2:]
    maps = torch.rand(5, 7, 6, generator=torch.Generator().manual_seed(3))
    maps[4] = 0.3
    image_of = torch.tensor([0, 1, 1, 0, 1])
    normalise = torch.tensor([True, True, False, False, True])
    scale = torch.tensor([1.0, -1.0, 1.0, -0.5, 1.0])
    shift = torch.tensor([0.0, 1.0, 0.0, 1.0, 0.25])

    up = functional.interpolate(maps[:, None], size, mode="bilinear", align_corners=False)
    low, high = up.amin((2, 3), True), up.amax((2, 3), True)
    unit = torch.where(high - low > 1e-3, (up - low) / (high - low).clamp_min(1e-3), 0 * up)
    chosen = torch.where(normalise[:, None, None, None], unit, up)
    mask = scale[:, None, None, None] * chosen + shift[:, None, None, None]
    rows = fills[image_of] + mask * (given - fills)[image_of]

    feeds = {
        "differences": (given - fills).numpy(),
        "fills": fills.numpy(),
        "image_of": image_of.numpy(),
        "maps": maps.numpy(),
        "rows": _upsampling(size[0], 7),
        "columns": _upsampling(size[1], 6),
        "normalise": normalise.numpy(),
        "scale": scale.numpy(),
        "shift": shift.numpy(),
    }
    close(session(bundle, GraphRole.MASKED).run(["logits"], feeds)[0], network(rows))


def _upsampling(out_size: int, in_size: int) -> NDArray[np.float32]:
    """The matrix of torch's own bilinear interpolation, read off unit vectors."""
    units = torch.eye(in_size)[:, None]
    return (
        functional.interpolate(units, out_size, mode="linear", align_corners=False)[:, 0]
        .T.numpy()
        .copy()
    )


@pytest.mark.parametrize("kind", ["softmax", "binary", "vgg"])
@torch.no_grad()
def test_tails_equal_torch_with_channels_dropped(bundle_of: BundleOf, kind: str) -> None:
    bundle, network = bundle_of(kind), NETWORKS[kind]()
    given, image_of = images(bundle, 2), torch.tensor([0, 1, 1])
    for tap in bundle.manifest.taps:
        keep = torch.rand(3, tap.channels, generator=torch.Generator().manual_seed(1)).round()
        with outputs_of(network, tap, lambda output, keep=keep: output * keep[..., None, None]):
            expected = network(given[image_of])
        graph = bundle.manifest.graph(GraphRole.TAIL, tap.name)
        assert graph is not None
        names = [tap.output, *graph.live]
        clean = session(bundle, GraphRole.FORWARD).run(names, {"images": given.numpy()})
        feeds = {"tap": clean[0], "image_of": image_of.numpy(), "keep": keep.numpy()}
        feeds |= dict(zip(graph.live, clean[1:], strict=True))
        close(session(bundle, GraphRole.TAIL, tap.name).run(["logits"], feeds)[0], expected)


@kinds
@torch.no_grad()
def test_the_golden_example_is_what_torch_answers(bundle_of: BundleOf, kind: str) -> None:
    bundle, network = bundle_of(kind), NETWORKS[kind]()
    golden = read_golden(bundle)
    close(golden.logits, network(torch.from_numpy(golden.image)))
    assert golden.image.std() > 0.1
    flat = golden.normalise & (np.ptp(golden.maps, axis=(1, 2)) == 0)
    assert flat.sum() == 1
    close(golden.masked_logits[flat], network(torch.zeros(golden.image.shape)))
