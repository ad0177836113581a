"""Devices: where graphs run, at what precision, and the lanes that keep them busy."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

Precision = Literal["float32", "tf32", "float16"]
"""Of the numbers on a device. tf32: operands of convolutions and matrix products keep 10 bits
of their mantissa, sums are float32. float16: so are all numbers of the network."""


@dataclass(frozen=True)
class Device:
    """Where graphs run.

    Attributes:
        provider: "cpu", "cuda" or "tensorrt".
        threads: CPU threads of a run of rows; 0 = one per core this process may use.
        numbers: the devices of this kind that are used, each with a session of its own; the
            CPU is one device, and each number one more session that shares its cores.
        calls: calls in flight on each. On a GPU one more than it runs keeps it busy while the
            host makes the next batch ready; on the CPU each has a thread of its own.
        precision: of its numbers; the CPU knows no tf32.
        engine_cache: where TensorRT keeps the engines it has built; None: nowhere.
        keeps_sources: whether images that rows are made from stay on it between batches.
        image_threads: CPU threads of a run of one image, which may have the cores to itself;
            0 = one per core.
        any_batch: sessions run batches of any size, for whoever measures which is best; else
            each is built for its own. Engines always are.
    """

    provider: str = "cpu"
    threads: int = 0
    numbers: tuple[int, ...] = (0,)
    calls: int = 1
    precision: Precision = "float32"
    engine_cache: Path | None = None
    keeps_sources: bool = False
    image_threads: int = 0
    any_batch: bool = False

    def lanes(self) -> "tuple[Lane, ...]":
        """The lanes that keep these devices busy: the first call of each, then the second."""
        places = [place for _ in range(self.calls) for place in range(len(self.numbers))]
        return tuple(Lane(number, place) for number, place in enumerate(places))

    def places(self) -> "tuple[Lane, ...]":
        """A lane of each device."""
        return self.lanes()[: len(self.numbers)]

    def for_images(self) -> "Device":
        """The same devices, as they run one image a call."""
        return replace(self, threads=self.image_threads)

    def for_gradients(self) -> "Device":
        """The same devices, as gradients are taken on them: of one image a call.

        Always in float32: float16 lets them underflow, and what TF32 does to them near the kinks
        of a network nobody measured. And by CUDA where TensorRT was asked for: an engine more
        for every shape of map would cost minutes and memory for calls of one image.
        """
        provider = "cuda" if self.provider == "tensorrt" else self.provider
        images = self.for_images()
        return replace(images, provider=provider, precision="float32", engine_cache=None)


@dataclass(frozen=True)
class Lane:
    """One of the threads that run calls on devices, side by side.

    Attributes:
        number: of the lane, from 0.
        place: which of the device numbers it runs on: a position, not the number itself.
    """

    number: int = 0
    place: int = 0
