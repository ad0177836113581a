"""The source's own word on its gradients: torch's autograd, to the images and to every tap."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from salience_export.source import FloatArray, ReferenceGradient
from salience_export.sources.torch_calls import module_of, named_calls, passing_copies_on

OwnGradient = Callable[[FloatArray, FloatArray], ReferenceGradient]


def reference_gradient(network: nn.Module, taps: Sequence[str]) -> OwnGradient:
    """The gradients of the network itself, run eagerly.

    Args:
        network: in eval mode, without parameter gradients.
        taps: calls of modules; those that are no calls of a module are left out.
    """
    modules = {name for name, _ in network.named_modules(remove_duplicate=False) if name}
    names = sorted({module_of(tap) for tap in taps} & modules)

    @torch.inference_mode(mode=False)
    @torch.enable_grad()
    def run(images: FloatArray, cotangents: FloatArray) -> ReferenceGradient:
        leaf = torch.tensor(images, requires_grad=True)
        with passing_copies_on(network, names) as outputs:
            logits = network(leaf)
        kept = {
            call: output
            for call, output in named_calls(outputs).items()
            if call in taps and isinstance(output, Tensor)
        }
        found = torch.autograd.grad(logits, [leaf, *kept.values()], torch.tensor(cotangents))
        to_images, *to_features = (each.numpy() for each in found)
        return ReferenceGradient(to_images, dict(zip(kept, to_features, strict=True)))

    return run


def why_none(gradient: OwnGradient, images: FloatArray, classes: int) -> str:
    """Why there is no torch program of a network, in words; empty where autograd goes through it.

    Args:
        gradient: of `reference_gradient`.
        images: to try it on.
        classes: K of its logits [N, K].
    """
    try:
        gradient(images, np.ones((len(images), classes), np.float32))
    except RuntimeError as error:
        return (
            f"no torch program for gradients: {str(error).partition(':')[0]}; no_grad, "
            "inference_mode, detach and changes in place in a forward do that"
        )
    return ""
