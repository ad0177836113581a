"""Which tensors of a graph are worth explaining: the block outputs at each resolution."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import onnx

from salience_export.errors import ExportError
from salience_export.graphs.flow import Flow
from salience_export.graphs.shapes import Shape
from salience_export.graphs.spatial import has_channels_last, is_over_image
from salience_export.graphs.tokens import is_attended, last_tokens, tap_of_tokens
from salience_export.source import SourceTap
from salience_service.bundle.tensors import IMAGES, LOGITS

ACTIVATIONS = frozenset(
    {"Relu", "LeakyRelu", "PRelu", "Clip", "Elu", "Selu", "Celu", "ThresholdedRelu"}
    | {"Sigmoid", "HardSigmoid", "Tanh", "Softplus", "Softsign"}
    | {"HardSwish", "Swish", "Mish", "Gelu"}
)
_DENSE = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
_NORMS = frozenset({"BatchNormalization", "InstanceNormalization", "GroupNormalization"})
_JOINS = frozenset({"Add", "Sum", "Concat"})
_PICKS = frozenset({"Gather", "Slice"})
_COPIES = frozenset({"Identity", "Dropout"})


def tap_of(model: onnx.ModelProto, tensor: str, name: str = "") -> SourceTap:
    """The tap that is this tensor.

    Args:
        model: input `images` [N, C, H, W].
        tensor: one that the graph computes.
        name: what it is called; left out, the tensor's own.

    Raises:
        ExportError: no such tensor, or neither float32 [N, C, H, W] with more than one pixel
            nor float32 [N, T, C] with the tokens of a grid of square patches, and perhaps
            one class token before them; one whose proportions say [N, H, W, C].
    """
    flow, name = Flow(model), name or tensor
    if tensor not in flow.producers:
        raise ExportError(f"the graph computes no tensor {tensor!r}; see its node outputs")
    shape = flow.shapes.get(tensor)
    stated = "unknown" if shape is None else _stated(shape)
    if shape is not None and tensor != LOGITS:
        if shape.is_map and has_channels_last(flow, tensor):
            raise ExportError(
                f"{name!r} has shape {stated}, its channels last: a tap is [N, C, H, W]; name one "
                "before its channels are moved last, or after they are moved back"
            )
        if shape.is_map:
            return _tap(flow, tensor, name)
        if tap := tap_of_tokens(flow, tensor, name):
            return tap
    raise ExportError(
        f"{name!r} has shape {stated}: a tap is float32 with an entry an image, [N, C, H, W] with "
        "more than one pixel, or [N, T, C] with T patches of the image, after a class token or not"
    )


def _stated(shape: Shape) -> str:
    """Dimensions, and the element type where it is not float32."""
    sizes = str(["N" if size is None else size for size in shape.dimensions])
    if shape.element == onnx.TensorProto.FLOAT:
        return sizes
    return f"{sizes} in {onnx.TensorProto.DataType.Name(shape.element).lower()}"


def choose_taps(
    model: onnx.ModelProto,
    classes: int,
    named: Callable[[Sequence[SourceTap]], tuple[SourceTap, ...]] = tuple,
    preferred: Callable[[Sequence[str]], Sequence[str]] = list,
) -> tuple[SourceTap, ...]:
    """The taps of a graph that names none, in computation order.

    Only tensors that every path from the images to the logits goes through are
    considered. At each resolution the last block output is taken: a residual sum or
    concatenation with its activation, or the linear convolution after a depthwise one;
    where there are no blocks, the last convolution with its activation; where there is
    neither, the last tensor. To these comes the last spatial map that is not class scores,
    and, where attention follows it, what `last_tokens` takes of its blocks.

    Args:
        model: input `images` [N, C, H, W].
        classes: K of `logits` [N, K], to know class scores by.
        named: gives taps the names that people say.
        preferred: of maps, at least one, those to choose among; of none, among all.

    Raises:
        ExportError: the graph has neither, or attention follows, none of its blocks is a tap,
            and the last map is but the image's patches in one layer.
    """
    flow = Flow(model)
    found = [name for name in gates(flow) if name in flow.shapes]
    maps = [
        name for name in found if is_over_image(flow, name) and not _is_trivial(flow, name, classes)
    ]
    maps = [*preferred(maps)] or maps if maps else []
    last = _tap(flow, maps[-1], maps[-1]) if maps else None
    sums = _sums_of_attention(flow, found, last.tensor if last else IMAGES)
    tokens = last_tokens(flow, sums, last)
    if last is None and not sums:
        raise ExportError(
            "no float32 map lies on every path to the logits: name taps; of an ensemble, whose "
            "answer goes through no single map, export each network by itself"
        )
    if tokens is None and sums and not (last and _layers(flow, last.tensor) > 1):
        raise ExportError(_no_tokens(sums[-1], named([last]) if last else ()))
    chosen = {_last_block(flow, at) for at in _by_resolution(maps, flow.shapes)} | {*maps[-1:]}
    taps = [_tap(flow, name, name) for name in maps if name in chosen]
    return named([*taps, *([tokens] if tokens else [])])


def _sums_of_attention(flow: Flow, found: Sequence[str], start: str) -> list[str]:
    """Those of the tensors that end blocks behind the start; none where no attention follows it."""
    if not is_attended(flow, start):
        return []
    later = flow.after([start])
    return [name for name in found if name in later and _is_residual(flow, name)]


def _no_tokens(block: str, projection: Iterable[SourceTap]) -> str:
    """Why no tap is chosen where attention follows the patches, and what helps."""
    remedies = [
        "name taps",
        *(f"--tap {tap.name} takes the patch projection" for tap in projection),
    ]
    return (
        f"no tap can be chosen behind the attention: no sum of its blocks, as {block!r}, is "
        f"[N, T, C] with T patches of the image that reach the logits; {'; '.join(remedies)}"
    )


def gates(flow: Flow) -> Iterator[str]:
    """The tensors through which every path from the images to the logits goes, in order."""
    alive = flow.before([LOGITS]) & flow.rows
    waiting = {name: _uses(flow, name, alive) for name in alive}
    still_needed: set[str] = {name for name in alive if name not in flow.producers}
    for node in flow.nodes:
        made = [name for name in node.output if name in alive]
        if not made:
            continue
        for name in still_needed.copy():
            waiting[name].discard(id(node))
            if not waiting[name]:
                still_needed.remove(name)
        still_needed.update(made)
        if len(still_needed) == 1:
            yield from still_needed


def _uses(flow: Flow, name: str, alive: set[str]) -> set[int]:
    """Nodes on the way to the logits that use the tensor's numbers."""
    return {id(node) for node in flow.consumers.get(name, ()) if not alive.isdisjoint(node.output)}


def _is_trivial(flow: Flow, name: str, classes: int) -> bool:
    """Whether the map is a copy of another, a prepared image, or class scores."""
    makes = flow.after([name])
    weighed_again = any(
        node.op_type in _DENSE and not makes.isdisjoint(node.input) for node in flow.nodes
    )
    is_scores = flow.shapes[name].per_image[0] == classes and not weighed_again
    return flow.producers[name].op_type in _COPIES or not _layers(flow, name) or is_scores


def _layers(flow: Flow, name: str) -> int:
    """How many convolutions and products with weights it is made by."""
    made_from = flow.before([name]) & flow.rows
    return sum(node.op_type in _DENSE and node.output[0] in made_from for node in flow.nodes)


def _by_resolution(maps: Iterable[str], shapes: Mapping[str, Shape]) -> list[list[str]]:
    groups: dict[tuple[int, ...], list[str]] = {}
    for name in maps:
        groups.setdefault(shapes[name].per_image[1:], []).append(name)
    return list(groups.values())


def _last_block(flow: Flow, maps: list[str]) -> str:
    """The best of the maps at one resolution."""
    blocks = [name for name in maps if _ends_block(flow, name)]
    convolved = [name for name in maps if _first_of(flow, name, _DENSE) is not None]
    return (blocks or convolved or maps)[-1]


def _ends_block(flow: Flow, name: str) -> bool:
    """Whether it is a block's last tensor, its normalisation and activation included."""
    if _joins(flow, name):
        return True
    node = flow.producers[name]
    if node.op_type in ACTIVATIONS and _joins(flow, node.input[0]):
        return len(flow.consumers[node.input[0]]) == 1
    dense = _first_of(flow, name, _DENSE)
    return dense is not None and not _is_depthwise(flow, dense) and _follows_depthwise(flow, dense)


def _joins(flow: Flow, name: str) -> bool:
    """Whether it is a sum or concatenation of several feature tensors."""
    node = flow.producers.get(name)
    return (
        node is not None
        and node.op_type in _JOINS
        and sum(source in flow.rows for source in node.input) > 1
        and not _sums_picked(flow, name)
    )


def _sums_picked(flow: Flow, name: str) -> bool:
    """Whether it adds up parts picked from tensors, as pools of unequal windows are written."""
    waiting = [name]
    while waiting:
        node = flow.producers.get(waiting.pop())
        if node is None or node.op_type not in {"Add", "Sum", *_PICKS}:
            return False
        if node.op_type not in _PICKS:
            waiting.extend(node.input)
    return True


def _is_residual(flow: Flow, name: str) -> bool:
    """Whether it is a sum of tokens, or of maps with their channels last, as blocks end in."""
    shape = flow.shapes[name]
    is_tokens = shape.is_tokens and shape.per_image[1] > 1
    return (
        (is_tokens or (shape.is_map and has_channels_last(flow, name)))
        and _joins(flow, name)
        and flow.producers[name].op_type != "Concat"
    )


def _first_of(flow: Flow, name: str, kinds: frozenset[str]) -> onnx.NodeProto | None:
    """The node of these kinds that a chain of normalisations and activations starts from."""
    node = flow.producers.get(name)
    while node is not None and node.op_type not in kinds:
        if node.op_type not in ACTIVATIONS | _NORMS and not _is_gated(flow, node):
            return None
        node = flow.producers.get(node.input[0])
    return node


def _is_gated(flow: Flow, node: onnx.NodeProto) -> bool:
    """Whether it is x · activation(x): Swish and its kind, written as two operators."""
    if node.op_type != "Mul":
        return False
    gates_of = [flow.producers.get(name) for name in node.input]
    return any(
        gate is not None and gate.op_type in ACTIVATIONS and gate.input[0] in node.input
        for gate in gates_of
    )


def _is_depthwise(flow: Flow, node: onnx.NodeProto) -> bool:
    """Whether it is a convolution of each channel by itself."""
    if node.op_type != "Conv":
        return False
    group = next((a.i for a in node.attribute if a.name == "group"), 1)
    taken = flow.shapes.get(node.input[0])
    return taken is not None and 1 < group == taken.per_image[0]


def _follows_depthwise(flow: Flow, node: onnx.NodeProto) -> bool:
    """Whether a depthwise convolution is what this one mixes the channels of."""
    waiting, seen = [node.input[0]], set[str]()
    while waiting:
        name = waiting.pop()
        before = flow.producers.get(name)
        if before is None or name in seen or _joins(flow, name):
            continue
        seen.add(name)
        if _is_depthwise(flow, before):
            return True
        if before.op_type not in _DENSE:
            waiting.extend(before.input)
    return False


def _tap(flow: Flow, tensor: str, name: str) -> SourceTap:
    channels, height, width = flow.shapes[tensor].per_image
    return SourceTap(name, tensor, channels, height, width)
