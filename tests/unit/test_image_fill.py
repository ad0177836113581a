"""What stands behind the mask is what its definition says."""

import numpy as np
import pytest
import torch

from salience_service.bundle.manifest import ColourOrder
from salience_service.errors import InvalidRequest
from salience_service.image.fill import blur_matrix, check_fill, fill_tensor
from salience_service.image.pixels import ImageLimits
from salience_service.image.prepare import prepare
from salience_service.request import BlackFill, BlurFill, ColourFill, Fill, MeanFill, PixelImage
from tests.oracle.fills import gaussian_blur
from tests.support.contracts import MEAN, STD, contract

RNG = np.random.default_rng(5)
TENSOR = RNG.normal(size=(3, 64, 48)).astype(np.float32)
RULE = contract(size=(64, 48))


def test_the_mean_fill_is_zero() -> None:
    fill = fill_tensor(MeanFill(), TENSOR, RULE)
    assert (fill.shape, fill.dtype, np.abs(fill).max()) == (TENSOR.shape, np.float32, 0)


def test_the_black_fill_is_what_a_black_image_becomes() -> None:
    black = prepare(PixelImage(np.zeros((90, 90, 3), np.uint8), 255), RULE, ImageLimits())
    np.testing.assert_array_equal(fill_tensor(BlackFill(), TENSOR, RULE), black.tensor)


@pytest.mark.parametrize("order", [ColourOrder.RGB, ColourOrder.BGR])
def test_a_colour_fill_is_what_an_image_of_that_colour_becomes(order: ColourOrder) -> None:
    rule = contract(size=(64, 48), order=order)
    pixels = np.broadcast_to(np.uint8([255, 51, 0]), (90, 90, 3))
    image = prepare(PixelImage(pixels, 255), rule, ImageLimits()).tensor
    fill = fill_tensor(ColourFill((1.0, 0.2, 0.0)), TENSOR, rule)
    np.testing.assert_allclose(fill, image, atol=1e-6)


def test_one_grey_intensity_fills_every_channel() -> None:
    fill = fill_tensor(ColourFill((0.25,)), TENSOR, RULE)
    wanted = (0.25 - np.array(MEAN)) / np.array(STD)
    np.testing.assert_allclose(fill[:, 5, 7], wanted, rtol=1e-6)
    assert (fill == fill[:, :1, :1]).all()


@pytest.mark.parametrize(
    ("kernel", "sigma"), [(51, 20.0), (11, 5.0), (3, 0.5), (95, 128.0), (95, 1e-3), (9, 1e-300)]
)
def test_the_blur_equals_a_two_dimensional_kernel_over_reflected_edges(
    kernel: int, sigma: float
) -> None:
    wanted = gaussian_blur(torch.from_numpy(TENSOR), kernel, max(sigma, 1e-30)).numpy()
    fill = fill_tensor(BlurFill(kernel, sigma), TENSOR, RULE)
    assert fill.dtype == np.float32
    np.testing.assert_allclose(fill, wanted, atol=1e-5)


def test_a_blur_keeps_a_flat_image() -> None:
    flat = np.full((3, 64, 48), 1.7, np.float32)
    np.testing.assert_allclose(fill_tensor(BlurFill(), flat, RULE), flat, rtol=1e-6)
    np.testing.assert_allclose(blur_matrix(48, 51, 20.0).sum(axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize("kernel", [-3, 0, 1, 2, 50, 257])
def test_a_kernel_that_is_even_or_out_of_range_is_refused(kernel: int) -> None:
    with pytest.raises(InvalidRequest, match=f"kernel {kernel}: use an odd number from 3 to 255"):
        check_fill(BlurFill(kernel, 5), contract())


def test_a_kernel_too_wide_to_reflect_is_refused() -> None:
    assert fill_tensor(BlurFill(95, 20), TENSOR, RULE).shape == TENSOR.shape
    with pytest.raises(InvalidRequest, match="less than 96"):
        check_fill(BlurFill(97, 20), RULE)


@pytest.mark.parametrize("sigma", [0.0, -1.0, 128.5, np.nan, np.inf])
def test_a_sigma_out_of_range_is_refused(sigma: float) -> None:
    with pytest.raises(InvalidRequest, match="sigma"):
        fill_tensor(BlurFill(11, sigma), TENSOR, RULE)


@pytest.mark.parametrize("intensity", [(), (0.1, 0.2), (0.1, 0.2, 0.3, 0.4)])
def test_a_colour_of_another_length_is_refused(intensity: tuple[float, ...]) -> None:
    with pytest.raises(InvalidRequest, match=f"{len(intensity)} intensities"):
        check_fill(ColourFill(intensity), RULE)


def test_three_colours_for_a_grey_model_are_refused() -> None:
    grey = contract(order=ColourOrder.GREY)
    check_fill(ColourFill((0.5,)), grey)
    with pytest.raises(InvalidRequest, match="one grey"):
        check_fill(ColourFill((0.1, 0.2, 0.3)), grey)


@pytest.mark.parametrize("value", [-0.01, 1.01, np.nan, np.inf])
def test_a_colour_out_of_range_is_refused(value: float) -> None:
    with pytest.raises(InvalidRequest, match=r"use values in \[0, 1\]"):
        check_fill(ColourFill((0.5, value, 0.5)), RULE)


@pytest.mark.parametrize("fill", [MeanFill(), BlackFill(), BlurFill(), ColourFill((0.2, 0.4, 0.6))])
def test_every_fill_is_allowed_on_an_ordinary_model(fill: Fill) -> None:
    check_fill(fill, contract())
