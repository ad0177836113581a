"""Plays the engine for a method: answers its probes from a torch network, in torch's own way."""

from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from salience_service.bundle.manifest import OutputKind
from salience_service.methods.probe import (
    Base,
    ChannelRows,
    GradientAnswer,
    Gradients,
    MapGradient,
    MapGradientAnswer,
    Partial,
    PixelRows,
    RowAnswers,
    RowProbe,
    Rows,
    Series,
)
from salience_service.targets.target import Target, TargetKind
from tests.oracle.guided_backprop import GuidedReLU
from tests.support.networks import seeded


class Pyramid(nn.Module):
    """Taps of 27×21, 13×10 and 7×5 of a 54×42 image: no ratio is whole. Logits [N, 6]."""

    def __init__(self, activation: nn.Module | None = None) -> None:
        super().__init__()
        self.act = activation or nn.ReLU()
        self.fine = nn.Conv2d(3, 5, 3, 2, 1)
        self.pool = nn.MaxPool2d(3, 2)
        self.middle = nn.Conv2d(5, 7, 3, 1, 1)
        self.coarse = nn.Conv2d(7, 9, 3, 2, 1)
        self.head = nn.Linear(9 * 35, 6)
        with torch.no_grad():
            for layer in (self.fine, self.middle, self.coarse, self.head):
                layer.weight.mul_(3)

    def taps(self, images: Tensor) -> dict[str, Tensor]:
        """Features by tap, fine to coarse."""
        fine = self.act(self.fine(images))
        middle = self.act(self.middle(self.pool(fine)))
        return {"fine": fine, "middle": middle, "coarse": self.act(self.coarse(middle))}

    def after(self, tap: str, features: Tensor) -> Tensor:
        """Logits [N, 6] of features that stand for those of a tap."""
        if tap == "fine":
            return self.after("middle", self.act(self.middle(self.pool(features))))
        if tap == "middle":
            return self.after("coarse", self.act(self.coarse(features)))
        return self.head(features.flatten(1))

    def forward(self, images: Tensor) -> Tensor:
        return self.after("coarse", self.taps(images)["coarse"])


def pyramid(activation: nn.Module | None = None, seed: int = 0) -> Pyramid:
    """A pyramid with weights from the seed."""
    network = seeded(lambda: Pyramid(activation), seed)
    assert isinstance(network, Pyramid)
    return network


def with_another_head(network: Pyramid, seed: int = 1) -> Pyramid:
    """The same network with its last layer drawn anew."""
    other = pyramid(network.act)
    other.load_state_dict(network.state_dict())
    other.head.load_state_dict(pyramid(seed=seed).head.state_dict())
    return other


def guided(network: Pyramid) -> Pyramid:
    """The same network of the same numbers, its activations guided ReLUs."""
    twin = pyramid(GuidedReLU()).to(network.head.weight.dtype)
    twin.load_state_dict(network.state_dict())
    return twin


def class_target(index: int, output: OutputKind = OutputKind.SOFTMAX) -> Target:
    return Target(str(index), TargetKind.CLASS, index, output)


@dataclass
class Scene:
    """A network, an image [3, H, W] and a fill of the same shape."""

    network: Pyramid
    image: Tensor
    fill: Tensor

    @classmethod
    def of(cls, network: Pyramid, seed: int = 7) -> "Scene":
        """A smooth random image over a grey fill."""
        noise = torch.randn(1, 3, 6, 5, generator=torch.Generator().manual_seed(seed))
        image = 2 * F.interpolate(noise, size=(54, 42), mode="bicubic")[0]
        return cls(network, image, torch.full_like(image, 0.1))

    def double(self) -> "Scene":
        """The same in float64, for oracles; the network is copied."""
        copy = pyramid(self.network.act)
        copy.load_state_dict(self.network.state_dict())
        return Scene(copy.double(), self.image.double(), self.fill.double())

    @torch.no_grad()
    def features(self, tap: str) -> Tensor:
        return self.network.taps(self.image[None])[tap][0]

    @torch.no_grad()
    def base(self, target: Target, *taps: str) -> Base:
        """The clean run as a method sees it, always float32."""
        logits = self.network(self.image[None])[0]
        return Base(
            {tap: self.features(tap).float().numpy() for tap in taps},
            logits.float().numpy(),
            target,
            self.image.float().numpy(),
            self.fill.float().numpy(),
        )


@dataclass
class Heard:
    """What a method said until its outcome."""

    outcome: object = None
    partials: list[Partial] = field(default_factory=list)
    previews: list[list[Partial]] = field(default_factory=list)
    rows: int = 0
    gradients: int = 0
    values: list[float] = field(default_factory=list)
    probes: list[RowProbe | MapGradient | Gradients] = field(default_factory=list)


def hear(run, scene: Scene, target: Target) -> Heard:
    """Drives a method to its end. Previews are drawn after every row."""
    heard = Heard()
    answer = None
    try:
        while True:
            probe = run.send(answer)
            if isinstance(probe, Partial):
                heard.partials.append(probe)
                answer = None
                continue
            heard.probes.append(probe)
            if isinstance(probe, RowProbe):
                answer, previews = row_answers(probe, scene)
                heard.rows += len(answer.logits)
                heard.previews.append(previews)
            else:
                answer = _gradient_answer(probe, scene, target)
                heard.gradients += 1
                heard.values.append(answer.value)
    except StopIteration as end:
        heard.outcome = end.value
        return heard


def masks_of(heard: Heard) -> Series:
    """The masks at pixel size that a method asked for, all at once."""
    (probe,) = heard.probes
    assert isinstance(probe, PixelRows)
    return probe.masks


def _unit_masks(maps: Tensor, scene: Scene, normalise: bool) -> Tensor:
    up = F.interpolate(
        maps[:, None], size=scene.image.shape[1:], mode="bilinear", align_corners=False
    )
    if not normalise:
        return up
    low, high = up.amin((2, 3), keepdim=True), up.amax((2, 3), keepdim=True)
    flat = high - low <= 1e-6 * torch.maximum(low.abs(), high.abs())
    return torch.where(flat, 0.0, (up - low) / torch.where(flat, 1.0, high - low))


PART = 3
"""Rows of a part: few, so that most probes come in several, the last not full."""


def row_answers(probe: RowProbe, scene: Scene) -> tuple[RowAnswers, list[Partial]]:
    """All logits, and a preview after every row; masks are cut part by part."""
    series = _series(probe)
    logits, previews = np.empty((0, 6), np.float32), []
    for start in range(0, series.shape[0], PART):
        masks = np.array(series[start : min(start + PART, series.shape[0])])
        found = _logits(probe, torch.from_numpy(masks).to(scene.image.dtype), scene)
        logits = np.concatenate([logits, found])
        if probe.preview:
            done = range(start + 1, start + len(masks) + 1)
            previews += [probe.preview(logits[:n]) for n in done]
    return RowAnswers(logits), previews


def _series(probe: RowProbe) -> Series:
    match probe:
        case Rows(maps=series) | PixelRows(masks=series) | ChannelRows(kept=series):
            return series
    raise TypeError(f"no rows: {type(probe).__name__}")


@torch.no_grad()
def _logits(probe: RowProbe, masks: Tensor, scene: Scene) -> np.ndarray:
    if isinstance(probe, ChannelRows):
        features = scene.features(probe.tap)
        if probe.features is not None:
            features = torch.from_numpy(probe.features.copy()).to(scene.image.dtype)
        found = scene.network.after(probe.tap, masks[:, :, None, None] * features)
    else:
        if isinstance(probe, Rows):
            unit = _unit_masks(masks, scene, probe.normalise)
            masks = (probe.scale * unit + probe.shift)[:, 0]
        found = scene.network(scene.fill + masks[:, None] * (scene.image - scene.fill))
    return found.float().numpy()


def _gradient_answer(
    probe: MapGradient | Gradients, scene: Scene, target: Target
) -> MapGradientAnswer | GradientAnswer:
    if isinstance(probe, Gradients):
        return _gradients_answer(probe, scene, target)
    image_map = torch.from_numpy(probe.map.copy()).to(scene.image.dtype).requires_grad_()
    mask = probe.scale * _unit_masks(image_map[None], scene, probe.normalise)[0] + probe.shift
    logits = scene.network((scene.fill + mask * (scene.image - scene.fill))[None])[0]
    cotangent = torch.from_numpy(target.cotangent(len(logits))).to(logits.dtype)
    (gradient,) = torch.autograd.grad((logits * cotangent).sum(), image_map)
    value = float(target.value(logits.detach().numpy()))
    return MapGradientAnswer(value, gradient.float().numpy())


def _gradients_answer(probe: Gradients, scene: Scene, target: Target) -> GradientAnswer:
    image = torch.from_numpy(probe.image.copy()).to(scene.image.dtype).requires_grad_()
    network = guided(scene.network) if probe.guided else scene.network
    features = network.taps(image[None])
    logits = network.head(features["coarse"].flatten(1))[0]
    cotangent = torch.from_numpy(target.cotangent(len(logits))).to(logits.dtype)
    ends = [image, *(features[tap] for tap in probe.taps)]
    own, *others = torch.autograd.grad((logits * cotangent).sum(), ends)
    return GradientAnswer(
        float(target.value(logits.detach().numpy())),
        own.float().numpy() if probe.of_image else None,
        {tap: each[0].float().numpy() for tap, each in zip(probe.taps, others, strict=True)},
    )
