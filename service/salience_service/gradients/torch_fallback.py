"""Gradients by torch: the one module of the service that imports it, and only when asked to."""

import importlib.util
import io
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from salience_service.bundle.program import read_program
from salience_service.bundle.rectifiers import FLOOR_NAMES, is_rectifier
from salience_service.bundle.tensors import IMAGES, LOGITS
from salience_service.errors import BundleRefused, ComputeFailed, NotPossible
from salience_service.gradients.differentiator import FloatArray
from salience_service.interpolation import interpolation_matrix, is_flat
from salience_service.runtime.session import Execution

if TYPE_CHECKING:
    import torch
    from torch import Tensor


_THREAD = ThreadPoolExecutor(1, thread_name_prefix="salience-torch")
"""Where torch runs, and nowhere else. OpenMP keeps a team of workers for every thread that
calls it; with more of them than cores each gives up waiting at once, and a gradient takes
twice as long (50 ms became 110, EfficientNet-Lite0 on two cores). torch's loader, besides,
keeps state in a global: of two loads at a time, one fails."""


Run = Callable[["Tensor"], Any]
"""Runs the program on an image [1, C, H, W]."""


@cache
def torch_is_installed() -> bool:
    """Whether gradients can be had here at all; torch itself is not loaded.

    Looked for once a process: each look asks every directory of the path.
    """
    return importlib.util.find_spec("torch") is not None


def _rectifies(node: "torch.fx.Node") -> bool:
    """Whether a node of a program calls a ReLU."""
    target = str(node.target)
    if not target.startswith("aten."):
        return False
    named = [node.kwargs[name] for name in FLOOR_NAMES if name in node.kwargs]
    floor = (*node.args[1:2], *named, None)[0]
    return is_rectifier(target.split(".")[1], floor)


def _let_through(gradient: "Tensor") -> "Tensor":
    """What of a gradient guided backpropagation lets through."""
    return gradient.clamp(min=0)


class TorchGradient:
    """A `Differentiator` on a bundle's torch program (a batch would cost its images).

    Weights take no gradients, and no call leaves anything behind: the same call gives
    the same bits, from any thread. torch cannot end a call early, and a call waits while
    another program is loading.

    Args:
        program: a bundle's `.pt2`; checked before torch is loaded.
        threads: CPU threads of torch, for the whole process; 0 leaves torch's choice.

    Raises:
        NotPossible: torch is not installed.
        BundleRefused: the program is refused unread, or torch cannot load or run it.
    """

    alone: str | None = "torch"

    def __init__(self, program: Path, threads: int) -> None:
        archive = read_program(program)
        try:
            import torch
        except ImportError as fault:
            raise NotPossible(
                "gradients need torch on this server: pip install 'salience[torch]'"
            ) from fault
        self._torch = torch
        self._layout = torch.channels_last
        try:
            _THREAD.submit(self._open, archive, threads).result()
        except Exception as fault:  # torch's loader raises of every kind
            raise BundleRefused("torch cannot load the bundle's torch program") from fault

    def gradient(
        self,
        image: FloatArray,
        cotangent: FloatArray,
        tensors: Sequence[str],
        execution: Execution,  # noqa: ARG002
        guided: bool = False,
    ) -> tuple[FloatArray, Mapping[str, FloatArray]]:
        """See `Differentiator.gradient`.

        Raises:
            NotPossible: the program knows no such tap: older ones know none.
            ComputeFailed: torch failed.
        """
        run = self._guided if guided else self._network
        return _THREAD.submit(self._gradient, image, cotangent, tensors, run).result()

    def masked_gradient(
        self,
        difference: FloatArray,
        fill: FloatArray,
        image_map: FloatArray,
        cotangent: FloatArray,
        execution: Execution,  # noqa: ARG002
        normalise: bool = True,
        scale: float = 1.0,
        shift: float = 0.0,
    ) -> tuple[FloatArray, FloatArray]:
        """See `Differentiator.masked_gradient`.

        Raises:
            ComputeFailed: torch failed.
        """
        row = difference, fill, image_map, normalise, scale, shift
        return _THREAD.submit(self._masked_gradient, *row, cotangent).result()

    def _gradient(
        self, image: FloatArray, cotangent: FloatArray, tensors: Sequence[str], run: Run
    ) -> tuple[FloatArray, Mapping[str, FloatArray]]:
        leaf = self._tensor(image[None]).requires_grad_()
        outputs = self._outputs(leaf, run)
        known = {**outputs, IMAGES: leaf}
        if unknown := [tensor for tensor in tensors if tensor not in known]:
            raise NotPossible(
                f"the torch program of this bundle has no gradient to {len(unknown)} of the taps: "
                "export the model again with --tap MODULE, a module that puts out a map, or ask "
                "for the onnx side"
            )
        ends = [known[tensor] for tensor in tensors]
        logits, gradients = self._backward(outputs[LOGITS], ends, cotangent)
        return logits, {tensor: each[0] for tensor, each in zip(tensors, gradients, strict=True)}

    def _masked_gradient(
        self,
        difference: FloatArray,
        fill: FloatArray,
        image_map: FloatArray,
        normalise: bool,
        scale: float,
        shift: float,
        cotangent: FloatArray,
    ) -> tuple[FloatArray, FloatArray]:
        leaf = self._tensor(image_map).requires_grad_()
        rows = self._tensor(interpolation_matrix(fill.shape[-2], image_map.shape[0]))
        columns = self._tensor(interpolation_matrix(fill.shape[-1], image_map.shape[1]))
        mask = rows @ leaf @ columns.T
        if normalise:
            low, high = mask.amin(), mask.amax()
            if is_flat(low.item(), high.item()):
                image = fill + np.float32(shift) * difference
                logits, _ = self._gradient(image, cotangent, (), self._network)
                return logits, np.zeros_like(image_map)
            mask = (mask - low) / (high - low)
        row = self._tensor(fill) + (scale * mask + shift) * self._tensor(difference)
        outputs = self._outputs(row[None], self._network)
        logits, (gradient,) = self._backward(outputs[LOGITS], [leaf], cotangent)
        return logits, gradient

    def _open(self, archive: bytes, threads: int) -> None:
        if threads:
            self._torch.set_num_threads(threads)
        program = self._torch.export.load(io.BytesIO(archive))
        shape = next(
            node.meta["val"].shape
            for node in program.graph.nodes
            if node.op == "placeholder" and node.name in program.graph_signature.user_inputs
        )
        # Guards are Python text of the file, made code; the shapes are fixed anyway.
        self._network = program.module(check_guards=False).requires_grad_(False)
        image = np.zeros(shape[1:], np.float32)
        try:
            self._settle(image)
        except RuntimeError:
            # A `view` in the network may need the order in which it was exported.
            self._layout = self._torch.contiguous_format
            self._settle(image)

    def _settle(self, image: FloatArray) -> None:
        """Lays the weights out and runs once, so that a request pays for neither.

        Channels last: 43 ms for 53 ms, forward and backward of EfficientNet-Lite0 on
        two cores.
        """
        self._network.to(memory_format=self._layout)  # type: ignore[call-overload]
        leaf = self._tensor(image[None]).requires_grad_()
        outputs = self._network_outputs(leaf, self._network)
        self._torch.autograd.grad(outputs[LOGITS].sum(), leaf)

    def _guided(self, images: "Tensor") -> Any:
        """Runs the program, each ReLU of which will let through no negative gradient.

        The program is interpreted as it is, and its ReLUs' outputs are hooked in this run
        alone: nothing of it is copied or changed.
        """

        class Guided(self._torch.fx.Interpreter):  # type: ignore[misc, name-defined]
            def run_node(self, node: "torch.fx.Node") -> Any:
                output = super().run_node(node)
                if _rectifies(node) and output.requires_grad:
                    output.register_hook(_let_through)
                return output

        return Guided(self._network).run(images)

    def _outputs(self, images: "Tensor", run: Run) -> "dict[str, Tensor]":
        """Logits [K] and taps [1, C, h, w] by name, of one image [1, C, H, W]."""
        try:
            return self._network_outputs(images, run)
        except RuntimeError as fault:
            raise ComputeFailed("torch failed on the model's gradient") from fault

    def _network_outputs(self, images: "Tensor", run: Run) -> "dict[str, Tensor]":
        answer = run(images.contiguous(memory_format=self._layout))
        outputs: dict[str, Tensor] = answer if isinstance(answer, dict) else {LOGITS: answer}
        return {**outputs, LOGITS: outputs[LOGITS].reshape(-1)}

    def _backward(
        self, logits: "Tensor", ends: "Sequence[Tensor]", cotangent: FloatArray
    ) -> tuple[FloatArray, list[FloatArray]]:
        """The logits, and the gradients of cotangent · logits to what they were made of."""
        if not ends:
            return logits.detach().numpy(), []
        try:
            gradients = self._torch.autograd.grad(
                logits, ends, self._tensor(cotangent), materialize_grads=True
            )
        except RuntimeError as fault:
            raise ComputeFailed("torch failed on the model's gradient") from fault
        return logits.detach().numpy(), [np.ascontiguousarray(g.numpy()) for g in gradients]

    def _tensor(self, array: FloatArray) -> "torch.Tensor":
        """A copy: torch warns of arrays that cannot be written, and writes into others."""
        return self._torch.tensor(array)
