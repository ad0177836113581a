"""A torch module as a source: traced, written as ONNX, its taps named by module."""

import hashlib
from collections.abc import Callable, Sequence

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from salience_export.errors import ExportError
from salience_export.graphs.forward import output_names
from salience_export.graphs.head import is_held_above_zero, no_logits_at
from salience_export.source import FloatArray, Reference, SourceModel, SourceTap
from salience_export.sources.torch_calls import (
    check_calls,
    module_of,
    named_calls,
    recorded_calls,
)
from salience_export.sources.torch_gradient import reference_gradient, why_none
from salience_export.sources.torch_network import (
    check_answer,
    check_inputs,
    check_rows,
    inference_copy,
    unwrapped,
)
from salience_export.sources.torch_program import torch_program
from salience_export.sources.torch_taps import chosen_taps, named_taps
from salience_export.sources.torch_trace import quiet, to_onnx
from salience_export.specimens import noise_images
from salience_service.bundle.manifest import InputContract, OutputKind
from salience_service.bundle.tensors import LOGITS


@torch.inference_mode(mode=False)  # the caller may stand in either, and gradients are proved
@torch.enable_grad()
def open_torch(
    module: nn.Module, contract: InputContract, output: OutputKind, taps: Sequence[str] = ()
) -> SourceModel:
    """A classifier written in torch, ready for a bundle; the module itself is left as it is.

    DataParallel and torch.compile around it are taken off. Where autograd fails in its forward,
    there is no torch program, and the `changes` say why.

    Args:
        module: takes float32 [N, C, H, W], puts out logits [N, K].
        contract: what it takes.
        output: what its logits mean.
        taps: modules whose outputs are taps; NAME#0, NAME#1 … for the calls of a module
            that is called more than once. None: chosen from the graph.

    Raises:
        ExportError: several inputs, volumes, an output other than float32 [N, K], probabilities
            instead of logits, rows that change by themselves or with others, a tap
            that is none, or a network torch cannot trace.
    """
    module = unwrapped(module)
    check_inputs(module)
    network = inference_copy(module)
    images = torch.from_numpy(noise_images(contract, 2))
    logits = check_answer(network, images, output)
    check_rows(network, images, logits)
    check_calls(network, images, taps)
    with quiet():
        model = to_onnx(network, images, taps)
    _check_logits(model, output)
    found = named_taps(model, taps) if taps else chosen_taps(model, network, images[:1])
    gradient = reference_gradient(network, [tap.name for tap in found])
    lacking = why_none(gradient, images[:1].numpy(), logits.shape[1])
    with quiet():
        program = None if lacking else torch_program(network, images[:1], _called(network, found))
    return SourceModel(
        model=model,
        taps=found,
        output=output,
        reference=_reference(network, [tap.name for tap in found]),
        kind="torch",
        digest=_weights_digest(network),
        changes=_changes(module) + ((lacking,) if lacking else ()),
        torch_program=program,
        gradient=None if lacking else gradient,
    )


def _check_logits(model: onnx.ModelProto, output: OutputKind) -> None:
    found = no_logits_at(model, LOGITS, output)
    if found:
        raise ExportError(f"the module ends in a {min(found).lower()}; return the logits before it")
    if is_held_above_zero(model, LOGITS, output):
        raise ExportError(
            "the module puts out numbers that are never below 0, as probabilities are; "
            "return the logits before them"
        )


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
