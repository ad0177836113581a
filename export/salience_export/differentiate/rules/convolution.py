"""Convolution: its gradient to the image is a convolution with the kernel turned about.

The kernel is turned in the graph, by nodes on weights that a runtime folds when it loads: the
bundle holds every weight once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from salience_export.differentiate.rules.windows import Windows, windows_of
from salience_export.differentiate.step import Rule, Step


def conv(step: Step) -> Mapping[int, str]:
    """y = w * x + b, over any number of axes, with groups, strides, pads and dilations.

    dx = (dy, spread by the strides) * (w turned about). Without strides this is a plain
    convolution, which runtimes do faster than a transposed one.
    """
    if step.wanted != {0}:
        raise step.refused("a computed kernel")
    kernel = _Kernel.of(step)
    windows = windows_of(step, kernel.sizes)
    if all(each.stride == 1 and min(_pads_back(each)) >= 0 for each in windows):
        return {0: _turned(step, kernel, windows, step.cotangent)}
    if kernel.is_depthwise and len(windows) == 2 and min(map(min, map(_pads_back, windows))) >= 0:
        return {0: _turned(step, kernel, windows, _spread(step, windows))}
    return {0: _transposed(step, kernel, windows)}


@dataclass(frozen=True)
class _Kernel:
    """The weights w [groups · made, taken, …]: each group makes `made` channels of `taken`."""

    name: str
    groups: int
    made: int
    taken: int
    sizes: tuple[int, ...]

    @classmethod
    def of(cls, step: Step) -> "_Kernel":
        sizes = [size or 0 for size in step.sizes(step.input(1))]
        groups = step.integer("group", 1)
        return cls(step.input(1), groups, sizes[0] // groups, sizes[1], tuple(sizes[2:]))

    @property
    def is_depthwise(self) -> bool:
        return self.taken == self.made == 1

    def turned_about(self, step: Step) -> str:
        """[groups · taken, made, …], every spatial axis reversed."""
        name = self.name if self.is_depthwise else self._swapped(step)
        axes = [axis + 2 for axis, size in enumerate(self.sizes) if size > 1]
        if not axes:
            return name
        back, first = [-1] * len(axes), [-(2**31)] * len(axes)
        return step.emit(
            "Slice", name, *(step.tape.integers(*e) for e in (back, first, axes, back))
        )

    def _swapped(self, step: Step) -> str:
        """The channels made and taken change places within each group."""
        axes = list(range(2, 2 + len(self.sizes)))
        if self.groups == 1:
            return step.emit("Transpose", self.name, perm=[1, 0, *axes])
        split = step.tape.integers(self.groups, self.made, self.taken, *self.sizes)
        joined = step.tape.integers(self.groups * self.taken, self.made, *self.sizes)
        swapped = step.emit(
            "Transpose",
            step.emit("Reshape", self.name, split),
            perm=[0, 2, 1, *(axis + 1 for axis in axes)],
        )
        return step.emit("Reshape", swapped, joined)


def _pads_back(window: Windows) -> tuple[int, int]:
    """Pads of the way back over the spread cotangent: reach − pad before, the rest after."""
    reach = (window.kernel - 1) * window.dilation
    before = reach - window.before
    return before, window.size + reach - window.count * window.stride - before


def _turned(step: Step, kernel: _Kernel, windows: Sequence[Windows], cotangent: str) -> str:
    pads = [_pads_back(each) for each in windows]
    return step.emit(
        "Conv",
        cotangent,
        kernel.turned_about(step),
        group=kernel.groups,
        kernel_shape=list(kernel.sizes),
        dilations=[each.dilation for each in windows],
        pads=[before for before, _ in pads] + [after for _, after in pads],
    )


def _spread(step: Step, windows: Sequence[Windows]) -> str:
    """dy with zeros between: each number repeated over its stride, then kept once.

    A depthwise convolution without strides does the rest: in ONNX Runtime on a CPU the two
    take 0.8 ms where ConvTranspose takes 1.6 (96 channels, 56×56 to 112×112).
    """
    strides = [each.stride for each in windows]
    repeated = step.emit(
        "Resize",
        step.cotangent,
        "",
        step.tape.constant(np.array([1, 1, *strides], np.float32)),
        mode="nearest",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )
    kept = np.zeros((1, 1, *(each.count * each.stride for each in windows)), step.dtype)
    kept[:, :, :: strides[0], :: strides[1]] = 1
    return step.emit("Mul", repeated, step.tape.constant(kept))


def _transposed(step: Step, kernel: _Kernel, windows: Sequence[Windows]) -> str:
    """The general case: ConvTranspose takes the kernel as it is.

    ONNX Runtime's CUDA has none whose pads differ before and behind: they are cut off after it.
    """
    before, after = [each.before for each in windows], [each.after for each in windows]
    even = before == after
    padded = step.emit(
        "ConvTranspose",
        step.cotangent,
        kernel.name,
        group=kernel.groups,
        kernel_shape=list(kernel.sizes),
        dilations=[each.dilation for each in windows],
        strides=[each.stride for each in windows],
        pads=[*before, *after] if even else [0] * 2 * len(windows),
        output_padding=[_left_over(each) for each in windows],
    )
    if even:
        return padded
    ends, axes = [each.before + each.size for each in windows], range(2, 2 + len(windows))
    return step.emit("Slice", padded, *(step.tape.integers(*e) for e in (before, ends, axes)))


def _left_over(window: Windows) -> int:
    """Positions at the end of the padded axis that no window reaches."""
    reached = (window.count - 1) * window.stride + (window.kernel - 1) * window.dilation + 1
    return window.before + window.size + window.after - reached


CONVOLUTION: Mapping[str, Rule] = {"Conv": conv}
