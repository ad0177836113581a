"""A network's gradients, by torch's autograd and as the exporter's graph."""

import copy
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack

import onnx
import torch
from torch import Tensor, nn

from salience_export.graphs.batch import settle_shapes
from salience_export.graphs.forward import output_names
from salience_export.graphs.gradient import build_gradient
from salience_export.source import SourceTap
from salience_export.sources.torch_trace import output_of, quiet, to_onnx
from salience_service.bundle.tensors import IMAGES, LOGITS, gradient_of
from tests.support.families.layers import float32


def torch_gradients(
    network: nn.Module, taps: Sequence[str], images: Tensor, cotangent: Tensor
) -> Mapping[str, Tensor]:
    """The logits and d Σ (cotangent · logits) to images and taps, by autograd.

    Args:
        network: in eval mode.
        taps: modules, each called once.
        images: [N, 3, H, W] of the network's element type.
        cotangent: [N, K].

    Returns:
        Under the names of the gradient graph's outputs.
    """
    start = images.detach().clone().requires_grad_()
    ends = {gradient_of(IMAGES): start}
    with ExitStack() as hooks:
        for number, tap in enumerate(taps):
            record = _recorder(ends, gradient_of(output_of(number)))
            hooks.enter_context(network.get_submodule(tap).register_forward_hook(record))
        logits = network(start)
    gradients = torch.autograd.grad((cotangent * logits).sum(), list(ends.values()))
    return {LOGITS: logits.detach(), **dict(zip(ends, gradients, strict=True))}


def _recorder(ends: dict[str, Tensor], name: str) -> Callable[[nn.Module, object, Tensor], Tensor]:
    """Notes what a module puts out, and hands on a copy: what is done in place behind it is
    no part of the tap."""

    def record(_module: nn.Module, _given: object, output: Tensor) -> Tensor:
        ends[name] = output
        return output.clone()

    return record


def doubled(network: nn.Module) -> nn.Module:
    """A float64 copy that means the same to the last bit that ONNX can hold."""
    result = copy.deepcopy(network).double()
    for parent in list(result.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.Hardsigmoid):
                setattr(parent, name, _FLOAT32_SLOPE)
    return result


class _HardSigmoid(nn.Module):
    """Hard sigmoid of the slope that ONNX holds, the float32 nearest 1/6."""

    def forward(self, x: Tensor) -> Tensor:
        return (float32(1 / 6) * x + 0.5).clamp(0, 1)


_FLOAT32_SLOPE = _HardSigmoid()


def traced(network: nn.Module, taps: Sequence[str], size: int) -> onnx.ModelProto:
    """The network as the exporter traces it, in its own element type.

    Args:
        network: in eval mode.
        taps: modules, each called once; their outputs may lie channels last, which the taps of
            a bundle may not.
        size: height and width of the images.

    Returns:
        `images` → `logits`, then one output a tap.
    """
    images = torch.zeros(2, 3, size, size, dtype=next(network.parameters()).dtype)
    with quiet():
        return settle_shapes(to_onnx(network, images, taps))


def gradient_graph(model: onnx.ModelProto) -> onnx.ModelProto:
    """The exporter's gradient graph of a traced network; `d_tap_0`, … are its taps' gradients."""
    taps = [_tap(model, output.name) for output in model.graph.output if output.name != LOGITS]
    return build_gradient(model, taps, output_names(taps, ()))


def _tap(model: onnx.ModelProto, output: str) -> SourceTap:
    """The tap behind an output; nothing here reads its sizes."""
    makers = {name: node for node in model.graph.node for name in node.output}
    tensor = output
    while makers[tensor].op_type == "Identity":
        tensor = makers[tensor].input[0]
    return SourceTap(output, tensor, channels=1, height=1, width=1)
