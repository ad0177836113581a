"""Windows as ONNX states them, laid over a torch tensor."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Windows:
    """Windows over the axes from the third on; `pads` (before, behind) of each axis."""

    kernel: Sequence[int]
    strides: Sequence[int]
    dilations: Sequence[int]
    pads: Sequence[tuple[int, int]]
    ceil_mode: bool

    @classmethod
    def of(cls, x, kernel, *, strides=None, dilations=None, pads=None, auto_pad=None, ceil_mode=0):
        rank = len(kernel)
        strides, dilations = list(strides or [1] * rank), list(dilations or [1] * rank)
        ends = list(pads or [0] * 2 * rank)
        pairs = list(zip(ends[:rank], ends[rank:], strict=True))
        if auto_pad in ("SAME_UPPER", "SAME_LOWER"):
            for axis, size in enumerate(x.shape[2:]):
                extent = (kernel[axis] - 1) * dilations[axis] + 1
                count = -(-size // strides[axis])
                total = max(0, (count - 1) * strides[axis] + extent - size)
                halves = total // 2, total - total // 2
                pairs[axis] = halves if auto_pad == "SAME_UPPER" else halves[::-1]
        return cls(kernel, strides, dilations, pairs, bool(ceil_mode))

    def for_torch(self, sign: int) -> list[int]:
        """The pads as torch.nn.functional.pad takes them: the last axis first."""
        return [sign * end for pair in reversed(self.pads) for end in pair]

    def of_each(self, padded: Tensor, beyond: float) -> Tensor:
        """The entries of every window [N, C, windows …, entries] of a padded tensor."""
        rank = len(self.kernel)
        for axis in range(rank):
            size = padded.shape[2 + 2 * axis]
            positions = self._positions(axis, size)
            more = max(0, int(positions.max()) + 1 - size)
            ends = [0, 0] * (padded.ndim - 3 - 2 * axis) + [0, more]
            padded = F.pad(padded, ends, value=beyond)
            padded = padded.index_select(2 + 2 * axis, positions.reshape(-1))
            padded = padded.unflatten(2 + 2 * axis, positions.shape)
        order = [0, 1, *range(2, 2 + 2 * rank, 2), *range(3, 3 + 2 * rank, 2)]
        return padded.permute(order).flatten(2 + rank)

    def _positions(self, axis: int, size: int) -> Tensor:
        """Entries [windows, kernel] of an axis that has been padded to a size."""
        extent = (self.kernel[axis] - 1) * self.dilations[axis] + 1
        stride = self.strides[axis]
        count = (size - extent) // stride + 1
        one_more_starts_inside = count * stride < size - self.pads[axis][1]
        if self.ceil_mode and (size - extent) % stride and one_more_starts_inside:
            count += 1
        starts = torch.arange(count) * stride
        return starts[:, None] + torch.arange(self.kernel[axis]) * self.dilations[axis]
