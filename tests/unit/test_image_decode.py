"""Image files become pixels, or are refused in clear words."""

import io
import resource
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from salience_service.errors import InvalidRequest, Unsupported
from salience_service.image.decode import Header, decode, header_of
from salience_service.image.pixels import ImageLimits, Pixels
from tests.support.image_files import (
    COLOUR,
    COLOUR_ALPHA,
    GREY,
    GREY_ALPHA,
    blank_png,
    png16,
    png_chunk,
    png_header,
    tiff,
    turned_by_xmp,
    with_exif_text,
)

LIMITS = ImageLimits()
RNG = np.random.default_rng(7)
COLOURS = RNG.integers(0, 256, (12, 17, 3), dtype=np.uint8)
GREYS16 = RNG.integers(0, 65536, (12, 17), dtype=np.uint16)
ORIENTATION = 0x0112


def saved(image: Image.Image, form: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def smooth() -> Image.Image:
    ramp = np.linspace(0, 255, 48, dtype=np.uint8)
    return Image.fromarray(
        np.stack([*np.meshgrid(ramp, ramp[:40]), np.full((40, 48), 90)], -1).astype(np.uint8)
    )


@pytest.mark.parametrize("form", ["PNG", "TIFF", "BMP", "WEBP"])
def test_a_lossless_colour_file_keeps_every_pixel(form: str) -> None:
    options = {"lossless": True} if form == "WEBP" else {}
    pixels = decode(saved(Image.fromarray(COLOURS), form, **options), LIMITS)
    np.testing.assert_array_equal(pixels.values, COLOURS)
    assert pixels.full_scale == 255


def test_a_jpeg_is_decoded_as_pillow_decodes_it() -> None:
    data = saved(smooth(), "JPEG", quality=90)
    np.testing.assert_array_equal(
        decode(data, LIMITS).values, np.asarray(Image.open(io.BytesIO(data)))
    )


def test_grey_stays_one_channel() -> None:
    pixels = decode(saved(Image.fromarray(COLOURS[:, :, 0]), "PNG"), LIMITS)
    np.testing.assert_array_equal(pixels.values, COLOURS[:, :, :1])


def test_a_one_bit_image_becomes_black_and_white() -> None:
    bits = COLOURS[:, :, 0] > 127
    pixels = decode(saved(Image.fromarray(bits), "PNG"), LIMITS)
    np.testing.assert_array_equal(pixels.values[:, :, 0], bits * np.uint8(255))


def test_transparency_is_dropped_as_loaders_of_training_images_do() -> None:
    alpha = RNG.integers(0, 256, (12, 17, 1), dtype=np.uint8)
    pixels = decode(saved(Image.fromarray(np.concatenate([COLOURS, alpha], 2)), "PNG"), LIMITS)
    np.testing.assert_array_equal(pixels.values, COLOURS)


def test_grey_with_transparency_becomes_grey() -> None:
    pixels = decode(saved(Image.fromarray(COLOURS[:, :, :2], "LA"), "PNG"), LIMITS)
    np.testing.assert_array_equal(pixels.values, COLOURS[:, :, :1])


def test_a_palette_is_resolved_to_its_colours_even_with_transparent_entries() -> None:
    palette = Image.fromarray(COLOURS).quantize(16)
    data = saved(palette, "PNG", transparency=bytes(range(16)))
    np.testing.assert_array_equal(decode(data, LIMITS).values, np.asarray(palette.convert("RGB")))


def test_cmyk_becomes_red_green_blue() -> None:
    data = saved(smooth().convert("CMYK"), "TIFF")
    np.testing.assert_array_equal(decode(data, LIMITS).values, np.asarray(smooth()))


def test_a_16_bit_grey_png_keeps_its_16_bits() -> None:
    pixels = decode(png16(GREYS16[:, :, None], GREY), LIMITS)
    assert (pixels.values.dtype, pixels.full_scale) == (np.uint16, 65535)
    np.testing.assert_array_equal(pixels.values[:, :, 0], GREYS16)


@pytest.mark.parametrize("white_is_zero", [False, True])
def test_a_16_bit_grey_tiff_keeps_its_bits_and_its_black(white_is_zero: bool) -> None:
    pixels = decode(tiff(GREYS16, white_is_zero=white_is_zero), LIMITS)
    expected = 65535 - GREYS16 if white_is_zero else GREYS16
    np.testing.assert_array_equal(pixels.values[:, :, 0], expected)


def test_an_8_bit_tiff_with_white_at_zero_is_turned() -> None:
    pixels = decode(tiff(COLOURS[:, :, 0], white_is_zero=True), LIMITS)
    np.testing.assert_array_equal(pixels.values[:, :, 0], 255 - COLOURS[:, :, 0])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_tiff_that_does_not_say_what_black_is_has_it_at_its_greatest(dtype: type) -> None:
    """As Pillow has it for 8 bits; 16 bits of the same picture are no negative of that."""
    values = COLOURS[:, :, 0].astype(dtype)
    silent = tiff(values).replace(struct.pack("<HHI", 262, 3, 1), struct.pack("<HHI", 65000, 3, 1))
    greatest = np.iinfo(dtype).max
    np.testing.assert_array_equal(decode(silent, LIMITS).values[:, :, 0], greatest - values)


def test_a_big_endian_16_bit_tiff_is_read_alike() -> None:
    image = Image.frombytes("I;16B", (17, 12), GREYS16.astype(">u2").tobytes())
    pixels = decode(saved(image, "TIFF"), LIMITS)
    np.testing.assert_array_equal(pixels.values[:, :, 0], GREYS16)


def test_a_floating_point_tiff_is_read_with_full_scale_one() -> None:
    values = RNG.random((12, 17), dtype=np.float32)
    pixels = decode(tiff(values), LIMITS)
    assert pixels.full_scale == 1
    np.testing.assert_array_equal(pixels.values[:, :, 0], values)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1.5, -0.25])
def test_a_floating_point_tiff_out_of_range_is_refused(value: float) -> None:
    values = np.full((4, 4), 0.5, np.float32)
    values[1, 2] = value
    with pytest.raises(InvalidRequest):
        decode(tiff(values), LIMITS)


@pytest.mark.parametrize(
    ("colour_type", "channels"), [(COLOUR, 3), (GREY_ALPHA, 2), (COLOUR_ALPHA, 4)]
)
def test_a_16_bit_png_of_which_pillow_would_drop_8_bits_is_refused(
    colour_type: int, channels: int
) -> None:
    pixels = RNG.integers(0, 65536, (5, 6, channels), dtype=np.uint16)
    with pytest.raises(InvalidRequest, match=r"16 bits.*uint16 tensor"):
        decode(png16(pixels, colour_type), LIMITS)


def test_a_16_bit_colour_tiff_of_which_pillow_would_drop_8_bits_is_refused() -> None:
    with pytest.raises(InvalidRequest, match=r"16 bits.*uint16 tensor"):
        decode(tiff(RNG.integers(0, 65536, (5, 6, 3), dtype=np.uint16)), LIMITS)


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.uint32])
def test_a_tiff_of_integers_without_a_full_scale_is_refused(dtype: type) -> None:
    with pytest.raises(InvalidRequest, match="full scale"):
        decode(tiff(np.ones((5, 6), dtype)), LIMITS)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_orientation_is_applied_once(form: str, orientation: int) -> None:
    stored = np.asarray(smooth())
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    data = saved(smooth(), form, exif=exif, **({"lossless": True} if form == "WEBP" else {}))
    pixels = decode(data, LIMITS).values
    upright = {
        1: stored, 2: stored[:, ::-1], 3: stored[::-1, ::-1], 4: stored[::-1],
        5: stored.transpose(1, 0, 2), 6: np.rot90(stored, -1),
        7: stored[::-1, ::-1].transpose(1, 0, 2), 8: np.rot90(stored),
    }[orientation]  # fmt: skip
    assert pixels.shape == upright.shape
    np.testing.assert_allclose(
        pixels.astype(int), upright.astype(int), atol=12 if form == "JPEG" else 0
    )


def test_exif_that_a_png_keeps_as_text_turns_it_unless_it_has_other() -> None:
    stored, exif = np.asarray(smooth()), Image.Exif()
    exif[ORIENTATION] = 6
    data = with_exif_text(saved(smooth(), "PNG"), exif.tobytes())
    np.testing.assert_array_equal(decode(data, LIMITS).values, np.rot90(stored, -1))
    exif[ORIENTATION] = 3
    both = with_exif_text(saved(smooth(), "PNG", exif=exif), b"no Exif at all")
    np.testing.assert_array_equal(decode(both, LIMITS).values, stored[::-1, ::-1])


def exif_of(tags: dict[int, object]) -> Image.Exif:
    exif = Image.Exif()
    exif.update(tags)
    return exif


@pytest.mark.parametrize("tags", [None, {271: "a maker"}])
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_xmp_turns_no_image(form: str, tags: dict[int, object] | None) -> None:
    """Who shows it turns it by Exif. Pillow reads a JPEG's XMP as it opens it, if it has Exif."""
    data = turned_by_xmp(np.asarray(smooth()), form, None if tags is None else exif_of(tags))
    stored = np.asarray(smooth()).astype(int)
    atol = 12 if form == "JPEG" else 0
    np.testing.assert_allclose(decode(data, LIMITS).values.astype(int), stored, atol=atol)


def test_xmp_behind_the_pixels_of_a_png_turns_it_as_little() -> None:
    data = turned_by_xmp(np.asarray(smooth()), "PNG")
    text = data[33 : data.index(b"IDAT") - 4]
    behind = data.replace(text, b"")
    behind = behind[:-12] + text + behind[-12:]
    np.testing.assert_array_equal(decode(behind, LIMITS).values, np.asarray(smooth()))


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_exif_goes_before_what_xmp_says(form: str) -> None:
    data = turned_by_xmp(np.asarray(smooth()), form, exif_of({ORIENTATION: 3}))
    upright = np.asarray(smooth())[::-1, ::-1].astype(int)
    atol = 12 if form == "JPEG" else 0
    np.testing.assert_allclose(decode(data, LIMITS).values.astype(int), upright, atol=atol)


@pytest.mark.parametrize("orientation", [3, 6])
def test_a_16_bit_tiff_is_turned_upright_too(orientation: int) -> None:
    pixels = decode(tiff(GREYS16, orientation=orientation), LIMITS).values[:, :, 0]
    expected = GREYS16[::-1, ::-1] if orientation == 3 else np.rot90(GREYS16, -1)
    np.testing.assert_array_equal(pixels, expected)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "TIFF", "BMP", "WEBP"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.97])
def test_a_truncated_file_is_refused(form: str, share: float) -> None:
    noise = RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = saved(Image.fromarray(noise), form)
    with pytest.raises(InvalidRequest) as refusal:
        decode(data[: int(len(data) * share)], LIMITS)
    assert_clean(str(refusal.value))


@pytest.mark.parametrize(
    "data", [b"", b"hello", b"GIF89a" + bytes(60), bytes(4096), b"%PDF-1.7\n" * 9]
)
def test_what_is_not_an_image_is_refused_with_the_formats_that_are(data: bytes) -> None:
    with pytest.raises(InvalidRequest, match="PNG, JPEG, TIFF, BMP, WEBP") as refusal:
        decode(data, LIMITS)
    assert_clean(str(refusal.value))


def test_a_format_pillow_knows_but_we_do_not_list_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="not an image"):
        decode(saved(smooth(), "PPM"), LIMITS)


def test_a_png_whose_header_is_not_first_is_refused() -> None:
    header = png_header(5, 5, 8, GREY)
    data = header[:8] + png_chunk(b"tEXt", b"a\0b" * 9) + header[8:] + png_chunk(b"IEND", b"")
    with pytest.raises(InvalidRequest):
        decode(data, LIMITS)


def test_a_dicom_file_is_unsupported() -> None:
    with pytest.raises(Unsupported, match="DICOM"):
        decode(bytes(128) + b"DICM" + bytes(64), LIMITS)


@pytest.mark.parametrize("form", ["TIFF", "WEBP", "PNG"])
def test_a_file_of_several_images_is_refused(form: str) -> None:
    second = Image.fromarray(255 - np.asarray(smooth()))
    data = saved(smooth(), form, save_all=True, append_images=[second])
    with pytest.raises(InvalidRequest, match="several images"):
        decode(data, LIMITS)


def test_the_first_picture_of_a_camera_file_with_previews_is_taken() -> None:
    data = saved(smooth(), "MPO", save_all=True, append_images=[smooth().resize((12, 10))])
    assert Image.open(io.BytesIO(data)).format == "MPO"
    assert decode(data, LIMITS).values.shape == (40, 48, 3)


def test_a_file_over_the_byte_limit_is_refused() -> None:
    data = saved(smooth(), "PNG")
    assert decode(data, ImageLimits(max_bytes=len(data))).values.shape == (40, 48, 3)
    with pytest.raises(InvalidRequest, match=f"{len(data)} bytes.*at most {len(data) - 1}"):
        decode(data, ImageLimits(max_bytes=len(data) - 1))


def test_an_image_over_the_pixel_limit_is_refused() -> None:
    data = saved(smooth(), "PNG")
    assert decode(data, ImageLimits(max_pixels=1920)).values.shape == (40, 48, 3)
    with pytest.raises(InvalidRequest, match=r"40×48 = 1920 pixels.*at most 1919"):
        decode(data, ImageLimits(max_pixels=1919))


def test_an_image_with_too_long_a_side_is_refused() -> None:
    data = saved(smooth(), "PNG")
    assert decode(data, ImageLimits(max_side=48)).values.shape == (40, 48, 3)
    with pytest.raises(InvalidRequest, match="sides of at most 47"):
        decode(data, ImageLimits(max_side=47))


@pytest.mark.parametrize("side", [30_000, 12_000])
def test_a_huge_png_in_a_small_file_is_refused_before_it_is_decoded(side: int) -> None:
    data = blank_png(side, side)
    assert len(data) < 200_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    said = r"pixels; this server takes at most \d+: send it smaller"
    with pytest.raises(InvalidRequest, match=said) as refusal:
        decode(data, LIMITS)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 50_000  # KiB; decoded, 12,000² pixels would take 144,000 and more
    assert_clean(str(refusal.value))


def test_a_huge_webp_in_a_small_file_is_refused() -> None:
    data = bytearray(saved(Image.new("RGB", (64, 64)), "WEBP", lossless=True))
    at = data.find(b"VP8L") + 9
    data[at : at + 4] = struct.pack("<I", 16382 | 16382 << 14)
    with pytest.raises(InvalidRequest):
        decode(bytes(data), LIMITS)


@pytest.mark.parametrize(
    ("form", "mode", "plain"),
    [("PNG", "RGB", True), ("JPEG", "L", True), ("PNG", "RGBA", False), ("WEBP", "RGB", False)],
)
def test_the_header_tells_the_size_and_whether_pixels_are_copied_on_the_way(
    form: str, mode: str, plain: bool
) -> None:
    file = io.BytesIO()
    Image.new(mode, (7, 5)).save(file, form)
    assert header_of(file.getvalue(), LIMITS) == Header(5, 7, plain)


def test_the_header_is_read_without_decoding_a_pixel() -> None:
    whole, any_ratio = blank_png(6000, 6000), ImageLimits(max_ratio=10**6)
    assert (
        header_of(whole[:60], any_ratio)
        == header_of(whole, any_ratio)
        == Header(6000, 6000, plain=False)
    )


@pytest.mark.parametrize(
    "data", [b"", b"no image", blank_png(20_000, 20_000), blank_png(1, 40_000)]
)
def test_a_file_that_will_be_refused_has_no_size(data: bytes) -> None:
    header = header_of(data, LIMITS)
    assert (header.height, header.width) == (0, 0)


def test_limits_beyond_what_pillow_allows_cannot_be_set() -> None:
    with pytest.raises(ValueError, match="at most 89478485"):
        ImageLimits(max_pixels=89_478_486)
    with pytest.raises(ValueError, match="at least"):
        ImageLimits(max_bytes=0)


FILES = [
    saved(smooth(), "PNG"),
    saved(smooth(), "JPEG"),
    saved(smooth(), "BMP"),
    saved(smooth(), "WEBP"),
    tiff(GREYS16),
    saved(smooth(), "TIFF", compression="tiff_lzw"),
]


@settings(max_examples=300)
@given(
    file=st.sampled_from(FILES),
    changes=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=12),
    head=st.booleans(),
)
def test_damaged_bytes_give_pixels_or_a_clean_refusal(
    file: bytes, changes: list[tuple[float, int]], head: bool
) -> None:
    data = bytearray(file)
    span = min(len(data), 128) if head else len(data)
    for place, value in changes:
        data[int(place * (span - 1))] = value
    try:
        assert isinstance(decode(bytes(data), LIMITS), Pixels)
    except InvalidRequest as refusal:
        assert_clean(str(refusal))


def assert_clean(message: str) -> None:
    for leak in ("0x", "<", "object at", "Traceback", "/", "PIL"):
        assert leak not in message
