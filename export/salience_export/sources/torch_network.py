"""The network of a torch module: unwrapped, copied for inference, and tried on images."""

import copy
import inspect

import torch
from torch import Tensor, nn
from torch._dynamo import OptimizedModule

from salience_export.errors import ExportError
from salience_service.bundle.manifest import OutputKind
from salience_service.drift import relative_difference

_PARALLEL = (nn.DataParallel, nn.parallel.DistributedDataParallel)
_VOLUMES = (nn.Conv3d, nn.ConvTranspose3d, nn.BatchNorm3d, nn.MaxPool3d, nn.AvgPool3d)
_LIMIT = 1e-4
"""Between logits of the same image, drawn again or beside another, relative to the greatest."""


def unwrapped(module: nn.Module) -> nn.Module:
    """The module that DataParallel and torch.compile run, whose names its author knows."""
    while isinstance(module, (*_PARALLEL, OptimizedModule)):
        module = module._orig_mod if isinstance(module, OptimizedModule) else module.module
    return module


def check_inputs(module: nn.Module) -> None:
    """Refuses what cannot be called with one tensor of 2-D images.

    Raises:
        ExportError: TorchScript, inputs besides the images, images by name alone, volumes.
    """
    if isinstance(module, torch.jit.ScriptModule):
        raise ExportError("a TorchScript module cannot be traced: give the module it was made from")
    signature = inspect.signature(module.forward)
    try:
        signature.bind("images")
    except TypeError as error:
        needed = [
            f"{each.name}=" if each.kind is each.KEYWORD_ONLY else each.name
            for each in signature.parameters.values()
            if each.default is each.empty
            and each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
        ]
        raise ExportError(
            f"the module takes {len(needed)} inputs ({', '.join(needed)}); only networks of one "
            "image tensor are served: wrap it in a module whose forward takes the images alone, "
            "not by name"
        ) from error
    for name, part in module.named_modules():
        if isinstance(part, _VOLUMES):
            raise ExportError(
                f"module {name!r} is a {type(part).__name__}: 3-D volumes are not served, "
                "only 2-D images"
            )


def inference_copy(module: nn.Module) -> nn.Module:
    """A copy in eval mode, float32, on the CPU, without parameter gradients.

    What a forward left in the modules, as weight_norm leaves its weight, is copied without its
    gradient.

    Raises:
        ExportError: the module holds what cannot be copied.
    """
    left = (value for part in module.modules() for value in vars(part).values())
    computed = (value for value in left if isinstance(value, Tensor) and not value.is_leaf)
    copies: dict[int, object] = {id(value): value.detach().clone() for value in computed}
    try:
        network = copy.deepcopy(module, copies)
        return network.eval().cpu().float().requires_grad_(False)
    except Exception as error:  # whatever the parts of the user's own module raise
        raise ExportError(
            f"the module cannot be copied ({error}): take out of it what is no weight, such as "
            "locks, generators, open files and tensors with pending gradients"
        ) from error


@torch.no_grad()
def check_answer(network: nn.Module, images: Tensor, output: OutputKind) -> Tensor:
    """The logits [N, K] of images, float32 [N, C, H, W].

    Raises:
        ExportError: the network fails, changes the images, or puts out something else.
    """
    given = images.clone()
    try:
        logits = network(given)
    except Exception as error:  # whatever the user's own code raises
        raise ExportError(f"the module fails on images {list(images.shape)}: {error}") from error
    if not isinstance(logits, Tensor):
        raise ExportError(
            f"the module puts out a {type(logits).__name__}; "
            "wrap it so that it returns the logits [N, K] alone"
        )
    if logits.ndim != 2 or len(logits) != len(images):
        raise ExportError(
            f"the module puts out {list(logits.shape)} for {len(images)} images; "
            "return logits [N, K]"
        )
    _check_numbers(logits, output)
    if not torch.equal(given, images):
        raise ExportError(
            "the module changes its input in place: change a copy, x = x.clone(), in its forward"
        )
    return logits


def _check_numbers(logits: Tensor, output: OutputKind) -> None:
    if logits.dtype != torch.float32:
        kind = str(logits.dtype).removeprefix("torch.")
        raise ExportError(f"the module puts out {kind}; return the logits in float32")
    if not bool(logits.isfinite().all()):
        raise ExportError(
            "the module puts out NaN or infinity for images of noise: look at its weights, and at "
            "mean, std and white of the contract"
        )
    sums = logits.sum(1)
    if (
        output is OutputKind.SOFTMAX
        and logits.shape[1] > 1
        and bool((logits >= 0).all())
        and torch.allclose(sums, torch.ones_like(sums), atol=1e-4)
    ):
        raise ExportError("the module ends in a softmax; return the logits before it")


@torch.no_grad()
def check_rows(network: nn.Module, images: Tensor, logits: Tensor) -> None:
    """Images are masked rows of many callers when it is served: none may know of another.

    Args:
        network: in eval mode.
        images: float32 [N, C, H, W].
        logits: of `check_answer`.

    Raises:
        ExportError: the same images give other logits, or one gives others alone.
    """
    drawn = relative_difference(network(images).numpy(), logits.numpy())
    if not drawn <= _LIMIT:
        raise ExportError(
            f"the module gives the same images other numbers the second time ({drawn:.1e} "
            "relative): it draws at random, or counts its calls; turn that off in eval mode, as "
            "in F.dropout(x, p, self.training)"
        )
    try:
        singles = torch.cat([network(image[None]) for image in images])
    except Exception as error:  # whatever the user's own code raises
        raise ExportError(f"the module fails on one image alone: {error}") from error
    difference = relative_difference(logits.numpy(), singles.numpy())
    if not difference <= _LIMIT:
        raise ExportError(
            f"the module gives two images at once other numbers than one by one ({difference:.1e} "
            "relative): it mixes the images of a batch (statistics of the batch?), and cannot be "
            "served"
        )
