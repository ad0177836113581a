"""What tests of gradient methods share: targets, their values in torch, tails, methods by name."""

import numpy as np
import torch

from salience_service.bundle.manifest import OutputKind
from salience_service.methods import METHODS
from salience_service.targets.target import Target, TargetKind
from tests.support.answering import Heard, Pyramid, Scene, class_target, hear, pyramid

CLASS = 2
SCENE = Scene.of(pyramid()).double()
TAPS = ("coarse", "middle", "fine")
SIZE = (54, 42)
TARGETS = [
    class_target(CLASS),
    Target("not:2", TargetKind.ABSENT, CLASS, OutputKind.SOFTMAX),
    Target("2-4", TargetKind.DIFFERENCE, CLASS, OutputKind.SOFTMAX, 4),
]


def value_of(target: Target):
    """The target's value of logits [C], as torch computes it."""
    if target.kind is TargetKind.ABSENT:
        return lambda logits: -logits[target.index]
    if target.against is not None:
        return lambda logits: logits[target.index] - logits[target.against]
    return lambda logits: logits[target.index]


def tail_of(network: Pyramid, tap: str):
    """The network from a tap on."""
    return lambda features: network.after(tap, features)


def explained(
    method: str,
    *taps: str,
    target: Target = TARGETS[0],
    scene: Scene = SCENE,
    **options: bool | str | float,
) -> Heard:
    """What a method of this name says, on taps given coarse to fine."""
    named = METHODS[method]
    return hear(named.run(scene.base(target, *taps), named.options(**options)), scene, target)


def noises(sigma: float, seed: int, count: int) -> list[torch.Tensor]:
    """Gaussian noise [3, 54, 42] of each sample, float64, drawn from the seed and its number."""
    drawn = [
        np.random.default_rng((seed, n)).standard_normal((3, *SIZE), np.float32)
        for n in range(count)
    ]
    return [sigma * torch.from_numpy(each).double() for each in drawn]
