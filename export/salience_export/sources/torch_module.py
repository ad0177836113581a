"""A torch module as a source: traced, written as ONNX, its taps named by module."""

import copy
import hashlib
import inspect
from collections.abc import Callable, Sequence

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from salience_export.errors import ExportError
from salience_export.graphs.forward import output_names
from salience_export.graphs.head import no_logits_at
from salience_export.source import LOGITS, FloatArray, Reference, SourceModel, SourceTap
from salience_export.sources.torch_calls import (
    check_calls,
    module_of,
    named_calls,
    recorded_calls,
)
from salience_export.sources.torch_gradient import reference_gradient
from salience_export.sources.torch_program import torch_program
from salience_export.sources.torch_taps import chosen_taps, named_taps
from salience_export.sources.torch_trace import quiet, to_onnx
from salience_export.specimens import noise_images
from salience_service.bundle.manifest import InputContract, OutputKind
from salience_service.drift import relative_difference

_VOLUMES = (nn.Conv3d, nn.ConvTranspose3d, nn.BatchNorm3d, nn.MaxPool3d, nn.AvgPool3d)
_BATCH_LIMIT = 1e-4
"""Between the logits of an image alone and beside another, relative to the greatest."""


@torch.inference_mode(mode=False)  # the caller may stand in either, and gradients are proved
@torch.enable_grad()
def open_torch(
    module: nn.Module, contract: InputContract, output: OutputKind, taps: Sequence[str] = ()
) -> SourceModel:
    """A classifier written in torch, ready for a bundle; the module itself is left as it is.

    Args:
        module: takes float32 [N, C, H, W], puts out logits [N, K].
        contract: what it takes.
        output: what its logits mean.
        taps: modules whose outputs are taps; NAME#0, NAME#1 … for the calls of a module
            that is called more than once. None: chosen from the graph.

    Raises:
        ExportError: several inputs, volumes, an output other than [N, K], probabilities
            instead of logits, a tap that is none, or a network torch cannot trace.
    """
    _check_inputs(module)
    network = _inference_copy(module)
    images = torch.from_numpy(noise_images(contract, 2))
    _check_answer(network, images, output)
    _check_batch(network, images)
    check_calls(network, images, taps)
    with quiet():
        model = to_onnx(network, images, taps)
    _check_logits(model, output)
    found = named_taps(model, taps) if taps else chosen_taps(model, network, images[:1])
    with quiet():
        program = torch_program(network, images[:1], _called(network, found))
    return SourceModel(
        model=model,
        taps=found,
        output=output,
        reference=_reference(network, [tap.name for tap in found]),
        kind="torch",
        digest=_weights_digest(network),
        changes=_changes(module),
        torch_program=program,
        gradient=reference_gradient(network, [tap.name for tap in found]),
    )


def _check_inputs(module: nn.Module) -> None:
    if isinstance(module, torch.jit.ScriptModule):
        raise ExportError("a TorchScript module cannot be traced: give the module it was made from")
    needed = [
        parameter.name
        for parameter in inspect.signature(module.forward).parameters.values()
        if parameter.default is parameter.empty
        and parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ]
    if len(needed) != 1:
        raise ExportError(
            f"the module takes {len(needed)} inputs ({', '.join(needed)}); "
            "only networks of one image tensor are served"
        )
    for name, part in module.named_modules():
        if isinstance(part, _VOLUMES):
            raise ExportError(
                f"module {name!r} is a {type(part).__name__}: 3-D volumes are not served, "
                "only 2-D images"
            )


def _inference_copy(module: nn.Module) -> nn.Module:
    """A copy in eval mode, float32, on the CPU, without parameter gradients."""
    try:
        return copy.deepcopy(module).eval().cpu().float().requires_grad_(False)
    except RuntimeError as error:
        raise ExportError(
            "the module cannot be copied: give one without pending gradients"
        ) from error


@torch.no_grad()
def _check_answer(network: nn.Module, images: Tensor, output: OutputKind) -> None:
    try:
        logits = network(images)
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
    sums = logits.sum(1)
    if (
        output is OutputKind.SOFTMAX
        and logits.shape[1] > 1
        and bool((logits >= 0).all())
        and torch.allclose(sums, torch.ones_like(sums), atol=1e-4)
    ):
        raise ExportError("the module ends in a softmax; return the logits before it")


@torch.no_grad()
def _check_batch(network: nn.Module, images: Tensor) -> None:
    """Images are masked rows of many callers when it is served: none may know of another."""
    try:
        singles = torch.cat([network(image[None]) for image in images])
    except Exception as error:  # whatever the user's own code raises
        raise ExportError(f"the module fails on one image alone: {error}") from error
    difference = relative_difference(network(images).numpy(), singles.numpy())
    if not difference <= _BATCH_LIMIT:
        raise ExportError(
            f"the module gives two images at once other numbers than one by one ({difference:.1e} "
            "relative): it mixes the images of a batch (statistics of the batch?), and cannot be "
            "served"
        )


def _check_logits(model: onnx.ModelProto, output: OutputKind) -> None:
    found = no_logits_at(model, LOGITS, output)
    if found:
        raise ExportError(f"the module ends in a {min(found).lower()}; return the logits before it")


def _called(network: nn.Module, taps: Sequence[SourceTap]) -> dict[str, str]:
    """Per output of the forward graph, the call behind it; taps that no module puts out have none.

    Several taps may be one tensor; the graph has one output of it.
    """
    modules = {name for name, _ in network.named_modules(remove_duplicate=False) if name}
    outputs = output_names(taps, ())
    found = ((outputs[tap.tensor], tap.name) for tap in taps if module_of(tap.name) in modules)
    return dict(found)


def _reference(network: nn.Module, taps: Sequence[str]) -> Callable[[FloatArray], Reference]:
    """The network itself, run eagerly, with what its modules put out."""
    modules = {name for name, _ in network.named_modules(remove_duplicate=False) if name}
    names = sorted({module_of(tap) for tap in taps} & modules)

    @torch.no_grad()
    def run(images: FloatArray) -> Reference:
        with recorded_calls(network, names) as outputs:
            logits = network(torch.from_numpy(images))
        features = {
            call: output.numpy()
            for call, output in named_calls(outputs).items()
            if call in taps and isinstance(output, Tensor)
        }
        return Reference(logits.numpy(), features)

    return run


def _weights_digest(network: nn.Module) -> str:
    """SHA-256 over name, type, shape and bytes of every weight, in order of their names."""
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        array = value.numpy()
        digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _changes(module: nn.Module) -> tuple[str, ...]:
    changes = ["BatchNorms folded into convolutions"] if _has_batch_norm(module) else []
    types = {parameter.dtype for parameter in module.parameters()} - {torch.float32}
    changes += [f"weights converted from {kind} to float32" for kind in sorted(map(str, types))]
    return tuple(changes)


def _has_batch_norm(module: nn.Module) -> bool:
    return any(isinstance(part, nn.BatchNorm2d) for part in module.modules())
