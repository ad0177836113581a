"""Maps go out on the grid, in the scale and in the encoding asked for, and never lie."""

import io

import numpy as np
import pytest
from PIL import Image

from salience_service.bundle.manifest import ColourOrder, InputContract, ResizeRule
from salience_service.errors import InvalidRequest, NotPossible
from salience_service.events import EncodedMap
from salience_service.image.fill import fill_tensor
from salience_service.image.pixels import ImageLimits
from salience_service.image.prepare import Prepared, prepare
from salience_service.interpolation import upsample
from salience_service.maps.picture import vivid
from salience_service.maps.render import check_format, render
from salience_service.request import (
    BlurFill,
    ColourFill,
    Encoding,
    Geometry,
    MapFormat,
    MeanFill,
    PixelImage,
    Scale,
)
from tests.support.contracts import contract

RNG = np.random.default_rng(11)
RULE = contract(size=(48, 48), short_side=56)
IMAGE = RNG.integers(0, 256, (90, 140, 3), dtype=np.uint8)
PREPARED = prepare(PixelImage(IMAGE, 255), RULE, ImageLimits())
VALIDITY = PREPARED.placement.validity()
FILL = fill_tensor(MeanFill(), PREPARED.tensor, RULE)
UNSIGNED = RNG.random((7, 7), dtype=np.float32) * 3 + 2
SIGNED = RNG.normal(size=(7, 7)).astype(np.float32) - 0.5
GEOMETRIES = list(Geometry)


def rendered(
    raw: np.ndarray,
    form: MapFormat,
    signed: bool = False,
    prepared: Prepared = PREPARED,
    rule: InputContract = RULE,
    fill: np.ndarray = FILL,
) -> EncodedMap:
    return render(raw, signed, prepared, rule, fill, form)


def numbers(encoded: EncodedMap) -> np.ndarray:
    dtype = "<f2" if encoded.encoding is Encoding.FLOAT16 else "<f4"
    return np.frombuffer(encoded.data, dtype).reshape(encoded.height, encoded.width)


def picture(encoded: EncodedMap) -> np.ndarray:
    image = Image.open(io.BytesIO(encoded.data))
    assert (image.format, image.size) == ("PNG", (encoded.width, encoded.height))
    return np.asarray(image)


def on_grid(raw: np.ndarray, geometry: Geometry) -> np.ndarray:
    """The raw values, by the two steps of the definition."""
    if geometry is Geometry.FEATURE:
        return raw
    up = upsample(raw, 48, 48)
    return up if geometry is Geometry.INPUT else PREPARED.placement.to_original(up) * VALIDITY


def seen_values(raw: np.ndarray, geometry: Geometry) -> np.ndarray:
    values = on_grid(raw, geometry)
    return values[VALIDITY] if geometry is Geometry.ORIGINAL else values


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("raw", [UNSIGNED, SIGNED])
def test_raw_values_stay_as_they_are(raw: np.ndarray, geometry: Geometry) -> None:
    got = rendered(raw, MapFormat(geometry=geometry, scale=Scale.RAW))
    np.testing.assert_allclose(numbers(got), on_grid(raw, geometry), atol=3e-6)
    seen = seen_values(raw, geometry)
    assert got.raw_minimum == pytest.approx(seen.min(), abs=3e-6)
    assert got.raw_maximum == pytest.approx(seen.max(), abs=3e-6)
    assert not got.degenerate


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_an_unsigned_map_is_brought_to_zero_and_one_over_what_was_seen(geometry: Geometry) -> None:
    got = numbers(rendered(UNSIGNED, MapFormat(geometry=geometry)))
    values, seen = on_grid(UNSIGNED, geometry), seen_values(UNSIGNED, geometry)
    wanted = (values - seen.min()) / (seen.max() - seen.min())
    if geometry is Geometry.ORIGINAL:
        assert (got[~VALIDITY] == 0).all()
        got, wanted = got[VALIDITY], wanted[VALIDITY]
    assert (got.min(), got.max()) == (0, 1)
    np.testing.assert_allclose(got, wanted, atol=3e-6)


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_a_signed_map_is_divided_by_its_greatest_and_zero_stays_zero(geometry: Geometry) -> None:
    raw = SIGNED.copy()
    raw[2:5, 2:5] = 0
    got = numbers(rendered(raw, MapFormat(geometry=geometry), signed=True))
    values = on_grid(raw, geometry)
    np.testing.assert_allclose(got, values / np.abs(seen_values(raw, geometry)).max(), atol=3e-6)
    assert np.abs(got).max() == 1
    middle = tuple(size // 2 for size in got.shape)
    assert got[middle] == 0


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("value", [0.0, 0.7, -3.0, 1e30])
@pytest.mark.parametrize("signed", [False, True])
def test_a_flat_map_gives_zeros_and_says_so(geometry: Geometry, value: float, signed: bool) -> None:
    raw = np.full((7, 7), value, np.float32)
    got = rendered(raw, MapFormat(geometry=geometry), signed)
    assert got.degenerate
    assert (numbers(got) == 0).all()
    assert got.raw_maximum == pytest.approx(value)


@pytest.mark.parametrize("geometry", [Geometry.FEATURE, Geometry.INPUT])
def test_these_geometries_have_no_unseen_pixel(geometry: Geometry) -> None:
    assert rendered(UNSIGNED, MapFormat(geometry=geometry)).validity is None


def test_the_original_geometry_marks_what_the_crop_kept_out() -> None:
    got = rendered(UNSIGNED, MapFormat(geometry=Geometry.ORIGINAL))
    assert (got.height, got.width) == IMAGE.shape[:2]
    assert got.validity is not None
    np.testing.assert_array_equal(got.validity, VALIDITY)
    assert 0 < VALIDITY.mean() < 1
    assert got.seen == PREPARED.placement.seen()


def test_an_original_seen_whole_needs_no_validity() -> None:
    rule = contract(ResizeRule.PAD, (48, 48))
    prepared = prepare(PixelImage(IMAGE, 255), rule, ImageLimits())
    got = rendered(UNSIGNED, MapFormat(geometry=Geometry.ORIGINAL), prepared=prepared, rule=rule)
    assert got.validity is None


def test_a_crop_between_the_centres_of_two_pixels_gives_a_degenerate_map() -> None:
    rule = contract(size=(8, 8), short_side=16)
    prepared = prepare(PixelImage(IMAGE[:1, :2], 255), rule, ImageLimits())
    got = rendered(UNSIGNED, MapFormat(geometry=Geometry.ORIGINAL), prepared=prepared, rule=rule)
    assert got.degenerate
    assert not got.validity.any()  # type: ignore[union-attr]
    assert (numbers(got) == 0).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
def test_a_map_that_is_not_all_numbers_never_leaves(value: float) -> None:
    raw = UNSIGNED.copy()
    raw[3, 3] = value
    with pytest.raises(NotPossible):
        rendered(raw, MapFormat())
    with pytest.raises(NotPossible):
        rendered(np.full_like(raw, np.inf), MapFormat(scale=Scale.RAW))


def test_float16_holds_the_unit_scale() -> None:
    exact = numbers(rendered(UNSIGNED, MapFormat()))
    half = numbers(rendered(UNSIGNED, MapFormat(encoding=Encoding.FLOAT16)))
    assert half.dtype == np.float16
    np.testing.assert_allclose(half, exact, atol=2.5e-4)


@pytest.mark.parametrize("scale", [1e5, 1e-6])
def test_raw_values_beyond_float16_are_refused_not_bent(scale: float) -> None:
    form = MapFormat(encoding=Encoding.FLOAT16, scale=Scale.RAW)
    raw = (UNSIGNED * scale).astype(np.float32)
    with pytest.raises(InvalidRequest, match="float16"):
        rendered(raw, form)
    np.testing.assert_allclose(
        numbers(rendered(UNSIGNED, form)), on_grid(UNSIGNED, Geometry.INPUT), rtol=1e-3
    )


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_a_grey_png_runs_from_0_to_255(geometry: Geometry) -> None:
    form = MapFormat(Encoding.PNG_GREY, geometry)
    got = picture(rendered(UNSIGNED, form))
    unit = numbers(rendered(UNSIGNED, MapFormat(geometry=geometry)))
    np.testing.assert_array_equal(got, np.rint(unit * 255))
    assert (got.min(), got.max()) == (0, 255)


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_a_signed_grey_png_has_zero_at_128(geometry: Geometry) -> None:
    got = picture(rendered(SIGNED, MapFormat(Encoding.PNG_GREY, geometry), signed=True))
    unit = numbers(rendered(SIGNED, MapFormat(geometry=geometry), signed=True))
    np.testing.assert_array_equal(got, np.rint(unit * 127) + 128)
    if geometry is Geometry.ORIGINAL:
        assert (got[~VALIDITY] == 128).all()


def test_an_overlay_mixes_colour_and_image_by_alpha() -> None:
    base = np.asarray(to_input_pixels(), np.float64)
    full = picture(rendered(UNSIGNED, MapFormat(Encoding.PNG_OVERLAY, overlay_alpha=1.0)))
    for alpha in (0.25, 0.5):
        got = picture(rendered(UNSIGNED, MapFormat(Encoding.PNG_OVERLAY, overlay_alpha=alpha)))
        np.testing.assert_allclose(got, base * (1 - alpha) + full * alpha, atol=1.01)


def test_more_evidence_is_brighter_in_an_overlay() -> None:
    ramp = np.tile(np.linspace(0, 1, 48, dtype=np.float32), (48, 1))
    colours = picture(rendered(ramp, MapFormat(Encoding.PNG_OVERLAY, overlay_alpha=1.0)))
    light = colours[20].astype(float) @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(light) > 0).all()


def test_a_signed_overlay_is_blue_against_red_for_and_pale_at_zero() -> None:
    ramp = np.tile(np.linspace(-1, 1, 49, dtype=np.float32), (48, 1))[:, :]
    form = MapFormat(Encoding.PNG_OVERLAY, Geometry.INPUT, overlay_alpha=1.0)
    colours = picture(rendered(ramp, form, signed=True))[20].astype(int)
    against, zero, favour = colours[0], colours[24], colours[-1]
    assert against[2] > against[0] + 100
    assert favour[0] > favour[2] + 100
    assert zero.min() > 200


@pytest.mark.parametrize("signed", [False, True])
def test_one_great_pixel_does_not_leave_an_overlay_dark_and_no_data_is_changed(
    signed: bool,
) -> None:
    ramp = np.tile(np.linspace(-1 if signed else 0, 1, 48, dtype=np.float32), (48, 1))
    spoilt = ramp.copy()
    spoilt[0, 0] = -1000 if signed else 1000
    form = MapFormat(Encoding.PNG_OVERLAY, overlay_alpha=1.0)
    colours = [picture(rendered(raw, form, signed=signed)) for raw in (spoilt, ramp)]
    np.testing.assert_allclose(colours[0][1:].astype(int), colours[1][1:].astype(int), atol=12)
    for encoding in (Encoding.FLOAT32, Encoding.PNG_GREY):
        one, other = (rendered(raw, MapFormat(encoding), signed=signed) for raw in (spoilt, ramp))
        assert one.data != other.data
    assert abs(numbers(rendered(spoilt, MapFormat(), signed=signed))[20, 40]) < 0.002


def test_a_map_of_one_pixel_is_drawn_by_its_greatest_value() -> None:
    raw = np.zeros((48, 48), np.float32)
    raw[7, 9] = 3
    colours = picture(rendered(raw, MapFormat(Encoding.PNG_OVERLAY, overlay_alpha=1.0)))
    assert colours[7, 9].astype(int).sum() > 400
    assert colours[30, 30].astype(int).sum() < 20


def test_the_colours_of_an_overlay_come_from_what_the_model_saw() -> None:
    seen = np.random.default_rng(0).random((10, 10), dtype=np.float32)
    unit, validity = np.zeros((2, 100, 100))
    unit[40:50, 70:80], validity[40:50, 70:80] = seen, 1
    drawn = vivid(unit.astype(np.float32), validity.astype(bool))
    np.testing.assert_array_equal(drawn[40:50, 70:80], vivid(seen, None))
    assert 0.9 < np.median(drawn[drawn > 0]) / np.median(seen) < 1.1


def test_unseen_pixels_of_an_overlay_are_grey_and_striped_whatever_the_map() -> None:
    form = MapFormat(Encoding.PNG_OVERLAY, Geometry.ORIGINAL)
    one = picture(rendered(UNSIGNED, form))
    other = picture(rendered(SIGNED, form, signed=True))
    np.testing.assert_array_equal(one[~VALIDITY], other[~VALIDITY])
    unseen = one[~VALIDITY]
    assert (unseen == unseen[:, :1]).all()
    stripes = (unseen[:, 0] == 160).mean()
    assert 0.08 < stripes < 0.18
    assert np.median(unseen) < 0.5 * np.median(IMAGE)


@pytest.mark.parametrize("geometry", [Geometry.INPUT, Geometry.ORIGINAL])
def test_a_masked_image_is_the_fill_where_the_mask_is_zero_and_the_image_where_it_is_one(
    geometry: Geometry,
) -> None:
    fill = fill_tensor(ColourFill((1.0, 0.0, 0.2)), PREPARED.tensor, RULE)
    got = picture(rendered(UNSIGNED, MapFormat(Encoding.PNG_MASKED, geometry), fill=fill))
    whole = numbers(rendered(UNSIGNED, MapFormat(scale=Scale.RAW)))
    raw = numbers(rendered(UNSIGNED, MapFormat(geometry=geometry, scale=Scale.RAW)))[:, :, None]
    mask = np.clip((raw - whole.min()) / np.ptp(whole), 0, 1)
    image = to_input_pixels() if geometry is Geometry.INPUT else IMAGE
    colour = np.array([255, 0, 51])
    wanted = colour + mask * (image - colour)
    seen = VALIDITY if geometry is Geometry.ORIGINAL else np.ones((48, 48), bool)
    np.testing.assert_allclose(got[seen], wanted[seen], atol=0.51)


def test_a_mask_is_scaled_over_the_whole_input_as_the_row_that_is_scored() -> None:
    """A map that is strongest in the border of a letterbox shows little of the photograph."""
    rule = contract(ResizeRule.PAD, (48, 48))
    wide = PixelImage(np.full((48, 96, 3), 255, np.uint8), 255)
    prepared = prepare(wide, rule, ImageLimits())
    raw = np.zeros((48, 48), np.float32)
    raw[2, 20], raw[20:28, 20:28] = 1, 0.5
    fill = fill_tensor(ColourFill((0.0, 0.0, 0.0)), prepared.tensor, rule)
    form = MapFormat(Encoding.PNG_MASKED, Geometry.ORIGINAL)
    shown = picture(rendered(raw, form, prepared=prepared, rule=rule, fill=fill))
    assert shown[24, 48, 0] == pytest.approx(127.5, abs=1)
    assert shown.max() < 140


def test_a_masked_image_is_what_the_model_was_given() -> None:
    """Its pixels, un-normalised, of fill + mask · (image − fill) in the model's numbers."""
    fill = fill_tensor(BlurFill(11, 4), PREPARED.tensor, RULE)
    got = picture(rendered(UNSIGNED, MapFormat(Encoding.PNG_MASKED), fill=fill))
    mask = numbers(rendered(UNSIGNED, MapFormat()))
    row = fill + mask * (PREPARED.tensor - fill)
    wanted = (row * np.reshape(RULE.std, (3, 1, 1)) + np.reshape(RULE.mean, (3, 1, 1))) * 255
    np.testing.assert_allclose(got, wanted.transpose(1, 2, 0), atol=1.01)


@pytest.mark.parametrize("geometry", [Geometry.INPUT, Geometry.ORIGINAL])
def test_a_signed_map_masks_by_its_evidence_for_as_it_is_scored(geometry: Geometry) -> None:
    form = MapFormat(Encoding.PNG_MASKED, geometry)
    got = rendered(SIGNED, form, signed=True)
    np.testing.assert_array_equal(picture(got), picture(rendered(np.maximum(SIGNED, 0), form)))
    raw = rendered(SIGNED, MapFormat(geometry=geometry), signed=True)
    assert (got.raw_minimum, got.raw_maximum) == (raw.raw_minimum, raw.raw_maximum)
    assert got.raw_minimum < 0
    assert not got.degenerate


def test_a_map_of_nothing_but_evidence_against_hides_the_whole_image() -> None:
    fill = fill_tensor(ColourFill((1.0, 0.0, 0.2)), PREPARED.tensor, RULE)
    got = picture(rendered(-UNSIGNED, MapFormat(Encoding.PNG_MASKED), signed=True, fill=fill))
    np.testing.assert_allclose(got, np.broadcast_to([255, 0, 51], got.shape), atol=0.51)


@pytest.mark.parametrize("order", [ColourOrder.GREY, ColourOrder.BGR])
@pytest.mark.parametrize("encoding", [Encoding.PNG_OVERLAY, Encoding.PNG_MASKED])
@pytest.mark.parametrize("geometry", [Geometry.INPUT, Geometry.ORIGINAL])
def test_pictures_of_grey_and_bgr_models_are_true_to_colour(
    order: ColourOrder, encoding: Encoding, geometry: Geometry
) -> None:
    rule = contract(ResizeRule.STRETCH, (48, 48), order=order)
    pixels = np.broadcast_to(np.uint8([200, 100, 20]), (60, 60, 3))
    pixels = pixels[:, :, :1] if order is ColourOrder.GREY else pixels
    prepared = prepare(PixelImage(pixels, 255), rule, ImageLimits())
    raw = np.zeros((7, 7), np.float32)
    raw[3, 3] = 1
    fill = prepared.tensor if encoding is Encoding.PNG_MASKED else FILL
    form = MapFormat(encoding, geometry, overlay_alpha=0.01)
    got = picture(rendered(raw, form, prepared=prepared, rule=rule, fill=fill))
    wanted = np.full(3, 200) if order is ColourOrder.GREY else np.array([200, 100, 20])
    np.testing.assert_allclose(got, np.broadcast_to(wanted, got.shape), atol=4)


@pytest.mark.parametrize("encoding", [Encoding.PNG_OVERLAY, Encoding.PNG_MASKED])
def test_a_picture_in_feature_geometry_is_refused(encoding: Encoding) -> None:
    form = MapFormat(encoding, Geometry.FEATURE)
    with pytest.raises(InvalidRequest, match="input or the original geometry"):
        check_format(form)
    with pytest.raises(InvalidRequest):
        rendered(UNSIGNED, form)


@pytest.mark.parametrize("encoding", [Encoding.PNG_GREY, Encoding.PNG_OVERLAY, Encoding.PNG_MASKED])
def test_raw_values_in_a_png_are_refused(encoding: Encoding) -> None:
    with pytest.raises(InvalidRequest, match="cannot hold raw values"):
        check_format(MapFormat(encoding, scale=Scale.RAW))


@pytest.mark.parametrize("alpha", [0.0, -0.5, 1.01, np.nan])
def test_an_alpha_out_of_range_is_refused(alpha: float) -> None:
    with pytest.raises(InvalidRequest, match="alpha"):
        check_format(MapFormat(Encoding.PNG_OVERLAY, overlay_alpha=alpha))


def to_input_pixels() -> np.ndarray:
    """The model's input in pixels, from its definition."""
    mean, std = np.reshape(RULE.mean, (3, 1, 1)), np.reshape(RULE.std, (3, 1, 1))
    return np.rint((PREPARED.tensor * std + mean) * 255).clip(0, 255).transpose(1, 2, 0)
