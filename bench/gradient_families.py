"""Gradients of whole networks of every family: ONNX Runtime beside torch, how near and how fast.

Networks of published size (tests/support/families: torchvision's operators, random weights),
written in float32 as the exporter writes them. A difference is ‖Δ‖₂ / ‖exact‖₂ from torch in
float64, the worst of the gradients to the image, to a middle tap and to the last; torch's own is
that of torch in float32. Stated are the median over images and, in brackets, the least. A
rounding that carries a value over a kink (of ReLU, of max-pooling) changes a gradient visibly,
which in a deep network of ReLUs happens to most images, in torch as in ONNX Runtime, by chance:
so a network misses its target only where a Mann–Whitney test over the images says, at 1 %, that
half our differences are larger than torch's. Seconds are those of the logits and the gradient to
one image, the taps' left out: the service's session, opened for one image as it is there, and
torch's autograd on the network channels last, each in a process of its own, with threads as they
come, only one busy at a time, in pairs. `--quick` takes thin networks.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import torch
from scipy.stats import mannwhitneyu
from torch import Tensor, nn

from bench.apart import apart, in_a_fresh_process
from bench.bare import cut_session
from bench.pairs import CONTROL, NOISY, Pairs, in_pairs
from bench.plain_opti_cam import tuned
from bench.report import Figure, Part, Table
from bench.workplace import Workplace
from salience_export.graphs.flow import SHAPE_READERS, Flow
from salience_export.graphs.weights import WEIGHTS, WeightsFile
from salience_service.bundle.tensors import COTANGENT, IMAGES, LOGITS, gradient_of
from salience_service.runtime.session import Device, Execution, Session
from tests.support.families import FAMILIES, Specimen
from tests.support.families.gradients import gradient_graph, torch_gradients, traced

GRAPH = "gradient.onnx"
ONE_IMAGE = {"N": 1}
"""As the service opens its sessions of gradients."""

MOST_TIMES_TORCHS = 2
SURE = 0.01
IMAGE_COUNT, PAIRS = 8, 10
COLUMNS = (
    "network",
    "operators",
    "ours from float64",
    "torch's own",
    "torch s",
    "ONNX Runtime s",
    "torch ÷ ONNX Runtime",
    "control's half spread",
)


@dataclass(frozen=True)
class Accuracy:
    """How far gradients are from float64, and how many kinds of operators they went through.

    Attributes:
        operators: between images and logits.
        ours: by image.
        torchs: by image.
    """

    operators: int
    ours: tuple[float, ...]
    torchs: tuple[float, ...]

    @property
    def in_bounds(self) -> bool:
        """Whether ours are not surely further than the target allows."""
        shares = np.array(self.ours) / MOST_TIMES_TORCHS
        return bool(mannwhitneyu(shares, self.torchs, alternative="greater").pvalue >= SURE)


def measure(place: Workplace) -> Part:
    """A line for each family."""
    found: dict[str, tuple[Accuracy, Mapping[str, Pairs]]] = {}
    for name in FAMILIES:
        with TemporaryDirectory(prefix="salience-bench-") as scratch:
            accuracy = in_a_fresh_process(_accuracy, name, place.quick, Path(scratch))
            found[name] = accuracy, _pairs(name, place, Path(scratch))
    figures = (
        Figure(
            "networks surely further from float64 than twice torch's own",
            sum(not accuracy.in_bounds for accuracy, _ in found.values()),
            f"of {len(found)}",
            "0",
            all(accuracy.in_bounds for accuracy, _ in found.values()),
        ),
        Figure(
            "torch ÷ ONNX Runtime, seconds, median of the families",
            float(np.median([taken["onnx"].speed.median for _, taken in found.values()])),
            "",
        ),
        Figure(
            f"families whose control's half spread is above {NOISY}",
            sum(taken[CONTROL].cost.half_spread > NOISY for _, taken in found.values()),
            f"of {len(found)}",
        ),
    )
    kind = "Thin networks" if place.quick else "Networks of published size"
    rows = tuple(_row(name, *each) for name, each in found.items())
    return Part("gradient_families", __doc__ or "", figures, (Table(kind, COLUMNS, rows),))


def _row(name: str, accuracy: Accuracy, taken: Mapping[str, Pairs]) -> tuple[str, ...]:
    ours = taken["onnx"]
    return (
        name,
        str(accuracy.operators),
        _summary(accuracy.ours),
        _summary(accuracy.torchs),
        f"{np.median(ours.baseline):.3f}",
        f"{np.median(ours.subject):.3f}",
        str(ours.speed),
        f"{taken[CONTROL].cost.half_spread:.3f}",
    )


def _summary(distances: Sequence[float]) -> str:
    return f"{np.median(distances):.1e} ({min(distances):.1e})"


def _pairs(name: str, place: Workplace, scratch: Path) -> dict[str, Pairs]:
    with (
        apart(_by_runtime, name, place.quick, scratch) as onnx_run,
        apart(_by_torch, name, place.quick) as torch_run,
    ):
        return in_pairs({"onnx": onnx_run}, torch_run, min(place.pairs, PAIRS))


def _specimen(name: str, quick: bool) -> Specimen:
    return FAMILIES[name].thin if quick else FAMILIES[name].full


def _questions(network: nn.Module, size: int, count: int) -> tuple[Tensor, Tensor]:
    """Images of noise, and one-hot cotangents of the classes that they are given."""
    generator = torch.Generator().manual_seed(5)
    images = torch.randn(count, 3, size, size, generator=generator)
    with torch.no_grad():
        logits = torch.cat([network(image[None]) for image in images])
    return images, torch.nn.functional.one_hot(logits.argmax(1), logits.shape[1]).float()


def _accuracy(family: str, quick: bool, scratch: Path) -> Accuracy:
    """Exports the network into the directory, and compares one image after the other."""
    specimen, taps = _specimen(family, quick), FAMILIES[family].taps
    network = specimen.network()
    model = traced(network, taps, specimen.size)
    _save(gradient_graph(model), scratch)
    session = Session(scratch / GRAPH, Device(), sizes=ONE_IMAGE)
    double = copy.deepcopy(network).double()
    ours, torchs = [], []
    for image, cotangent in zip(*_questions(network, specimen.size, IMAGE_COUNT), strict=True):
        given = image[None], cotangent[None]
        exact = _gradients(double, taps, given[0].double(), given[1].double())
        own = _gradients(network, taps, *given)
        feeds = {IMAGES: given[0].numpy(), COTANGENT: given[1].numpy()}
        found = session.run(feeds, list(exact), Execution())
        ours.append(max(_distance(*pair) for pair in zip(found, exact.values(), strict=True)))
        torchs.append(max(_distance(own[name], each) for name, each in exact.items()))
    return Accuracy(_operators(model), tuple(ours), tuple(torchs))


def _save(graph: onnx.ModelProto, scratch: Path) -> None:
    """As in a bundle: the weights in a file beside the graph."""
    with (scratch / WEIGHTS).open("wb") as stream:
        onnx.save(WeightsFile(stream).take(graph), scratch / GRAPH)


def _gradients(
    network: nn.Module, taps: Sequence[str], images: Tensor, cotangent: Tensor
) -> dict[str, np.ndarray]:
    found = torch_gradients(network, taps, images, cotangent)
    return {name: each.numpy() for name, each in found.items() if name != LOGITS}


def _distance(found: np.ndarray, exact: np.ndarray) -> float:
    return float(np.linalg.norm(found - exact) / np.linalg.norm(exact))


def _operators(model: onnx.ModelProto) -> int:
    """Kinds of operators between images and logits."""
    flow = Flow(model)
    moving = flow.after([IMAGES]) & flow.before([LOGITS])
    return len(
        {node.op_type for node in flow.nodes if not moving.isdisjoint(node.output)} - SHAPE_READERS
    )


def _by_runtime(name: str, quick: bool, scratch: Path) -> Callable[[], object]:
    specimen = _specimen(name, quick)
    images, cotangent = _questions(specimen.network(), specimen.size, 1)
    outputs = [LOGITS, gradient_of(IMAGES)]
    session = cut_session(scratch / GRAPH, outputs, 1)
    feeds = {IMAGES: images.numpy(), COTANGENT: cotangent.numpy()}
    return lambda: session.run(outputs, feeds)


def _by_torch(name: str, quick: bool) -> Callable[[], object]:
    specimen = _specimen(name, quick)
    network = tuned(specimen.network())
    images, cotangent = _questions(network, specimen.size, 1)
    image = images.contiguous(memory_format=torch.channels_last).requires_grad_()
    return lambda: torch.autograd.grad((cotangent * network(image)).sum(), image)
