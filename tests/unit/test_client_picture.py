"""Overlays: colours, cuts and the parts that the model never saw."""

from io import BytesIO

import numpy as np
import pytest

from salience_client import AnswerReader, InvalidRequest, SaliencyMap, letterboxed, overlay
from tests.support import fake_answers as fake

PIL = pytest.importorskip("PIL.Image")
pytest.importorskip("cmap")

GREY = np.full((4, 6, 3), 100, np.uint8)


def saliency_map(values, change=lambda message: None, **arguments):
    message = fake.map_message(values, **arguments)
    message.seen.Clear()
    message.seen.width, message.seen.height = values.shape[::-1]
    change(message)
    reader = AnswerReader()
    (event,) = reader.read(fake.whole(message))
    assert isinstance(event, SaliencyMap)
    return event


def original(message):
    message.geometry = 3


def png(pixels, **options):
    file = BytesIO()
    PIL.fromarray(pixels).save(file, "PNG", **options)
    return file.getvalue()


def test_an_overlay_has_the_maps_grid_and_is_rgb():
    picture = overlay(np.zeros((40, 60, 3), np.uint8), fake.ramp())

    assert (picture.shape, picture.dtype) == ((4, 6, 3), np.uint8)


def test_no_alpha_leaves_the_image_and_full_alpha_leaves_the_colours():
    np.testing.assert_array_equal(overlay(GREY, fake.ramp(), 0), GREY)
    full = overlay(GREY, fake.ramp(), 1)
    assert full[0, 0].sum() < 20 < 400 < full[-1, -1].sum()  # inferno: black to light yellow


def test_the_scale_of_an_unsigned_map_does_not_change_its_colours():
    np.testing.assert_array_equal(overlay(GREY, fake.ramp()), overlay(GREY, 3 * fake.ramp() + 7))


def test_a_signed_map_has_red_for_blue_against_and_white_at_zero():
    values = np.array([[-2, 0, 1]], np.float32)

    against, nothing, weak = overlay(GREY[:1, :3], values, 1)[0].astype(int)

    assert against[2] > against[0] + 40
    assert nothing.min() > 220
    assert weak[0] > weak[2] + 40


def test_a_signed_map_without_a_negative_value_keeps_zero_white():
    def signed(message):
        message.is_signed = True

    picture = overlay(GREY, saliency_map(fake.ramp(), signed), 1)

    assert picture[0, 0].min() > 220


@pytest.mark.parametrize("value", [0.0, 5.0])
def test_a_flat_map_has_the_colour_of_zero_everywhere(value):
    picture = overlay(GREY, np.full((4, 6), value, np.float32), 1)

    assert len(np.unique(picture.reshape(-1, 3), axis=0)) == 1
    assert picture.sum() < 24 * 20


def test_one_great_pixel_does_not_leave_the_others_dark():
    values = np.tile(np.linspace(0, 1, 60, dtype=np.float32), (40, 1))
    spoilt = values.copy()
    spoilt[0, 0] = 1000
    grey = np.full((40, 60, 3), 100, np.uint8)

    picture, unspoilt = overlay(grey, spoilt, 1), overlay(grey, values, 1)

    np.testing.assert_allclose(picture[1:], unspoilt[1:], atol=12)
    np.testing.assert_array_equal(picture[0, 0], unspoilt[0, -1])  # the last colour


def test_one_great_pixel_of_a_signed_map_leaves_zero_white_and_the_others_their_colours():
    values = np.tile(np.linspace(-1, 1, 61, dtype=np.float32), (40, 1))
    spoilt = values.copy()
    spoilt[0, 0] = -1000
    grey = np.full((40, 61, 3), 100, np.uint8)

    picture, unspoilt = overlay(grey, spoilt, 1), overlay(grey, values, 1)

    np.testing.assert_allclose(picture[1:], unspoilt[1:], atol=12)
    assert picture[20, 30].min() > 220


def test_a_map_of_one_pixel_is_drawn_by_its_greatest_value():
    values = np.zeros((40, 60), np.float32)
    values[7, 9] = 1
    grey = np.full((40, 60, 3), 100, np.uint8)

    picture = overlay(grey, values, 1).astype(int).sum(axis=2)

    assert picture[7, 9] > 400
    assert np.delete(picture.ravel(), 7 * 60 + 9).max() < 20


def test_the_colours_of_an_original_come_from_what_the_model_saw():
    seen = np.zeros((4, 6), bool)
    seen[:, 2:4] = True
    values = np.where(seen, fake.ramp(), 0).astype(np.float32)
    grown = saliency_map(values, original, validity=seen)
    whole = saliency_map(np.ascontiguousarray(values[:, 2:4]), original)

    picture = overlay(GREY, grown, 1)

    np.testing.assert_array_equal(picture[:, 2:4], overlay(GREY[:, 2:4], whole, 1))


def test_a_map_in_input_geometry_lies_on_the_cut_that_the_model_saw():
    image = np.zeros((4, 12, 3), np.uint8)
    image[:, 6:] = 200

    def right_half(message):
        message.seen.left, message.seen.width = 6, 6

    picture = overlay(image, saliency_map(fake.ramp(), right_half), 0)

    assert (picture == 200).all()


def test_pixels_the_model_never_saw_stay_as_they_are():
    seen = np.zeros((4, 6), bool)
    seen[:, 2:4] = True

    picture = overlay(GREY, saliency_map(fake.ramp(), original, validity=seen), 1)

    np.testing.assert_array_equal(picture[~seen], GREY[~seen])
    assert (picture[seen] != GREY[seen]).any(axis=-1).all()


def test_a_picture_file_is_turned_upright():
    pixels = np.zeros((6, 4, 3), np.uint8)
    pixels[0] = 255  # the first row; turned by 90 degrees it is the last column
    exif = PIL.Exif()
    exif[0x0112] = 6

    picture = overlay(png(pixels, exif=exif), fake.ramp(), 0)

    assert (picture[:, -1] == 255).all()
    assert (picture[:, :-1] == 0).all()


def test_sixteen_bit_grey_keeps_its_brightness(tmp_path):
    file = tmp_path / "grey.png"
    file.write_bytes(png(np.full((4, 6), 128 * 257, np.uint16)))

    np.testing.assert_array_equal(overlay(file, fake.ramp(), 0), np.full((4, 6, 3), 128))


@pytest.mark.parametrize("image", [GREY[:, :, 0], GREY[:, :, :1]])
def test_a_grey_array_is_drawn_on_as_well(image):
    np.testing.assert_array_equal(overlay(image, fake.ramp(), 0), GREY)


def test_a_letterboxed_image_is_whole_and_centred_on_black():
    picture = letterboxed(np.full((2, 6, 3), 90, np.uint8), 6, 6)

    assert picture.shape == (6, 6, 3)
    assert (picture[2:4] == 90).all()
    assert (picture[:2] == 0).all()
    assert (picture[4:] == 0).all()


def test_a_map_of_a_model_that_pads_covers_the_bars_beside_the_image():
    """An image of 2×6 in a frame of 6×6: two rows of bars above it and two below."""

    def padded(message):
        message.seen.height, message.seen.width = 2, 6

    image = np.full((2, 6, 3), 90, np.uint8)
    framed = overlay(image, saliency_map(np.eye(6, dtype=np.float32), padded), 0, resize="pad")

    np.testing.assert_array_equal(framed, letterboxed(image, 6, 6))


def test_the_image_of_a_map_in_original_geometry_has_no_bars_whatever_the_rule():
    picture = overlay(GREY, saliency_map(fake.ramp(), original), 0, resize="pad")

    np.testing.assert_array_equal(picture, GREY)


def test_wrong_things_are_refused_by_name():
    def png_grey(message):
        message.encoding = 3

    def feature(message):
        message.geometry = 1

    def outside(message):
        message.seen.left = 100

    cases = [
        (GREY, fake.ramp(), 1.5, "alpha is 1.5"),
        (GREY, np.zeros(3), 0.5, r"shape \(3,\)"),
        (GREY, np.full((2, 2), np.nan), 0.5, "finite"),
        (GREY.astype(np.float32), fake.ramp(), 0.5, "this is float32"),
        (b"not a picture", fake.ramp(), 0.5, "not a picture"),
        (GREY, saliency_map(fake.ramp(), png_grey), 0.5, "ask for 'float32'"),
        (GREY, saliency_map(fake.ramp(), feature), 0.5, "ask for 'input'"),
        (GREY, saliency_map(fake.ramp(), outside), 0.5, "not made from this image"),
    ]
    for image, map_, alpha, says in cases:
        with pytest.raises(InvalidRequest, match=says):
            overlay(image, map_, alpha)
