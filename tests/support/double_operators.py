"""ONNX's operators in float64, by torch: those that onnx's own evaluator lacks or gets wrong.

It computes some slowly, some by constants of float32, and LRN and LpNormalization not as they
are defined.
"""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from onnx.reference.op_run import OpRun
from torch import Tensor

from tests.support.torch_windows import Windows


class _ByTorch(OpRun):  # type: ignore[misc]
    """An operator computed by torch."""

    op_domain = ""

    def _run(self, *inputs: NDArray[Any] | None, **attributes: Any) -> tuple[NDArray[Any], ...]:
        tensors = [None if each is None else torch.from_numpy(np.array(each)) for each in inputs]
        wide = {  # They come as numpy's float32, in which alpha / size would be rounded.
            name: float(value) if isinstance(value, np.floating) else value
            for name, value in attributes.items()
        }
        answer = self.by_torch(*tensors, **wide)
        return (np.asarray(answer.numpy()),)

    def by_torch(self, *tensors: Tensor | None, **attributes: Any) -> Tensor:
        raise NotImplementedError


class Conv(_ByTorch):
    def by_torch(self, x, w, b=None, *, group=1, kernel_shape=None, **spacing):
        del kernel_shape
        windows = Windows.of(x, w.shape[2:], **spacing)
        convolve = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}[w.ndim - 2]
        padded = F.pad(x, windows.for_torch(1))
        return convolve(padded, w, b, windows.strides, 0, windows.dilations, group or 1)


class ConvTranspose(_ByTorch):
    def by_torch(
        self, x, w, b=None, *, group=1, kernel_shape=None, output_padding=None, output_shape=None,
        **spacing,
    ):  # fmt: skip
        assert output_shape is None
        del kernel_shape
        windows = Windows.of(x, w.shape[2:], **spacing)
        convolve = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
        whole = convolve[w.ndim - 2](
            x, w, None, windows.strides, 0, 0, group or 1, windows.dilations
        )
        more = [0, 0] * (w.ndim - 2)
        more[1::2] = reversed(output_padding or [0] * (w.ndim - 2))
        cut = F.pad(F.pad(whole, more), windows.for_torch(-1))
        return cut if b is None else cut + b.reshape(-1, *[1] * (w.ndim - 2))


class MaxPool(_ByTorch):
    def by_torch(self, x, *, kernel_shape, storage_order=0, **spacing):
        del storage_order
        windows = Windows.of(x, kernel_shape, **spacing)
        padded = F.pad(x, windows.for_torch(1), value=-torch.inf)
        return windows.of_each(padded, -torch.inf).amax(-1)


class AveragePool(_ByTorch):
    def by_torch(self, x, *, kernel_shape, count_include_pad=0, **spacing):
        windows = Windows.of(x, kernel_shape, **spacing)
        ones = F.pad(torch.ones_like(x), windows.for_torch(1), value=float(count_include_pad or 0))
        padded = F.pad(x, windows.for_torch(1))
        return windows.of_each(padded, 0.0).sum(-1) / windows.of_each(ones, 0.0).sum(-1)


class LayerNormalization(_ByTorch):
    def by_torch(
        self,
        x: Tensor,
        scale: Tensor,
        bias: Tensor | None = None,
        *,
        axis: int = -1,
        epsilon: float = 1e-5,
        stash_type: int = 1,
    ) -> Tensor:
        del stash_type
        sizes = x.shape[axis % x.ndim :]
        straight = F.layer_norm(x, sizes, eps=epsilon) * scale
        return straight if bias is None else straight + bias


class GroupNormalization(_ByTorch):
    def by_torch(
        self,
        x: Tensor,
        scale: Tensor,
        bias: Tensor,
        *,
        num_groups: int,
        epsilon: float = 1e-5,
        stash_type: int = 1,
    ) -> Tensor:
        del stash_type
        return F.group_norm(x, num_groups, scale, bias, epsilon)


class Gelu(_ByTorch):
    def by_torch(self, x: Tensor, *, approximate: str = "none") -> Tensor:
        return F.gelu(x, approximate=approximate)


class HardSwish(_ByTorch):
    def by_torch(self, x: Tensor) -> Tensor:
        return F.hardswish(x)


class LpNormalization(_ByTorch):
    def by_torch(self, x, *, axis=-1, p=2):
        return F.normalize(x, p, axis)


class LRN(_ByTorch):
    def by_torch(self, x, *, size, alpha=1e-4, beta=0.75, bias=1.0):
        ends = [0, 0] * (x.ndim - 2) + [(size - 1) // 2, size // 2]
        squares = F.pad(x * x, ends).unfold(1, size, 1).sum(-1)
        return x / (bias + alpha / size * squares) ** beta


class Pad(OpRun):  # type: ignore[misc]
    """Any mode of numpy's, and negative ends, which cut."""

    op_domain = ""

    def _run(self, x, pads, value=None, axes=None, *, mode="constant"):
        ends = np.zeros((x.ndim, 2), int)
        ends[np.arange(x.ndim) if axes is None else axes] = np.reshape(pads, (2, -1)).T
        more = {} if mode != "constant" or value is None else {"constant_values": value}
        wider = np.pad(x, np.maximum(ends, 0), mode, **more)
        kept = [
            slice(max(0, -before), size - max(0, -behind))
            for size, (before, behind) in zip(wider.shape, ends, strict=True)
        ]
        return (wider[tuple(kept)],)


class Mish(_ByTorch):
    def by_torch(self, x: Tensor) -> Tensor:
        return F.mish(x)


class Erf(_ByTorch):
    def by_torch(self, x: Tensor) -> Tensor:
        return torch.erf(x)


IN_DOUBLE = (
    AveragePool, Conv, ConvTranspose, Erf, Gelu, GroupNormalization, HardSwish,
    LRN, LayerNormalization, LpNormalization, MaxPool, Mish, Pad,
)  # fmt: skip
