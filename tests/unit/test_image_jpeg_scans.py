"""A JPEG whose scans do not tell the whole picture is refused, however properly it ends."""

import io
import itertools
import struct
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from salience_service.errors import InvalidRequest
from salience_service.image.decode import decode
from salience_service.image.jpeg_scans import open_ended
from salience_service.image.pixels import ImageLimits

LIMITS = ImageLimits()
RNG = np.random.default_rng(5)
END, SCAN, FRAME = b"\xff\xd9", b"\xff\xda", b"\xff\xc0"
OPTIONS = [
    {},
    {"optimize": True},
    {"subsampling": 0, "quality": 100},
    {"restart_marker_rows": 1},
    {"restart_marker_blocks": 3},
]


def picture(height: int = 96, width: int = 120) -> Image.Image:
    """A ramp with some noise."""
    ramp = np.add.outer(np.arange(height), np.arange(width))[:, :, None] * 200 / (height + width)
    noise = RNG.normal(0, 8, (height, width, 3))
    return Image.fromarray((ramp + noise + 25).clip(0, 255).astype(np.uint8))


def jpeg(image: Image.Image, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", **options)
    return file.getvalue()


def pixels_of(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def scan_ends(data: bytes) -> list[int]:
    """Where each scan of a file without restarts ends: at the next marker."""
    begins = [at for at in range(len(data)) if data.startswith(SCAN, at)]
    return [
        next(
            at
            for at in itertools.count(begin + 2)
            if data[at] == 0xFF and data[at + 1] not in (0, 0xFF)
        )
        for begin in begins
    ]


def channel_by_channel(image: Image.Image) -> list[bytes]:
    """Parts of a JPEG that is not progressive and has a scan for each channel: header, scans."""
    greys = [jpeg(channel, quality=90) for channel in image.split()]
    frame, scan = greys[0].index(FRAME), greys[0].index(SCAN)
    size = greys[0][frame + 5 : frame + 9]
    channels = b"".join(bytes([number, 0x11, 0]) for number in (1, 2, 3))
    three = FRAME + struct.pack(">HB", 17, 8) + size + b"\x03" + channels
    header = greys[0][:frame] + three + greys[0][frame + 13 : scan]
    codes = [grey[grey.index(SCAN) + 10 : -2] for grey in greys]
    heads = [SCAN + bytes([0, 8, 1, number, 0, 0, 63, 0]) for number in (1, 2, 3)]
    return [header, *(head + code for head, code in zip(heads, codes, strict=True))]


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("size", [(1, 1), (8, 16), (17, 33), (96, 120)])
def test_a_whole_jpeg_is_decoded_to_the_last_bit(
    size: tuple[int, int], mode: str, options: dict[str, object]
) -> None:
    data = jpeg(picture(*size).convert(mode), **options)
    assert open_ended(data) != data
    values = decode(data, LIMITS).values
    np.testing.assert_array_equal(np.broadcast_to(values, (*size, 3)), pixels_of(data))


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("share", [0, 0.25, 0.9])
def test_a_jpeg_that_was_cut_and_then_ended_is_refused(
    share: float, mode: str, options: dict[str, object]
) -> None:
    data = jpeg(picture().convert(mode), **options)
    begin = data.index(SCAN) + 14
    cut = data[: begin + int(share * (len(data) - begin))] + END
    assert pixels_of(cut).shape == (96, 120, 3)
    with pytest.raises(InvalidRequest, match="truncated"):
        decode(cut, LIMITS)


def test_a_jpeg_with_its_middle_cut_out_is_refused() -> None:
    data = jpeg(picture())
    middle = len(data) // 2
    with pytest.raises(InvalidRequest, match="truncated"):
        decode(data[:middle] + data[middle + 300 :], LIMITS)


def test_a_jpeg_with_a_marker_among_its_pixels_is_refused() -> None:
    data = jpeg(picture())
    middle = len(data) // 2
    with pytest.raises(InvalidRequest, match="truncated"):
        decode(data[:middle] + b"\xff\x05" + data[middle + 2 :], LIMITS)


def test_markers_that_mean_nothing_are_not_gathered() -> None:
    data = b"\xff\xd8" + b"\xff\x01\x00\x02" * 2**20
    tracemalloc.start()
    assert open_ended(data) == data
    held = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert held < 2**16


def test_what_follows_a_jpeg_is_not_missed() -> None:
    data = jpeg(picture())
    np.testing.assert_array_equal(decode(data + data, LIMITS).values, pixels_of(data))


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_progressive_jpeg_that_lacks_a_scan_is_refused(mode: str) -> None:
    data = jpeg(picture().convert(mode), progressive=True)
    assert decode(data, LIMITS).values.shape[:2] == (96, 120)
    *early, last = scan_ends(data)
    assert last == len(data) - 2
    for number, end in enumerate(early, 1):
        cut = data[:end] + END
        assert pixels_of(cut).shape == (96, 120, 3)
        with pytest.raises(InvalidRequest, match=rf"the {number} scans.*leave out"):
            decode(cut, LIMITS)


def test_a_jpeg_that_lacks_the_scan_of_a_channel_is_refused() -> None:
    header, *scans = channel_by_channel(picture())
    whole = header + b"".join(scans) + END
    np.testing.assert_array_equal(decode(whole, LIMITS).values, pixels_of(whole))
    for lost in range(3):
        kept = [scan for number, scan in enumerate(scans) if number != lost]
        with pytest.raises(InvalidRequest, match=r"the 2 scans.*leave out"):
            decode(header + b"".join(kept) + END, LIMITS)


@pytest.mark.parametrize("data", [b"", b"\xff\xd8", b"\xff\xd8\xff\xda", b"BM" + bytes(60)])
def test_what_has_no_scans_comes_as_it_is(data: bytes) -> None:
    assert open_ended(data) == data
