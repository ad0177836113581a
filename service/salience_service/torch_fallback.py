"""Gradients by torch: the one module of the service that imports it, and only when asked to."""

import importlib.util
import io
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from salience_service.bundle.program import read_program
from salience_service.errors import BundleRefused, ComputeFailed, NotPossible
from salience_service.interpolation import interpolation_matrix, is_flat

if TYPE_CHECKING:
    import torch
    from torch import Tensor

FloatArray = NDArray[np.float32]


_LOADING = threading.Lock()
"""torch's loader keeps state of its own in a global: of two at a time, one fails."""


def torch_is_installed() -> bool:
    """Whether gradients can be had here at all; torch itself is not loaded."""
    return importlib.util.find_spec("torch") is not None


class TorchGradient:
    """The torch program of a bundle, answering one image a call (a batch costs its images).

    Weights take no gradients, and no call leaves anything behind: the same call gives
    the same bits, from any thread.

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
        if threads:
            torch.set_num_threads(threads)
        self._torch = torch
        self._layout = torch.channels_last
        try:
            with _LOADING:
                self._open(archive)
        except Exception as fault:  # torch's loader raises of every kind
            raise BundleRefused("torch cannot load the bundle's torch program") from fault

    def gradient(self, image: FloatArray, cotangent: FloatArray) -> tuple[FloatArray, FloatArray]:
        """The logits of one image and the gradient of cotangent · logits to it.

        Args:
            image: float32 [C, H, W], the model's own numbers.
            cotangent: float32 [K].

        Returns:
            Logits float32 [K] and gradient float32 [C, H, W].

        Raises:
            ComputeFailed: torch failed.
        """
        leaf = self._tensor(image).requires_grad_()
        return self._backward(leaf, leaf, cotangent)

    def masked_gradient(
        self,
        difference: FloatArray,
        fill: FloatArray,
        image_map: FloatArray,
        cotangent: FloatArray,
    ) -> tuple[FloatArray, FloatArray]:
        """The logits of fill + n(up(map)) · difference and d (cotangent · logits) / d map.

        up and n are those of the masked graph. A flat map is masked by zeros, which no
        small change of it changes: its gradient is zeros, never NaN.

        Args:
            difference: float32 [C, H, W], image − fill.
            fill: float32 [C, H, W].
            image_map: float32 [h, w], finite.
            cotangent: float32 [K].

        Returns:
            Logits float32 [K] and gradient float32 [h, w].

        Raises:
            ComputeFailed: torch failed.
        """
        leaf = self._tensor(image_map).requires_grad_()
        rows = self._tensor(interpolation_matrix(fill.shape[-2], image_map.shape[0]))
        columns = self._tensor(interpolation_matrix(fill.shape[-1], image_map.shape[1]))
        up = rows @ leaf @ columns.T
        low, high = up.amin(), up.amax()
        if is_flat(low.item(), high.item()):
            logits, _ = self.gradient(fill, cotangent)
            return logits, np.zeros_like(image_map)
        mask = (up - low) / (high - low)
        image = self._tensor(fill) + mask * self._tensor(difference)
        return self._backward(image, leaf, cotangent)

    def _open(self, archive: bytes) -> None:
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
        leaf = self._tensor(image).requires_grad_()
        self._torch.autograd.grad(self._logits(leaf).sum(), leaf)

    def _logits(self, image: "Tensor") -> "Tensor":
        """Logits [K] of an image [C, H, W]."""
        logits: Tensor = self._network(image[None].contiguous(memory_format=self._layout))
        return logits.reshape(-1)

    def _backward(
        self, image: "Tensor", leaf: "Tensor", cotangent: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        try:
            logits = self._logits(image)
            (gradient,) = self._torch.autograd.grad(logits, leaf, self._tensor(cotangent))
        except RuntimeError as fault:
            raise ComputeFailed("torch failed on the model's gradient") from fault
        return logits.detach().numpy(), np.ascontiguousarray(gradient.numpy())

    def _tensor(self, array: FloatArray) -> "torch.Tensor":
        """A copy: torch warns of arrays that cannot be written, and writes into others."""
        return self._torch.tensor(array)
