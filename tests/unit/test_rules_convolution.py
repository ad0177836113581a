"""The rule of convolution, beside torch: groups, strides, pads and dilations, drawn at random."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from salience_export.differentiate.step import NoRule
from tests.support.differentiated import Case, check, differentiated, one

CONVOLVE = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


def drawn(seed: int, axes: int = 2) -> Case:
    """A convolution whose window fits at least once, of any kind."""
    random = np.random.default_rng(seed)
    groups = int(random.choice([1, 1, 2, 3]))
    taken, made = (int(random.integers(1, 4)) for _ in range(2))
    if seed % 3 == 0:
        groups, taken, made = 4, 1, 1
    kernel, strides, dilations = (
        [int(value) for value in random.integers(1, most, axes)] for most in (5, 4, 4)
    )
    pads = [int(value) for value in random.integers(0, 5, 2 * axes)]
    sizes = [
        int(random.integers(max(d * (k - 1) + 1 - b - a, 1), 12))
        for k, d, b, a in zip(kernel, dilations, pads[:axes], pads[axes:], strict=True)
    ]
    weight = random.normal(size=(groups * made, taken, *kernel)).astype(np.float32)
    bias = random.normal(size=groups * made).astype(np.float32)
    attributes = {"group": groups, "strides": strides, "dilations": dilations, "pads": pads}
    if seed % 2:
        attributes["kernel_shape"] = kernel

    def twin(x: Tensor) -> Tensor:
        ends = [end for pair in zip(pads[:axes], pads[axes:], strict=True) for end in pair[::-1]]
        w, b = torch.from_numpy(weight).double(), torch.from_numpy(bias).double()
        return CONVOLVE[axes](F.pad(x, ends[::-1]), w, b, strides, 0, dilations, groups)

    return Case(
        one("Conv", "a", "w", "bias", **attributes),
        twin,
        ((None, groups * taken, *sizes),),
        {"w": weight, "bias": bias},
    )


@pytest.mark.parametrize("seed", range(60))
def test_a_convolution_of_pictures_goes_back_as_in_torch(seed: int) -> None:
    check(drawn(seed))


@pytest.mark.parametrize("axes", [1, 3])
@pytest.mark.parametrize("seed", range(8))
def test_a_convolution_of_lines_and_solids_goes_back_as_in_torch(seed: int, axes: int) -> None:
    check(drawn(seed, axes))


@pytest.mark.parametrize("pad", ["SAME_UPPER", "SAME_LOWER", "VALID"])
@pytest.mark.parametrize("depthwise", [True, False])
@pytest.mark.parametrize("size", [9, 10])
def test_automatic_pads_are_worked_out(pad: str, *, depthwise: bool, size: int) -> None:
    channels = 4
    weight = np.random.default_rng(0).normal(size=(channels, 1 if depthwise else 4, 3, 3))
    groups = channels if depthwise else 1
    count = -(-size // 2)
    total = 0 if pad == "VALID" else max(0, (count - 1) * 2 + 3 - size)
    less, more = total // 2, total - total // 2
    before, after = (less, more) if pad == "SAME_UPPER" else (more, less)

    def twin(x: Tensor) -> Tensor:
        w = torch.from_numpy(weight.astype(np.float32)).double()
        return F.conv2d(F.pad(x, [before, after] * 2), w, None, 2, groups=groups)

    check(
        Case(
            one("Conv", "a", "w", group=groups, strides=[2, 2], auto_pad=pad),
            twin,
            ((None, channels, size, size),),
            {"w": weight.astype(np.float32)},
        )
    )


def test_pads_that_differ_are_cut_off_for_cuda_transposes_with_even_pads_alone() -> None:
    """As a first layer has them in EfficientNet and MobileNet."""
    weight = np.random.default_rng(0).normal(size=(4, 3, 3, 3)).astype(np.float32)
    case = Case(
        one("Conv", "a", "w", strides=[2, 2], pads=[0, 0, 1, 1]),
        lambda x: F.conv2d(F.pad(x, [0, 1] * 2), torch.from_numpy(weight).double(), None, 2),
        ((None, 3, 8, 8),),
        {"w": weight},
    )
    check(case)
    nodes = differentiated(case).graph.node
    transposes = [node for node in nodes if node.op_type == "ConvTranspose"]
    pads = [list(a.ints) for node in transposes for a in node.attribute if a.name == "pads"]
    assert pads == [[0, 0, 0, 0]]


def test_a_kernel_is_turned_in_the_graph_not_stored_again() -> None:
    weight = np.zeros((64, 64, 3, 3), np.float32)
    case = Case(
        one("Conv", "a", "w", pads=[1] * 4), lambda x: x, ((None, 64, 8, 8),), {"w": weight}
    )
    held = differentiated(case).graph.initializer
    assert sum(len(tensor.raw_data) for tensor in held) < 1.01 * weight.nbytes


def test_a_kernel_that_is_computed_from_the_image_is_refused() -> None:
    case = Case(one("Conv", "a", "b"), F.conv2d, ((None, 3, 5, 5), (2, 3, 3, 3)))
    with pytest.raises(NoRule, match="Conv with a computed kernel"):
        differentiated(case)
