"""From a torch network to an ONNX graph with a free batch, by torch.export."""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import onnx
import torch
from torch import Tensor, nn

from salience_export.errors import ExportError
from salience_export.sources.torch_calls import module_of, named_calls, recorded_calls
from salience_service.bundle.tensors import IMAGES, LOGITS


class _Tapped(nn.Module):
    """A network that also puts out what the wanted calls of its modules put out."""

    def __init__(self, network: nn.Module, wanted: Sequence[str]) -> None:
        super().__init__()
        self.network = network
        self.wanted = tuple(wanted)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """`images` [N, C, H, W] → logits [N, K], then one tensor a wanted call."""
        names = sorted({module_of(call) for call in self.wanted})
        with recorded_calls(self.network, names) as outputs:
            logits = self.network(images)
        calls = named_calls(outputs)
        return (logits, *(calls[call] for call in self.wanted))


def to_onnx(network: nn.Module, images: Tensor, wanted: Sequence[str]) -> onnx.ModelProto:
    """The network's graph: `images` → `logits`, then one output a wanted call, the batch free.

    Raises:
        ExportError: torch cannot trace the network, or writes no ONNX of it.
    """
    batch = torch.export.Dim("batch")
    try:
        program = torch.export.export(
            _Tapped(network, wanted).eval(), (images,), dynamic_shapes=({0: batch},)
        )
        _write_means(program)
        exported = torch.onnx.export(
            program,
            dynamo=True,
            verbose=False,
            input_names=[IMAGES],
            output_names=[LOGITS, *(output_of(number) for number in range(len(wanted)))],
        )
    except Exception as error:  # torch's tracing errors share no base but Exception
        raise ExportError(f"torch cannot trace the module: {_reason(error)}") from error
    if exported is None:
        raise ExportError("torch wrote no ONNX program for the module")
    return exported.model_proto


def _write_means(program: torch.export.ExportedProgram) -> None:
    """Pools that take the mean of a whole map become means (the program is changed in place).

    Of a map that lies channels last, as ConvNeXt's and Swin's do, torch otherwise writes the
    pool as a mean and a Gather of its numbers, batch and all, by indices computed from the batch.
    """
    pool, mean = torch.ops.aten.adaptive_avg_pool2d.default, torch.ops.aten.mean.dim
    for node in program.graph.nodes:
        if node.target is pool and set(node.args[1]) == {1}:
            node.target, node.args = mean, (node.args[0], [-2, -1], True)
    program.graph_module.recompile()


def output_of(number: int) -> str:
    """The name of the output that holds the wanted call of that number."""
    return f"tap_{number}"


_REMEDIES = {
    "Constraints violated": (
        "its forward holds for some batches only; where it has len(x) or int(x.shape[0]), write "
        "x.shape[0]"
    ),
    "No ONNX function found": "write other operators in its place",
}
"""By how torch's message begins."""


def _reason(error: BaseException) -> str:
    """The error that started it, what it lists, and what helps where that is known, in one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = str(error).strip().splitlines() or ["no message"]
    items = [line[4:].partition(". ")[0] for line in lines if line.startswith("  - ")]
    remedies = [remedy for start, remedy in _REMEDIES.items() if lines[0].startswith(start)]
    return "; ".join([f"{type(error).__name__}: {lines[0].rstrip('.')}", *items, *remedies])


_LOGGERS = ("torch.onnx._internal.exporter", "torch.__trace")
"""Absent torchvision is told by the first; the second tells every step of a trace to whoever
listens to all logs, which costs a third of the time."""


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps torch's notes and deprecations of its own insides off the terminal."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
