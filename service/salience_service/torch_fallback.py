"""Gradients by torch: the one module of the service that imports it, and only when asked to."""

import importlib.util
import io
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from salience_service.bundle.program import read_program
from salience_service.differentiator import IMAGES, FloatArray
from salience_service.errors import BundleRefused, ComputeFailed, NotPossible
from salience_service.interpolation import interpolation_matrix, is_flat
from salience_service.session import Stop

if TYPE_CHECKING:
    import torch
    from torch import Tensor


LOGITS = "logits"
_THREAD = ThreadPoolExecutor(1, thread_name_prefix="salience-torch")
"""Where torch runs, and nowhere else. OpenMP keeps a team of workers for every thread that
calls it; with more of them than cores each gives up waiting at once, and a gradient takes
twice as long (50 ms became 110, EfficientNet-Lite0 on two cores). torch's loader, besides,
keeps state in a global: of two loads at a time, one fails."""


def torch_is_installed() -> bool:
    """Whether gradients can be had here at all; torch itself is not loaded."""
    return importlib.util.find_spec("torch") is not None


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
        stop: Stop,  # noqa: ARG002
    ) -> tuple[FloatArray, Mapping[str, FloatArray]]:
        """See `Differentiator.gradient`.

        Raises:
            NotPossible: the program knows no such tap: older ones know none.
            ComputeFailed: torch failed.
        """
        return _THREAD.submit(self._gradient, image, cotangent, tensors).result()

    def masked_gradient(
        self,
        difference: FloatArray,
        fill: FloatArray,
        image_map: FloatArray,
        cotangent: FloatArray,
        stop: Stop,  # noqa: ARG002
    ) -> tuple[FloatArray, FloatArray]:
        """See `Differentiator.masked_gradient`.

        Raises:
            ComputeFailed: torch failed.
        """
        row = difference, fill, image_map
        return _THREAD.submit(self._masked_gradient, *row, cotangent).result()

    def _gradient(
        self, image: FloatArray, cotangent: FloatArray, tensors: Sequence[str]
    ) -> tuple[FloatArray, Mapping[str, FloatArray]]:
        leaf = self._tensor(image[None]).requires_grad_()
        outputs = self._outputs(leaf)
        known = {**outputs, IMAGES: leaf}
        if unknown := [tensor for tensor in tensors if tensor not in known]:
            raise NotPossible(
                f"the torch program of this bundle has no gradient to {len(unknown)} of the taps: "
                "export the model again, or ask for the onnx side"
            )
        ends = [known[tensor] for tensor in tensors]
        logits, gradients = self._backward(outputs[LOGITS], ends, cotangent)
        return logits, {tensor: each[0] for tensor, each in zip(tensors, gradients, strict=True)}

    def _masked_gradient(
        self,
        difference: FloatArray,
        fill: FloatArray,
        image_map: FloatArray,
        cotangent: FloatArray,
    ) -> tuple[FloatArray, FloatArray]:
        leaf = self._tensor(image_map).requires_grad_()
        rows = self._tensor(interpolation_matrix(fill.shape[-2], image_map.shape[0]))
        columns = self._tensor(interpolation_matrix(fill.shape[-1], image_map.shape[1]))
        up = rows @ leaf @ columns.T
        low, high = up.amin(), up.amax()
        if is_flat(low.item(), high.item()):
            logits, _ = self._gradient(fill, cotangent, ())
            return logits, np.zeros_like(image_map)
        mask = (up - low) / (high - low)
        image = self._tensor(fill) + mask * self._tensor(difference)
        logits, (gradient,) = self._backward(self._outputs(image[None])[LOGITS], [leaf], cotangent)
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
        self._torch.autograd.grad(self._network_outputs(leaf)[LOGITS].sum(), leaf)

    def _outputs(self, images: "Tensor") -> "dict[str, Tensor]":
        """Logits [K] and taps [1, C, h, w] by name, of one image [1, C, H, W]."""
        try:
            return self._network_outputs(images)
        except RuntimeError as fault:
            raise ComputeFailed("torch failed on the model's gradient") from fault

    def _network_outputs(self, images: "Tensor") -> "dict[str, Tensor]":
        answer = self._network(images.contiguous(memory_format=self._layout))
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
