"""An ONNX file as a source: read, checked, brought to the exporter's one form, and proved."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto

from salience_export.contract import Layout
from salience_export.errors import ExportError
from salience_export.graphs.batch import free_batch
from salience_export.graphs.head import (
    End,
    cut_at,
    find_end,
    is_held_above_zero,
    is_log_softmax,
    is_written_out,
    no_logits_at,
    put_out_logits,
)
from salience_export.graphs.normal import (
    fixed_batch,
    inlined,
    lower_opset,
    normal_form,
    opset_of,
    raise_opset,
    take_images,
)
from salience_export.graphs.taps import choose_taps, tap_of
from salience_export.source import FloatArray, SourceModel, SourceTap
from salience_export.sources.onnx_own_run import OwnRun
from salience_export.sources.onnx_proof import (
    are_probabilities,
    are_rounded_probabilities,
    probes,
    prove,
)
from salience_export.sources.onnx_reading import read_onnx
from salience_export.sources.runtime import Run
from salience_service.bundle.manifest import InputContract, OutputKind
from salience_service.bundle.tensors import IMAGES, LOGITS


@dataclass(frozen=True)
class _Step:
    """A graph on its way, and what was changed so far."""

    model: onnx.ModelProto
    changes: tuple[str, ...] = ()

    def then(self, model: onnx.ModelProto, *changes: str) -> "_Step":
        """The next graph, with what was changed for it."""
        return _Step(model, self.changes + changes)


def open_onnx(
    path: Path,
    contract: InputContract,
    declared: OutputKind,
    taps: Sequence[str] = (),
    layout: Layout = Layout.NCHW,
) -> SourceModel:
    """A classifier in an ONNX file, ready for a bundle.

    A fixed batch is made free, the opset raised to 17 or lowered to 21, an NHWC input given
    a Transpose, a softmax or sigmoid at the end cut off; all of it stands in the `changes`.
    The result is run beside the file before it is returned: batches against single images,
    and our logits against the file's own.

    Args:
        path: the file; external weights lie in its directory.
        contract: the input's size must be the file's.
        declared: what the output means. Where it is a softmax, but no Softmax is found and
            probabilities come out, log p is put out and `output` says LOG_PROBABILITY.
        taps: tensors that are taps; none: chosen from the graph.
        layout: how the file's own input lies.

    Raises:
        ExportError: what cannot be exported, and what would help.
    """
    file, nhwc = read_onnx(path), layout is Layout.NHWC
    model = inlined(file.model)
    step = _with_images(normal_form(model), contract, nhwc)
    Run(file.model, ())  # what the runtime cannot load is refused in its own words
    end = find_end(step.model, declared)
    step = step.then(cut_at(step.model, end))
    as_log = _needs_log(step.model, end, declared, contract)
    step = _with_logits(step, end, as_log)
    found = _named(step.model, taps) if taps else choose_taps(step.model, end.classes)
    own = OwnRun(model, end, {tap.name: tap.tensor for tap in found}, nhwc=nhwc, as_log=as_log)
    prove(step.model, own, end, contract)
    meaning = _meaning(declared, end, as_log)
    return SourceModel(step.model, found, meaning, own, "onnx", file.digest, step.changes)


def _with_images(model: onnx.ModelProto, contract: InputContract, nhwc: bool) -> _Step:
    """The graph with its one input `images` [N, C, H, W]."""
    sizes = (contract.channels, contract.height, contract.width)
    own = _check_input(model, (*sizes[1:], sizes[0]) if nhwc else sizes)
    batch = fixed_batch(model)
    step = _Step(take_images(model, sizes, nhwc))
    if own.name != IMAGES:
        step = step.then(step.model, f"input {own.name!r} is called {IMAGES!r}")
    if nhwc:
        step = step.then(step.model, "a Transpose turns [N, C, H, W] into the file's [N, H, W, C]")
    if not batch:
        return step
    freed, reshapes = free_batch(step.model, batch)
    step = step.then(freed, f"the batch, fixed to {batch}, was made free")
    if not reshapes:
        return step
    return step.then(freed, f"target shapes without the batch: Reshape of {', '.join(reshapes)}")


def _check_input(model: onnx.ModelProto, sizes: tuple[int, ...]) -> onnx.ValueInfoProto:
    """The one image input of the expected sizes."""
    names = ", ".join(repr(value.name) for value in model.graph.input)
    if len(model.graph.input) != 1:
        raise ExportError(
            f"the model takes {len(model.graph.input)} inputs ({names});"
            " only models of one image are exported"
        )
    value = model.graph.input[0]
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        raise ExportError(f"input {names} states no shape: export the model with {['N', *sizes]}")
    if tensor.elem_type != TensorProto.FLOAT:
        kind = TensorProto.DataType.Name(tensor.elem_type).lower()
        raise ExportError(f"input {names} is {kind}: export the model with a float32 input")
    stated = [_stated(size) for size in tensor.shape.dim]
    if len(stated) != 4:
        raise ExportError(
            f"input {names} has shape {stated}: only images [N, C, H, W] or [N, H, W, C] are"
            " exported, no volumes, series or vectors"
        )
    fits = [a == b or isinstance(a, str) for a, b in zip(stated[1:], sizes, strict=True)]
    if not all(fits):
        raise ExportError(
            f"input {names} is {stated}, but the contract says {['N', *sizes]};"
            " correct channels, height, width or layout"
        )
    return value


def _stated(size: onnx.TensorShapeProto.Dimension) -> int | str:
    """A dimension's size, or what it is called where it is free: without one, or with none > 0."""
    return size.dim_value if size.dim_value > 0 else size.dim_param or "?"


def _needs_log(
    model: onnx.ModelProto, end: End, declared: OutputKind, contract: InputContract
) -> bool:
    """Whether a declared softmax hides in other operators, so that log p must be taken.

    Raises:
        ExportError: probabilities that cannot be made logits.
    """
    if end.cut or declared is OutputKind.REGRESSION:
        return False
    rows = _try(model, end, contract)
    if declared is OutputKind.SOFTMAX and end.classes > 1 and are_probabilities(rows):
        return True
    if declared is OutputKind.SOFTMAX and is_log_softmax(model, end.tensor):
        return False
    found = no_logits_at(model, end.tensor, declared)
    if found or _hides(model, end, declared, rows):
        raise ExportError(_no_logits(end.output, declared, found))
    return False


def _no_logits(output: str, declared: OutputKind, found: frozenset[str]) -> str:
    """Why the output is refused, and what helps.

    Args:
        output: its name.
        declared: what it means.
        found: of `no_logits_at`.
    """
    what, operator = "probabilities", "Softmax"
    if found == {"LogSoftmax"}:
        what, operator = "log-probabilities, picked or joined", "LogSoftmax"
    elif declared is OutputKind.SIGMOID:
        operator = "Sigmoid"
    return (
        f"output {output!r} seems to be {what}, but no {operator} stands at the end to be cut off;"
        " export the model with its logits as output"
    )


def _hides(model: onnx.ModelProto, end: End, declared: OutputKind, rows: FloatArray) -> bool:
    """Whether rows at the end are, or look like, probabilities that other operators made."""
    if declared is OutputKind.SOFTMAX:
        return is_written_out(model, end.tensor) and are_rounded_probabilities(rows)
    return is_held_above_zero(model, end.tensor, declared)


def _try(model: onnx.ModelProto, end: End, contract: InputContract) -> FloatArray:
    """Rows [N, K] at the end, for a few images one by one."""
    run = Run(model, [end.tensor])
    return np.concatenate([run(image[None])[0].reshape(1, -1) for image in probes(contract)])


def _with_logits(step: _Step, end: End, as_log: bool) -> _Step:
    """The graph with its one output `logits` [N, K], at opset 17 to 21 or, where needed, later."""
    model = lower_opset(put_out_logits(raise_opset(step.model), end, as_log))
    before, after = opset_of(step.model), opset_of(model)
    changes = list[str]()
    if before != after:
        changes.append(f"opset {before} was {'raised' if before < after else 'lowered'} to {after}")
    if end.cut:
        changes.append(f"the {end.cut} at the end was cut off")
    if as_log:
        changes.append("log p is put out, since no Softmax could be found to cut off")
    if end.output != LOGITS:
        changes.append(f"output {end.output!r} is called {LOGITS!r}")
    return step.then(model, *changes)


def _named(model: onnx.ModelProto, taps: Sequence[str]) -> tuple[SourceTap, ...]:
    """The named tensors as taps, each once, in the order they are computed."""
    found = {tap: tap_of(model, tap) for tap in taps}
    return tuple(found[name] for node in model.graph.node for name in node.output if name in found)


def _meaning(declared: OutputKind, end: End, as_log: bool) -> OutputKind:
    """What the logits mean, after what was cut or could not be."""
    if as_log:
        return OutputKind.LOG_PROBABILITY
    if declared is OutputKind.LOG_PROBABILITY and end.cut:
        return OutputKind.SOFTMAX
    return declared
