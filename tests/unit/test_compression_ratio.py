"""Small files that claim huge pictures: refused by their header, before a pixel is decoded."""

import io
import time

import numpy as np
import pytest
from PIL import Image

from salience_service.errors import InvalidRequest
from salience_service.image.decode import decode, header_of
from salience_service.image.pixels import FREE_BYTES, ImageLimits
from tests.support.image_files import blank_png

LIMITS = ImageLimits()


def file_of(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    ("kind", "mode", "options"),
    [
        ("WEBP", "RGB", {"lossless": True}),
        ("PNG", "1", {}),
        ("TIFF", "1", {"compression": "group4"}),
    ],
)
def test_a_small_file_that_claims_a_huge_picture_is_refused_before_it_is_decoded(
    kind: str, mode: str, options: dict[str, object]
) -> None:
    bomb = file_of(Image.new(mode, (7000, 7000)), kind, **options)
    decode(file_of(Image.new(mode, (7, 7)), kind, **options), LIMITS)  # Its reader is loaded.
    began = time.thread_time()
    with pytest.raises(InvalidRequest, match=rf"{len(bomb)} bytes and claims .* most 2000 times"):
        decode(bomb, LIMITS)
    assert time.thread_time() - began < 0.5  # Decoding takes longer.
    assert header_of(bomb, LIMITS).height == 0, "so that nothing is counted for it"


def test_a_header_alone_is_enough_to_be_refused() -> None:
    with pytest.raises(InvalidRequest, match="at most 2000 times"):
        decode(blank_png(7000, 7000)[:200], LIMITS)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_flat_picture_of_8_bits_passes_at_any_size(kind: str, mode: str) -> None:
    flat = file_of(Image.new(mode, (5000, 4200)), kind)
    assert FREE_BYTES < 5000 * 4200
    assert decode(flat, LIMITS).values.shape[:2] == (4200, 5000)


def test_a_flat_picture_of_16_bits_passes() -> None:
    flat = file_of(Image.fromarray(np.zeros((3000, 3000), np.uint16)), "PNG")
    assert decode(flat, LIMITS).full_scale == 65535


def test_a_radiograph_on_black_passes_with_room_to_spare() -> None:
    rows, columns = np.mgrid[:4200, :4200]
    body = np.hypot(rows - 2100, columns - 2100) < 1200
    smooth = Image.fromarray((body * (rows // 40 + 100)).astype(np.uint8))
    for kind, ratio in (("PNG", 1000), ("JPEG", 200), ("WEBP", 1500)):
        decode(file_of(smooth, kind), ImageLimits(max_ratio=ratio))


def test_small_pictures_pass_whatever_their_ratio() -> None:
    tiny = file_of(Image.new("RGB", (2000, 2000)), "WEBP", lossless=True)
    assert 2000 * 2000 * 3 / len(tiny) > 10_000
    assert decode(tiny, ImageLimits(max_ratio=1)).values.shape == (2000, 2000, 3)


def test_the_ratio_is_that_of_the_configuration() -> None:
    flat = file_of(Image.new("RGB", (2500, 2500)), "JPEG")
    with pytest.raises(InvalidRequest, match="at most 150 times"):
        decode(flat, ImageLimits(max_ratio=150))
    decode(flat, ImageLimits(max_ratio=250))
