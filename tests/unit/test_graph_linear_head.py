"""Where CAM is defined: global average pooling and one linear layer, nothing else."""

from collections.abc import Callable

import numpy as np
import onnx
import pytest

from salience_export.graphs.flow import Flow
from salience_export.graphs.linear_head import has_linear_head
from salience_export.graphs.taps import tap_of
from tests.support.onnx_networks import Drawing

Ending = Callable[[Drawing, str], object]
MAPS, CLASSES = 4, 3


def is_linear(ending: Ending) -> bool:
    drawing = Drawing()
    drawing.op("Relu", drawing.conv("images", (3, MAPS), stride=2), to="maps")
    ending(drawing, "maps")
    model = drawing.model("logits")
    return has_linear_head(Flow(model), tap_of(model, "maps"))


def pooled_then_dense(d: Drawing, x: str) -> None:
    d.dense(d.op("Flatten", d.op("GlobalAveragePool", x)), (MAPS, CLASSES), to="logits")


def averaged_over_its_whole_size(d: Drawing, x: str) -> None:
    d.dense(
        d.op("Flatten", d.op("AveragePool", x, kernel_shape=[16, 16])), (MAPS, CLASSES), to="logits"
    )


def convolved_then_pooled(d: Drawing, x: str) -> None:
    scores = d.conv(x, (MAPS, CLASSES), kernel=1)
    d.op("Flatten", d.op("GlobalAveragePool", scores), to="logits")


def with_a_bias_added(d: Drawing, x: str) -> None:
    pooled = d.op("Flatten", d.op("GlobalAveragePool", x))
    bias = d.weight("own_bias", np.ones(CLASSES, np.float32))
    d.op("Add", d.dense(pooled, (MAPS, CLASSES)), bias, to="logits")


def averaged_over_both_axes(d: Drawing, x: str) -> None:
    d.dense(d.op("Flatten", _mean(d, x, -1, 2)), (MAPS, CLASSES), to="logits")


def _mean(d: Drawing, x: str, *axes: int) -> str:
    return d.op("ReduceMean", x, axes=list(axes))


def through_dropout(d: Drawing, x: str) -> None:
    d.dense(
        d.op("Dropout", d.op("Flatten", d.op("GlobalAveragePool", x))), (MAPS, CLASSES), to="logits"
    )


@pytest.mark.parametrize(
    "ending",
    [
        pooled_then_dense,
        averaged_over_its_whole_size,
        averaged_over_both_axes,
        convolved_then_pooled,
        with_a_bias_added,
        through_dropout,
    ],
    ids=lambda ending: ending.__name__,
)
def test_pooling_and_one_layer_in_either_order_are_a_linear_head(ending: Ending) -> None:
    assert is_linear(ending)


def test_axes_that_a_constant_lists_are_read() -> None:
    d = Drawing()
    x = d.op("Relu", d.conv("images", (3, MAPS), stride=2), to="maps")
    d.nodes.append(onnx.helper.make_node("Constant", [], ["axes"], value_ints=[2, 3]))
    d.dense(d.op("Flatten", d.op("ReduceMean", x, "axes")), (MAPS, CLASSES), to="logits")
    model = d.model("logits", opset=18)
    assert has_linear_head(Flow(model), tap_of(model, "maps"))


def two_layers(d: Drawing, x: str) -> None:
    pooled = d.op("Flatten", d.op("GlobalAveragePool", x))
    d.dense(d.dense(pooled, (MAPS, 5)), (5, CLASSES), to="logits")


def an_activation_between(d: Drawing, x: str) -> None:
    pooled = d.op("Relu", d.op("Flatten", d.op("GlobalAveragePool", x)))
    d.dense(pooled, (MAPS, CLASSES), to="logits")


def all_pixels_weighed(d: Drawing, x: str) -> None:
    d.dense(d.op("Flatten", x), (MAPS * 256, CLASSES), to="logits")


def the_greatest_taken(d: Drawing, x: str) -> None:
    d.dense(d.op("Flatten", d.op("GlobalMaxPool", x)), (MAPS, CLASSES), to="logits")


def pooled_in_part(d: Drawing, x: str) -> None:
    pooled = d.op("AveragePool", x, kernel_shape=[8, 8], strides=[8, 8])
    d.dense(d.op("Flatten", pooled), (MAPS * 4, CLASSES), to="logits")


def convolved_over_neighbours(d: Drawing, x: str) -> None:
    scores = d.conv(x, (MAPS, CLASSES), kernel=3)
    d.op("Flatten", d.op("GlobalAveragePool", scores), to="logits")


def pooled_but_for_the_edge(d: Drawing, x: str) -> None:
    pooled = d.op("AveragePool", x, kernel_shape=[14, 14], strides=[14, 14])
    d.dense(d.op("Flatten", pooled), (MAPS, CLASSES), to="logits")


def pooled_with_a_margin(d: Drawing, x: str) -> None:
    pooled = d.op("AveragePool", x, kernel_shape=[16, 16], strides=[16, 16], pads=[1, 1, 0, 0])
    d.dense(d.op("Flatten", pooled), (MAPS, CLASSES), to="logits")


def smoothed_without_pooling(d: Drawing, x: str) -> None:
    smooth = d.op("AveragePool", x, kernel_shape=[16, 16], auto_pad="SAME_UPPER")
    d.dense(d.op("Flatten", smooth), (MAPS * 256, CLASSES), to="logits")


def averaged_over_channels(d: Drawing, x: str) -> None:
    square = d.conv(x, (MAPS, 256), kernel=1)  # As many channels as places.
    d.dense(d.op("Flatten", _mean(d, square, 1)), (256, CLASSES), to="logits")


def convolved_over_every_other_place(d: Drawing, x: str) -> None:
    scores = d.conv(x, (MAPS, CLASSES), kernel=1, stride=2)
    d.op("Flatten", d.op("GlobalAveragePool", scores), to="logits")


def used_twice(d: Drawing, x: str) -> None:
    pooled = d.op("Flatten", d.op("GlobalAveragePool", x))
    gate = d.op("Sigmoid", d.op("Flatten", d.op("GlobalMaxPool", x)))
    d.dense(d.op("Mul", pooled, gate), (MAPS, CLASSES), to="logits")


@pytest.mark.parametrize(
    "ending",
    [
        two_layers,
        an_activation_between,
        all_pixels_weighed,
        the_greatest_taken,
        pooled_in_part,
        pooled_but_for_the_edge,
        pooled_with_a_margin,
        averaged_over_channels,
        smoothed_without_pooling,
        convolved_over_neighbours,
        convolved_over_every_other_place,
        used_twice,
    ],
    ids=lambda ending: ending.__name__,
)
def test_anything_else_is_not(ending: Ending) -> None:
    assert not is_linear(ending)


def _tokens_average(d: Drawing, x: str) -> None:
    d.dense(d.op("Flatten", _mean(d, x, 1)), (MAPS, CLASSES), to="logits")


def _channels_average(d: Drawing, x: str) -> None:
    d.dense(d.op("Flatten", d.op("GlobalAveragePool", x)), (256, CLASSES), to="logits")


def _channels_in_a_window(d: Drawing, x: str) -> None:
    pooled = d.op("AveragePool", x, kernel_shape=[MAPS])
    d.dense(d.op("Flatten", pooled), (256, CLASSES), to="logits")


@pytest.mark.parametrize(
    ("ending", "linear"),
    [(_tokens_average, True), (_channels_average, False), (_channels_in_a_window, False)],
)
def test_of_tokens_it_is_the_mean_over_tokens_and_not_over_channels(
    ending: Ending, linear: bool
) -> None:
    drawing = Drawing()
    maps = drawing.op("Relu", drawing.conv("images", (3, MAPS), stride=2))
    rows = drawing.op("Reshape", maps, drawing.ints(0, MAPS, 256))
    ending(drawing, drawing.op("Transpose", rows, perm=[0, 2, 1], to="tokens"))
    model = drawing.model("logits")
    assert has_linear_head(Flow(model), tap_of(model, "tokens")) is linear
