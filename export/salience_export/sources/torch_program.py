"""The torch program of a bundle: image in, logits and taps out, for gradients; no pickle in it.

A `.pt2` archive of torch.export with the batch fixed to one: the gradient fallback
answers one image a call. Its logits are computed from its taps, so that torch can go back
from the ones to the others. BatchNorms are folded into their convolutions (forward and
backward of EfficientNet-Lite0 on two cores: 60 ms before, 47 ms after), except behind a
tap, which must stay what it is.
"""

import io
import json
import zipfile
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.fx import Graph, GraphModule, Node

from salience_export.errors import ExportError
from salience_export.sources.torch_calls import module_of, named_calls, passing_copies_on
from salience_service.bundle.tensors import LOGITS

SAME_LOGITS = 1e-4
"""Largest difference allowed of the program's logits, relative to the largest logit."""

SAME_GRADIENT = 3e-2
"""Largest norm of the gradient's difference, relative to the gradient's norm. Looser: a
ReLU within rounding of its kink may fall to the other side once BatchNorm is folded. Most
networks stay below 1e-3; ResNet-50 with random weights turns by 8e-3."""

_ATEN = torch.ops.aten
_EPOCH = (1980, 1, 1, 0, 0, 0)
_MODEL = "/models/model.json"
_SAMPLE_INPUTS = "/data/sample_inputs/model.pt"
_SERIAL = "/.data/serialization_id"


class _Tapped(nn.Module):
    """A network that also puts out what calls of its modules put out, on the way to the logits."""

    def __init__(self, network: nn.Module, taps: Mapping[str, str]) -> None:
        super().__init__()
        self.network = network
        self.taps = dict(taps)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """`image` [1, C, H, W] → `logits` [1, K], and taps by the names of their outputs."""
        names = sorted({module_of(call) for call in self.taps.values()})
        with passing_copies_on(self.network, names) as outputs:
            logits = self.network(image)
        calls = named_calls(outputs)
        return {LOGITS: logits} | {name: calls[call] for name, call in self.taps.items()}


def torch_program(network: nn.Module, image: Tensor, taps: Mapping[str, str]) -> bytes:
    """The archive for `network` (in eval mode), proved on `image`, float32 [1, C, H, W].

    Args:
        network: takes [1, C, H, W], puts out logits [1, K].
        image: what it is traced and proved on.
        taps: per output of the program, the call of a module that puts it out.

    Raises:
        ExportError: the archive, loaded again, does not answer as the network does.
    """
    tapped = _Tapped(network, taps).eval()
    program = torch.export.export(tapped, (image,))
    folded = fold_batch_norms(program.module(check_guards=False))
    archive = _archive(torch.export.export(folded, (image,)))
    _check_same(tapped, torch.export.load(io.BytesIO(archive)).module(), image)
    return archive


def fold_batch_norms(module: GraphModule) -> GraphModule:
    """Folds each BatchNorm whose input is a convolution's only use into that convolution.

    A convolution whose kernel is computed, as weight standardisation does, keeps its BatchNorm.

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
        and all(map(_is_held, (source.args[1], *norm.args[1:5])))
        and all(map(_is_held, filter(None, source.args[2:3])))
    )


def _is_held(value: object) -> bool:
    """Whether it is a parameter or buffer, and not computed on each call."""
    return isinstance(value, Node) and value.op == "get_attr"


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
    """Holds outputs, and gradients to the image and to every tap, against the network's own."""
    expected, expected_gradients = _answers(network, image)
    outputs, gradients = _answers(program, image)
    for name, output in outputs.items():
        drift = _share((output - expected[name]).abs().max(), expected[name].abs().max())
        if not drift <= SAME_LOGITS:
            raise ExportError(
                f"the torch program's {name} differs by {drift:.1e}; at most {SAME_LOGITS:.0e}"
            )
    for name, gradient in gradients.items():
        whole = expected_gradients[name]
        turn = _share((gradient - whole).norm(), whole.norm())
        if not turn <= SAME_GRADIENT:
            raise ExportError(
                f"the torch program's gradient to {name} differs by {turn:.1e}; "
                f"at most {SAME_GRADIENT:.0e}"
            )


def _answers(network: nn.Module, image: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The outputs, and the gradients of the largest logit to the image and the taps."""
    given = image.clone().requires_grad_(True)
    outputs = network(given)
    ends = {"image": given} | {name: end for name, end in outputs.items() if name != LOGITS}
    gradients = torch.autograd.grad(
        outputs[LOGITS].max(), list(ends.values()), materialize_grads=True
    )
    values = {name: output.detach() for name, output in outputs.items()}
    return values, dict(zip(ends, gradients, strict=True))


def _share(difference: Tensor, whole: Tensor) -> float:
    """The difference relative to the whole; 0 where both are 0."""
    return float(difference / whole.clamp_min(torch.finfo(torch.float32).tiny))
