"""Devices: their lanes, and what of them gradients are taken on."""

from pathlib import Path

import pytest

from salience_service.runtime.device import Device, Lane


def test_lanes_are_the_first_call_of_each_device_then_the_second() -> None:
    lanes = Device("cuda", numbers=(4, 2), calls=2).lanes()
    assert lanes == (Lane(0, 0), Lane(1, 1), Lane(2, 0), Lane(3, 1))
    assert Device("cuda", numbers=(4, 2), calls=2).places() == lanes[:2]


@pytest.mark.parametrize(
    ("provider", "taken_on"), [("cpu", "cpu"), ("cuda", "cuda"), ("tensorrt", "cuda")]
)
@pytest.mark.parametrize("precision", ["float32", "tf32", "float16"])
def test_gradients_are_taken_in_float32_by_cuda_where_tensorrt_was_asked_for(
    provider: str, taken_on: str, precision: str
) -> None:
    device = Device(
        provider,
        3,
        (1, 5),
        2,
        precision,
        Path("engines"),
        image_threads=7,  # type: ignore[arg-type]
    )
    found = device.for_gradients()
    assert (found.provider, found.precision) == (taken_on, "float32")
    assert (found.threads, found.numbers, found.lanes()) == (7, (1, 5), device.lanes())
    assert found.engine_cache is None
