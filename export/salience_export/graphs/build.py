"""All graphs of a bundle, from one source."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx

from salience_export.differentiate.step import NoRule
from salience_export.errors import ExportError
from salience_export.graphs.batch import settle_shapes
from salience_export.graphs.flow import Flow
from salience_export.graphs.forward import build_forward, output_names
from salience_export.graphs.gradient import build_gradient
from salience_export.graphs.linear_head import has_linear_head
from salience_export.graphs.masked import build_masked
from salience_export.graphs.masked_gradient import build_masked_gradient
from salience_export.graphs.pixel_masked import build_pixel_masked
from salience_export.graphs.tail import build_tail, live_tensors
from salience_export.graphs.tail_gradient import build_tail_gradient
from salience_export.source import SourceTap
from salience_service.bundle.tensors import LOGITS


@dataclass(frozen=True)
class GradientGraphs:
    """The graphs that go back.

    Attributes:
        gradient: see `build_gradient`.
        masked: see `build_masked_gradient`.
        tails: one per tap, in the order of the taps; see `build_tail_gradient`.
    """

    gradient: onnx.ModelProto
    masked: onnx.ModelProto
    tails: tuple[onnx.ModelProto, ...]


@dataclass(frozen=True)
class BuiltGraphs:
    """The graphs, with weights as their source has them, and the names that join them.

    Attributes:
        forward: `images` → `logits`, taps, live tensors.
        masked: see `build_masked`.
        pixel_masked: see `build_pixel_masked`.
        tails: one per tap, in the order of the taps.
        outputs: per tap, its output of the forward graph.
        linear_heads: per tap, whether CAM is defined there.
        live: per tap, the outputs of the forward graph that its tail takes besides.
        gradients: the graphs that go back, or why there are none.
    """

    forward: onnx.ModelProto
    masked: onnx.ModelProto
    pixel_masked: onnx.ModelProto
    tails: tuple[onnx.ModelProto, ...]
    outputs: tuple[str, ...]
    linear_heads: tuple[bool, ...]
    live: tuple[tuple[str, ...], ...]
    gradients: GradientGraphs | NoRule


def build_graphs(model: onnx.ModelProto, taps: Sequence[SourceTap]) -> BuiltGraphs:
    """The graphs of a source, for its taps.

    Args:
        model: input `images` [N, C, H, W], output `logits` [N, K].
        taps: at least one.

    Raises:
        ExportError: a tap has no tail, or the shape of the logits is unknown.
    """
    settled = settle_shapes(model)
    _check_logits(Flow(settled))
    live = [live_tensors(settled, tap) for tap in taps]
    names = output_names(taps, [tensor for each in live for tensor in each])
    return BuiltGraphs(
        forward=build_forward(settled, names),
        masked=build_masked(settled),
        pixel_masked=build_pixel_masked(settled),
        tails=tuple(build_tail(settled, tap, names) for tap in taps),
        outputs=tuple(names[tap.tensor] for tap in taps),
        linear_heads=tuple(has_linear_head(Flow(settled), tap) for tap in taps),
        live=tuple(tuple(names[tensor] for tensor in each) for each in live),
        gradients=_gradients(settled, taps, names),
    )


def _check_logits(flow: Flow) -> None:
    """Refuses logits of unknown shape; names the first operator whose output nothing can tell."""
    if LOGITS in flow.shapes:
        return
    unknown = (flow.before([LOGITS]) & flow.rows | {LOGITS}) - flow.shapes.keys()
    operator, name = next(
        (node.op_type, name) for node in flow.nodes for name in node.output if name in unknown
    )
    raise ExportError(f"the shape of {name!r}, which operator {operator} puts out, cannot be told")


def _gradients(
    model: onnx.ModelProto, taps: Sequence[SourceTap], names: Mapping[str, str]
) -> GradientGraphs | NoRule:
    """All or none: they differentiate the same operators."""
    try:
        return GradientGraphs(
            gradient=build_gradient(model, taps, names),
            masked=build_masked_gradient(model),
            tails=tuple(build_tail_gradient(model, tap, names) for tap in taps),
        )
    except NoRule as reason:
        return reason
