"""Images come to the model's input exactly as torchvision with Pillow brings them."""

import csv
import io
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image
from torch.nn import functional

from salience_service.bundle.manifest import (
    ColourOrder,
    InputContract,
    Interpolation,
    Resize,
    ResizeRule,
)
from salience_service.errors import InvalidRequest, Unsupported
from salience_service.image.pixels import ImageLimits
from salience_service.image.prepare import prepare, to_pixels
from salience_service.request import DicomImage, EncodedImage, PixelImage, PreparedImage
from tests.oracle.preprocessing import normalised, resized_and_cropped
from tests.support.contracts import MEAN, STD, contract
from tests.support.image_files import GREY, png16

LIMITS = ImageLimits()
RNG = np.random.default_rng(3)
RESAMPLING = {
    Interpolation.BILINEAR: Image.Resampling.BILINEAR,
    Interpolation.BICUBIC: Image.Resampling.BICUBIC,
    Interpolation.LANCZOS: Image.Resampling.LANCZOS,
}
SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
needs_shared = pytest.mark.skipif(
    not SHARED.is_dir(), reason="the real models and photographs of ../shared/data are absent"
)


def photograph(height: int, width: int) -> np.ndarray:
    """Smooth shapes with noise, uint8 [height, width, 3]."""
    rows, columns = np.mgrid[0:height, 0:width]
    waves = [np.sin(rows / 17 + c) * np.cos(columns / 23 - c) for c in range(3)]
    noise = RNG.normal(0, 0.2, (height, width, 3))
    return np.clip((np.stack(waves, -1) + noise) * 90 + 128, 0, 255).astype(np.uint8)


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("interpolation", list(Interpolation))
@pytest.mark.parametrize(
    "shape", [(300, 401), (401, 300), (375, 500), (256, 341), (60, 90), (7, 5)]
)
def test_8_bit_colour_equals_torchvision_to_the_last_bit_of_a_pixel(
    shape: tuple[int, int], interpolation: Interpolation
) -> None:
    pixels = photograph(*shape)
    expected = resized_and_cropped(
        Image.fromarray(pixels), 256, (224, 224), RESAMPLING[interpolation]
    )
    wanted = normalised(expected, list(MEAN), list(STD))
    got = prepare(EncodedImage(png(pixels)), contract(interpolation=interpolation), LIMITS)
    assert got.tensor.dtype == np.float32
    # A step of one pixel value is 0.017; what is left is the rounding of float32.
    np.testing.assert_allclose(got.tensor, wanted.numpy(), atol=2e-6)


@pytest.mark.parametrize(
    ("size", "short_side"), [((224, 320), 224), ((320, 224), 200), ((64, 64), 40), ((65, 64), 64)]
)
def test_a_crop_larger_than_the_resized_image_gets_torchvisions_black_border(
    size: tuple[int, int], short_side: int
) -> None:
    pixels = photograph(150, 181)
    expected = resized_and_cropped(
        Image.fromarray(pixels), short_side, size, Image.Resampling.BICUBIC
    )
    wanted = normalised(expected, list(MEAN), list(STD))
    got = prepare(PixelImage(pixels, 255), contract(size=size, short_side=short_side), LIMITS)
    np.testing.assert_allclose(got.tensor, wanted.numpy(), atol=2e-6)


@pytest.mark.parametrize("order", [ColourOrder.RGB, ColourOrder.BGR])
def test_8_bit_samples_become_the_very_numbers_that_normalise_gives(order: ColourOrder) -> None:
    every = np.arange(256, dtype=np.uint8).reshape(16, 16)
    pixels = np.stack([every, every[::-1], every.T], axis=2)
    rule = contract(ResizeRule.STRETCH, (16, 16), order=order)
    intensity = pixels.transpose(2, 0, 1).astype(np.float32) / np.float32(255)
    wanted = rule.normalise(intensity[::-1] if order is ColourOrder.BGR else intensity)
    np.testing.assert_array_equal(prepare(PixelImage(pixels, 255), rule, LIMITS).tensor, wanted)


def test_stretch_resizes_both_sides() -> None:
    pixels = photograph(90, 200)
    wanted = normalised(
        Image.fromarray(pixels).resize((64, 48), Image.Resampling.BICUBIC), list(MEAN), list(STD)
    )
    got = prepare(PixelImage(pixels, 255), contract(ResizeRule.STRETCH, (48, 64)), LIMITS)
    np.testing.assert_allclose(got.tensor, wanted.numpy(), atol=2e-6)


@pytest.mark.parametrize(
    ("shape", "inner", "corner"),
    [
        ((100, 200), (32, 64), (16, 0)),
        ((200, 100), (64, 32), (0, 16)),
        ((64, 65), (63, 64), (0, 0)),
    ],
)
def test_pad_keeps_the_aspect_on_a_border_of_zeros(
    shape: tuple[int, int], inner: tuple[int, int], corner: tuple[int, int]
) -> None:
    pixels = photograph(*shape)
    image = Image.fromarray(pixels).resize(inner[::-1], Image.Resampling.BICUBIC)
    wanted = np.zeros((3, 64, 64), np.float32)
    top, left = corner
    place = np.s_[:, top : top + inner[0], left : left + inner[1]]
    wanted[place] = normalised(image, list(MEAN), list(STD)).numpy()
    got = prepare(PixelImage(pixels, 255), contract(ResizeRule.PAD, (64, 64)), LIMITS)
    np.testing.assert_allclose(got.tensor, wanted, atol=2e-6)
    border = np.ones((64, 64), bool)
    border[place[1:]] = False
    assert (got.tensor[:, border] == 0).all()


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_deeper_pixels_are_resized_at_full_precision(mode: str, dtype: type) -> None:
    full_scale = 4095 if dtype is np.uint16 else 2.5
    values = (photograph(150, 120) / 255 * full_scale).astype(dtype)
    intensity = torch.from_numpy(values.astype(np.float64) / full_scale).permute(2, 0, 1)[None]
    resized = functional.interpolate(intensity, (80, 64), mode=mode, antialias=True)
    cropped = resized[0, :, 8:72].clamp(0, 1).numpy()
    wanted = (cropped - np.reshape(MEAN, (3, 1, 1))) / np.reshape(STD, (3, 1, 1))
    rule = contract(size=(64, 64), short_side=64, interpolation=Interpolation(mode))
    got = prepare(PixelImage(values, full_scale), rule, LIMITS)
    np.testing.assert_allclose(got.tensor, wanted, atol=1e-5)


def test_a_16_bit_grey_png_reaches_a_one_channel_model_to_the_last_of_its_bits() -> None:
    values = RNG.integers(0, 65536, (64, 64, 1), dtype=np.uint16)
    rule = contract(ResizeRule.STRETCH, (64, 64), order=ColourOrder.GREY)
    got = prepare(EncodedImage(png16(values, GREY)), rule, LIMITS).tensor
    back = np.rint((got.astype(np.float64) * 0.226 + 0.449) * 65535)
    np.testing.assert_array_equal(back[0], values[:, :, 0])


def test_grey_is_repeated_for_a_colour_model() -> None:
    grey = photograph(64, 64)[:, :, 0]
    rule = contract(ResizeRule.STRETCH, (32, 32))
    got = prepare(PixelImage(grey, 255), rule, LIMITS).tensor
    wanted = prepare(PixelImage(np.stack([grey] * 3, -1), 255), rule, LIMITS).tensor
    np.testing.assert_array_equal(got, wanted)


def test_8_bit_colour_becomes_pillows_grey_for_a_grey_model() -> None:
    pixels = photograph(64, 80)
    rule = contract(size=(48, 48), short_side=56, order=ColourOrder.GREY)
    got = prepare(PixelImage(pixels, 255), rule, LIMITS).tensor
    image = Image.fromarray(pixels).convert("L")
    cropped = resized_and_cropped(image, 56, (48, 48), Image.Resampling.BICUBIC)
    np.testing.assert_allclose(got, normalised(cropped, [0.449], [0.226]).numpy(), atol=2e-6)


def test_deeper_colour_becomes_luma_for_a_grey_model() -> None:
    values = RNG.integers(0, 65536, (32, 32, 3), dtype=np.uint16)
    values[0, 0] = 65535
    rule = contract(ResizeRule.STRETCH, (32, 32), order=ColourOrder.GREY)
    got = prepare(PixelImage(values, 65535), rule, LIMITS).tensor
    luma = values.astype(np.float64) / 65535 @ [0.299, 0.587, 0.114]
    np.testing.assert_allclose(got[0], (luma - 0.449) / 0.226, atol=5e-6)


def test_a_bgr_model_gets_blue_first_with_its_own_mean() -> None:
    pixels = photograph(32, 32)
    rule = InputContract(
        3, 32, 32, ColourOrder.BGR, 255.0, (104.0, 117.0, 123.0), (1.0, 2.0, 4.0),
        Resize(ResizeRule.STRETCH, Interpolation.BILINEAR),
    )  # fmt: skip
    got = prepare(PixelImage(pixels, 255), rule, LIMITS).tensor
    red, green, blue = pixels.astype(np.float64).transpose(2, 0, 1)
    wanted = np.stack([blue - 104, (green - 117) / 2, (red - 123) / 4])
    np.testing.assert_allclose(got, wanted, atol=3e-5)


@pytest.mark.parametrize("order", list(ColourOrder))
def test_the_models_input_goes_back_to_the_pixels_it_came_from(order: ColourOrder) -> None:
    pixels = photograph(48, 48)[:, :, : 1 if order is ColourOrder.GREY else 3]
    rule = contract(ResizeRule.STRETCH, (48, 48), order=order)
    prepared = prepare(PixelImage(pixels, 255), rule, LIMITS)
    np.testing.assert_array_equal(to_pixels(prepared.tensor, rule), pixels)
    np.testing.assert_array_equal(prepared.original, pixels)


def test_a_preprocessed_tensor_is_taken_as_it_is() -> None:
    tensor = RNG.normal(size=(3, 64, 48)).astype(np.float32)
    rule = contract(size=(64, 48))
    got = prepare(PreparedImage(tensor), rule, LIMITS)
    np.testing.assert_array_equal(got.tensor, tensor)
    np.testing.assert_array_equal(got.original, to_pixels(tensor, rule))
    assert got.placement.validity().all()
    grid = RNG.random((64, 48), dtype=np.float32)
    np.testing.assert_array_equal(got.placement.to_original(grid), grid)


@pytest.mark.parametrize("shape", [(3, 64, 49), (1, 64, 48), (64, 48, 3), (1, 3, 64, 48), (0,)])
def test_a_preprocessed_tensor_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidRequest, match=r"takes float32 \[3, 64, 48\]"):
        prepare(PreparedImage(np.zeros(shape, np.float32)), contract(size=(64, 48)), LIMITS)


def test_a_preprocessed_tensor_of_another_type_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="float64"):
        prepare(PreparedImage(np.zeros((3, 64, 48))), contract(size=(64, 48)), LIMITS)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_preprocessed_tensor_with_nan_or_infinity_is_refused(value: float) -> None:
    tensor = np.zeros((3, 64, 48), np.float32)
    tensor[2, 63, 47] = value
    with pytest.raises(InvalidRequest, match="NaN or infinity"):
        prepare(PreparedImage(tensor), contract(size=(64, 48)), LIMITS)


def test_dicom_is_unsupported_until_it_is_decoded() -> None:
    with pytest.raises(Unsupported, match="DICOM"):
        prepare(DicomImage(bytes(200)), contract(), LIMITS)


def test_pixels_over_the_limit_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="at most 99"):
        prepare(
            PixelImage(np.zeros((10, 10), np.uint8), 255), contract(), ImageLimits(max_pixels=99)
        )


def test_pixels_without_any_pixel_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="it has none"):
        prepare(PixelImage(np.zeros((0, 10, 3), np.uint8), 255), contract(), LIMITS)


def test_pixels_of_a_volume_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="shape"):
        prepare(PixelImage(np.zeros((4, 8, 8, 3), np.uint8), 255), contract(), LIMITS)


def test_a_sliver_that_the_resize_would_blow_up_is_refused() -> None:
    """30,000×1 pixels to a short side of 256 would be two thousand million pixels."""
    sliver = PixelImage(np.zeros((30_000, 1), np.uint8), 255)
    with pytest.raises(InvalidRequest, match="7680000×256"):
        prepare(sliver, contract(), LIMITS)
    for rule in (ResizeRule.STRETCH, ResizeRule.PAD):
        assert prepare(sliver, contract(rule), LIMITS).tensor.shape == (3, 224, 224)


@needs_shared
def test_real_photographs_get_the_probabilities_on_record() -> None:
    """labels.csv was written with crops rounded down: even margins, where all roundings agree."""
    session = onnxruntime.InferenceSession(
        SHARED / "models" / "efficientnet_lite0.onnx", providers=["CPUExecutionProvider"]
    )
    rule = InputContract(
        3, 224, 224, ColourOrder.RGB, 255.0, (127.0,) * 3, (128.0,) * 3,
        Resize(ResizeRule.SHORT_SIDE, Interpolation.BICUBIC, 256),
    )  # fmt: skip
    with (SHARED / "imagenet" / "labels.csv").open() as file:
        quick = [row for row in csv.DictReader(file) if row["quick"] == "1"]
    checked = 0
    for row in quick:
        data = (SHARED / "imagenet" / row["file"]).read_bytes()
        if any(side % 2 for side in Image.open(io.BytesIO(data)).size):
            continue
        tensor = prepare(EncodedImage(data), rule, LIMITS).tensor
        logits = session.run(None, {session.get_inputs()[0].name: tensor[None]})[0][0]
        probability = torch.softmax(torch.from_numpy(logits), 0)[int(row["class_index"])]
        assert int(logits.argmax()) == int(row["lite0_top1"])
        # The record has four decimals.
        assert abs(float(probability) - float(row["lite0_p_true"])) < 6e-5
        checked += 1
        if checked == 20:
            return
    pytest.fail(f"only {checked} photographs with even margins")
