"""TF32: which devices have it, and one word for the whole process, said before it is loaded.

Never run: no GPU was at hand.
"""

import os
from collections.abc import Callable, MutableMapping

from salience_service.errors import ConfigRefused
from salience_service.runtime.device import Device
from salience_service.runtime.gpu import compute_capability

OVERRIDE = "NVIDIA_TF32_OVERRIDE"
"""0 keeps TF32 off, whatever a library was told (cuBLAS, cuDNN, TensorRT)."""

_SINCE = 8, 0
"""The compute capability from which on a device has TF32: Ampere's."""


def check_tf32(
    device: Device, capability: Callable[[int], tuple[int, int]] = compute_capability
) -> None:
    """Refuses TF32 where a device has none: float32 would run under its name.

    Args:
        device: what is asked for.
        capability: reads the compute capability of a number.

    Raises:
        ConfigRefused: one of the device's numbers has none.
        ComputeFailed: the driver cannot be asked.
    """
    if device.precision != "tf32":
        return
    for number in device.numbers:
        major, minor = capability(number)
        if (major, minor) < _SINCE:
            raise ConfigRefused(
                f"precision = 'tf32', but device {number} has compute capability {major}.{minor}, "
                "and TF32 comes with 8.0: use 'float32' or 'float16'"
            )


class Tf32Word:
    """Owns the word of a process on TF32.

    TensorRT takes TF32 unless this variable says 0, which it reads once; ONNX Runtime has no
    option for it (microsoft/onnxruntime#26029). CUDA has one for each session (`use_tf32`),
    which where nothing else fits is passed over, and which bars float16 from the tensor cores.
    So the first device asked for decides for the process.

    Args:
        environment: the process's.
    """

    def __init__(self, environment: MutableMapping[str, str]) -> None:
        self._environment = environment
        self._allowed: bool | None = None

    def say(self, device: Device) -> None:
        """Allows TF32 or keeps it off, as the device's precision wants it.

        Raises:
            ConfigRefused: the environment says otherwise, or an earlier device did.
        """
        stated, wanted = self._environment.get(OVERRIDE), device.precision == "tf32"
        if device.provider == "cpu":
            return
        if wanted and stated == "0" and self._allowed is None:
            raise ConfigRefused(
                f"precision = 'tf32', but {OVERRIDE}=0 keeps it off: unset the variable"
            )
        if device.provider == "cuda" and not wanted and self._allowed:
            return  # Gradients beside a model in TF32: their session's own option keeps it off.
        self._settle(wanted, stated)

    def _settle(self, allowed: bool, stated: str | None) -> None:
        if self._allowed not in (None, allowed):
            raise ConfigRefused(
                "TF32 is taken in a whole process or not at all, and another model of this "
                "process settled it: use one precision, or a process for each"
            )
        if not allowed and stated not in (None, "0"):
            raise ConfigRefused(
                f"{OVERRIDE}={stated} allows TF32, which only precision = 'tf32' asks for: "
                "unset the variable"
            )
        if not allowed:
            self._environment[OVERRIDE] = "0"
        self._allowed = allowed


WORD = Tf32Word(os.environ)
"""This process's."""
