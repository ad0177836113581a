"""Windows of a pooling or convolution along one axis: which entries each of them covers."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from salience_export.differentiate.step import Step


@dataclass(frozen=True)
class Windows:
    """How a pooling looks at one axis.

    Attributes:
        size: entries of the axis.
        count: windows.
        kernel: entries of a window.
        stride: entries from one window to the next.
        dilation: entries from one of a window's to the next.
        before: padding in front.
        after: padding behind, as stated; a last window may reach beyond it.
    """

    size: int
    count: int
    kernel: int
    stride: int
    dilation: int
    before: int
    after: int

    @property
    def is_trivial(self) -> bool:
        """Whether each window is one entry, and each entry a window."""
        return self.kernel == 1 and self.count == self.size and self.before == 0

    @property
    def begins_behind(self) -> bool:
        """Whether the last window begins in the padding behind."""
        return (self.count - 1) * self.stride >= self.size + self.before

    @property
    def reach(self) -> int:
        """Padding behind that the last window needs."""
        last = (self.count - 1) * self.stride + (self.kernel - 1) * self.dilation
        return max(0, last + 1 - self.before - self.size)

    @property
    def positions(self) -> NDArray[np.int64]:
        """Entries of the windows [count, kernel]; outside [0, size) they are padding."""
        starts = np.arange(self.count) * self.stride - self.before
        return starts[:, None] + np.arange(self.kernel) * self.dilation

    @property
    def inside(self) -> NDArray[np.bool_]:
        """Where the positions [count, kernel] are entries and no padding."""
        return (self.positions >= 0) & (self.positions < self.size)


def windows_of(step: Step, sizes_of_kernel: Sequence[int] = ()) -> list[Windows]:
    """The windows of a node, one per axis from the third on; a Conv may leave out its kernel's."""
    sizes, counts = (step.sizes(name)[2:] for name in (step.input(0), step.output))
    kernel = step.integers("kernel_shape", sizes_of_kernel)
    strides = step.integers("strides", [1] * len(kernel))
    dilations = step.integers("dilations", [1] * len(kernel))
    pads = step.integers("pads", [0] * 2 * len(kernel))
    mode = step.attribute("auto_pad", "NOTSET")
    found = []
    for axis, (size, count) in enumerate(zip(sizes, counts, strict=True)):
        if size is None or count is None:
            raise step.refused("windows along images")
        ends = pads[axis], pads[axis + len(kernel)]
        spacing = strides[axis], dilations[axis]
        if mode in ("SAME_UPPER", "SAME_LOWER"):
            extent = (kernel[axis] - 1) * dilations[axis] + 1
            total = max(0, (count - 1) * strides[axis] + extent - size)
            ends = _halves(total, upper=mode == "SAME_UPPER")
        elif mode == "VALID":
            ends = (0, 0)
        found.append(Windows(size, count, kernel[axis], *spacing, *ends))
    if step.integer("ceil_mode", 0) and any(each.begins_behind for each in found):
        # Shape inference counts them before opset 22, runtimes do not.
        raise step.refused("windows that begin behind the image")
    return found


def _halves(total: int, *, upper: bool) -> tuple[int, int]:
    """Padding on both sides; what is odd goes behind where `upper`, else in front."""
    small, large = total // 2, total - total // 2
    return (small, large) if upper else (large, small)
