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


def test_a_line_of_pixels_across_a_square_image_is_chosen_only_by_name() -> None:
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
