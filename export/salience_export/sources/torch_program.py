"""The torch program of a bundle: image in, logits out, for gradients; no pickle in it.

A `.pt2` archive of torch.export with the batch fixed to one: the gradient fallback
answers one image a call. BatchNorms are folded into their convolutions (forward and
backward of EfficientNet-Lite0 on two cores: 60 ms before, 47 ms after).
"""

import io
import json
import zipfile

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.fx import Graph, GraphModule, Node

from salience_export.errors import ExportError

SAME_LOGITS = 1e-4
"""Largest difference allowed of the program's logits, relative to the largest logit."""

SAME_GRADIENT = 1e-3
"""Largest norm of the gradient's difference, relative to the gradient's norm. Looser: a
ReLU within rounding of its kink may fall to the other side once BatchNorm is folded."""

_ATEN = torch.ops.aten
_EPOCH = (1980, 1, 1, 0, 0, 0)
_MODEL = "/models/model.json"
_SAMPLE_INPUTS = "/data/sample_inputs/model.pt"
_SERIAL = "/.data/serialization_id"


def torch_program(network: nn.Module, image: Tensor) -> bytes:
    """The archive for `network` (in eval mode), proved on `image`, float32 [1, C, H, W].

    Raises:
        ExportError: the archive, loaded again, does not answer as the network does.
    """
    program = torch.export.export(network, (image,))
    folded = fold_batch_norms(program.module(check_guards=False))
    archive = _archive(torch.export.export(folded, (image,)))
    _check_same(network, torch.export.load(io.BytesIO(archive)).module(), image)
    return archive


def fold_batch_norms(module: GraphModule) -> GraphModule:
    """Folds each BatchNorm whose input is a convolution's only use into that convolution.

    Weights are folded in float64 and rounded once.
    """
    graph: Graph = module.graph
    for node in list(graph.nodes):
        if node.target is _ATEN.batch_norm.default and _follows_convolution(node):
            _fold(module, node)
    graph.eliminate_dead_code()
    module.recompile()
    module.delete_all_unused_submodules()
    return module


def _follows_convolution(norm: Node) -> bool:
    source = norm.args[0]
    return (
        isinstance(source, Node)
        and source.target is _ATEN.conv2d.default
        and len(source.users) == 1
        and all(isinstance(value, Node) for value in norm.args[1:5])
    )


def _fold(module: GraphModule, norm: Node) -> None:
    """y = γ (Wx + b − μ) / √(σ² + ε) + β as one convolution."""
    convolution = norm.args[0]
    assert isinstance(convolution, Node)
    arguments = list(convolution.args)
    weight, bias = arguments[1], arguments[2] if len(arguments) > 2 else None
    gamma, beta, mean, variance = (_value(module, each) for each in norm.args[1:5])
    scale = gamma / torch.sqrt(variance + float(norm.args[7]))  # type: ignore[arg-type]
    shift = -mean if bias is None else _value(module, bias) - mean
    values = (_value(module, weight) * scale[:, None, None, None], beta + shift * scale)
    with module.graph.inserting_before(convolution):
        folded = [_constant(module, convolution, value) for value in values]
    convolution.args = (arguments[0], *folded, *arguments[3:])
    norm.replace_all_uses_with(convolution)
    module.graph.erase_node(norm)


def _value(module: GraphModule, node: object) -> Tensor:
    """The parameter or buffer a graph node reads, in float64."""
    assert isinstance(node, Node)
    value: object = module
    for part in str(node.target).split("."):
        value = getattr(value, part)
    assert isinstance(value, Tensor)
    return value.detach().double()


def _constant(module: GraphModule, convolution: Node, value: Tensor) -> Node:
    name = f"folded_{convolution.name}_{'weight' if value.ndim > 1 else 'bias'}"
    module.register_buffer(name, value.float())
    return module.graph.get_attr(name)


def _archive(program: ExportedProgram) -> bytes:
    """The program's archive, without what would run, tell of this machine, or differ next time.

    The sample inputs, the one pickle, become an empty entry, since torch asks for one;
    the nodes' notes (stack traces, addresses) and the random serial go; dates are fixed.
    """
    buffer, stripped = io.BytesIO(), io.BytesIO()
    torch.export.save(program, buffer)
    with zipfile.ZipFile(buffer) as source, zipfile.ZipFile(stripped, "w") as target:
        for entry in source.infolist():
            if not entry.filename.endswith(_SERIAL):
                data = _stripped(entry.filename, source.read(entry))
                target.writestr(zipfile.ZipInfo(entry.filename, _EPOCH), data)
    return stripped.getvalue()


def _stripped(name: str, data: bytes) -> bytes:
    if name.endswith(_SAMPLE_INPUTS):
        return b""
    if not name.endswith(_MODEL):
        return data
    model = json.loads(data)
    for node in model["graph_module"]["graph"]["nodes"]:
        node["metadata"] = {}
    return json.dumps(model).encode()


def _check_same(network: nn.Module, program: nn.Module, image: Tensor) -> None:
    expected_logits, expected_gradient = _answers(network, image)
    logits, gradient = _answers(program, image)
    drift = _share((logits - expected_logits).abs().max(), expected_logits.abs().max())
    if not drift <= SAME_LOGITS:
        raise ExportError(
            f"the torch program's logits differ by {drift:.1e}; at most {SAME_LOGITS:.0e}"
        )
    turn = _share((gradient - expected_gradient).norm(), expected_gradient.norm())
    if not turn <= SAME_GRADIENT:
        raise ExportError(
            f"the torch program's gradient differs by {turn:.1e}; at most {SAME_GRADIENT:.0e}"
        )


def _answers(network: nn.Module, image: Tensor) -> tuple[Tensor, Tensor]:
    """The logits, and the gradient of the largest of them to the image."""
    given = image.clone().requires_grad_(True)
    logits = network(given)
    (gradient,) = torch.autograd.grad(logits.max(), given)
    return logits.detach(), gradient


def _share(difference: Tensor, whole: Tensor) -> float:
    """The difference relative to the whole; 0 where both are 0."""
    return float(difference / whole.clamp_min(torch.finfo(torch.float32).tiny))
