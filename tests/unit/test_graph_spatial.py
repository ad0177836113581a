"""Maps over the image, and tensors whose channels lie behind them."""

import onnx
import pytest

from salience_export.errors import ExportError
from salience_export.graphs.flow import Flow
from salience_export.graphs.spatial import has_channels_last, is_reduced_image
from salience_export.graphs.taps import choose_taps, tap_of
from tests.support.onnx_networks import Drawing

TO_LAST, TO_FIRST = [0, 2, 3, 1], [0, 3, 1, 2]


def normed(channels: int, size: tuple[int, int] = (32, 32)) -> onnx.ModelProto:
    """Maps at stride 8 normalised over channels, as ConvNeXt's are, and pooled likewise."""
    d = Drawing()
    x = d.op("Relu", d.conv("images", (3, channels), stride=8), to="first")
    x = d.op("Relu", d.op("Transpose", x, perm=TO_LAST), to="last")
    x = d.op("Transpose", x, perm=TO_FIRST, to="back")
    x = d.op("Transpose", d.op("GlobalAveragePool", x), perm=TO_LAST)
    x = d.op("Flatten", d.op("Relu", x, to="pooled"))
    d.dense(x, (channels, 3), to="logits")
    return d.model("logits", ("N", 3, *size))


@pytest.mark.parametrize(
    ("grid", "size", "reduced"),
    [
        ((7, 7), (224, 224), True),
        ((7, 8), (224, 224), True),
        ((7, 768), (224, 224), False),
        ((1, 1), (224, 224), True),
        ((1, 768), (224, 224), False),
        ((12, 16), (384, 512), True),
        ((16, 12), (384, 512), False),
        ((3, 2), (100, 70), True),
        ((4, 3), (100, 70), True),
        ((1, 4), (32, 128), True),
    ],
)
def test_a_grid_is_the_image_reduced_within_rounding(
    grid: tuple[int, int], size: tuple[int, int], reduced: bool
) -> None:
    d = Drawing()
    d.dense(d.op("Flatten", "images"), (3 * size[0] * size[1], 3), to="logits")
    assert is_reduced_image(Flow(d.model("logits", ("N", 3, *size))), *grid) is reduced


@pytest.mark.parametrize("size", [(32, 32), (32, 64)])
@pytest.mark.parametrize("channels", [24, 4])
def test_channels_are_last_by_proportion_and_where_both_fit_by_the_transpose(
    channels: int, size: tuple[int, int]
) -> None:
    flow = Flow(normed(channels, size))
    names = ("first", "last", "back", "pooled")
    assert [has_channels_last(flow, name) for name in names] == [False, True, False, True]


@pytest.mark.parametrize("channels", [24, 4])
def test_maps_with_channels_last_are_never_chosen(channels: int) -> None:
    taps = choose_taps(normed(channels), 3)
    assert [(tap.name, tap.channels, tap.height, tap.width) for tap in taps] == [
        ("first", channels, 4, 4),
        ("back", channels, 4, 4),
    ]


def test_a_line_of_pixels_that_a_mean_leaves_is_chosen_only_by_name() -> None:
    d = Drawing()
    x = d.op("Relu", d.conv("images", (3, 6), stride=8), to="map")
    x = d.op("ReduceMean", x, axes=[2], to="line")
    d.dense(d.op("Flatten", x), (24, 3), to="logits")
    assert [tap.name for tap in choose_taps(d.model("logits"), 3)] == ["map"]
    named = tap_of(d.model("logits"), "line")
    assert (named.channels, named.height, named.width) == (6, 1, 4)


def test_a_named_tap_with_channels_last_is_refused() -> None:
    with pytest.raises(ExportError, match=r"'last' has shape \['N', 4, 4, 24\], its channels last"):
        tap_of(normed(24), "last")


def test_maps_of_one_row_are_chosen_as_others_are() -> None:
    d = Drawing()
    x = d.op("Relu", d.conv("images", (3, 6), stride=4), to="map")
    x = d.op("MaxPool", x, kernel_shape=[8, 1])
    d.op("Relu", d.conv(x, (6, 12)), to="row")
    d.dense(d.op("Flatten", d.op("GlobalAveragePool", "row")), (12, 3), to="logits")
    taps = choose_taps(d.model("logits", ("N", 3, 32, 64)), 3)
    assert [(tap.name, tap.height, tap.width) for tap in taps] == [("map", 8, 16), ("row", 1, 16)]


def test_what_operators_tell_of_channels_goes_before_proportions() -> None:
    d = Drawing()
    d.op("MaxPool", d.conv("images", (3, 8)), kernel_shape=[1, 4], strides=[1, 4], to="narrow")
    d.op("Transpose", "narrow", perm=TO_LAST, to="last")
    d.dense(d.op("Flatten", "last"), (8 * 32 * 32, 3), to="logits")
    flow = Flow(d.model("logits", ("N", 3, 32, 128)))
    assert is_reduced_image(flow, 8, 32), "proportions say [N, h, w, C]"
    assert [has_channels_last(flow, name) for name in ("narrow", "last")] == [False, True]


def windowed(sum_first: bool) -> onnx.ModelProto:
    """Attention among the 16 pixels of each of four windows of a map, as in MaxViT."""
    d = Drawing()
    x = d.op("Relu", d.conv("images", (3, 6), stride=4), to="stem")
    x = d.op("Reshape", x, d.ints(0, 6, 2, 4, 2, 4))
    x = d.op("Reshape", d.op("Transpose", x, perm=[0, 2, 4, 3, 5, 1]), d.ints(0, 4, 16, 6))
    scores = d.op("Softmax", d.op("MatMul", x, d.op("Transpose", x, perm=[0, 1, 3, 2])))
    parts = d.op("Reshape", d.op("MatMul", scores, x), d.ints(0, 4, 16, 2, 3))
    y = d.op("Reshape", parts, d.ints(0, 4, 16, 6))
    x = d.op("Add", *((x, y) if sum_first else (y, x)), to="windows")
    x = d.op("Transpose", d.op("Reshape", x, d.ints(0, 2, 2, 4, 4, 6)), perm=[0, 5, 1, 3, 2, 4])
    x = d.op("Reshape", x, d.ints(0, 6, 8, 8), to="maps")
    d.dense(d.op("Flatten", d.op("GlobalAveragePool", x)), (6, 3), to="logits")
    return d.model("logits")


@pytest.mark.parametrize("sum_first", [True, False])
def test_windows_of_a_map_are_no_map(sum_first: bool) -> None:
    model = windowed(sum_first)
    assert [tap.name for tap in choose_taps(model, 3)] == ["stem", "maps"]
    with pytest.raises(ExportError, match=r"'windows' has shape \['N', 4, 16, 6\], its channels"):
        tap_of(model, "windows")
