"""What an NVIDIA machine says of itself: device, driver and TensorRT, as engines depend on them.

Asked of the driver's own libraries, which lie wherever CUDA runs and number the devices as
CUDA does (NVML and nvidia-smi number them otherwise). Never run yet: no GPU was at hand.
"""

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from salience_service.errors import ComputeFailed

Library = Any
"""A library of C functions that take ctypes and return a status, 0 for success."""
Load = Callable[[str], Library]
"""Loads one by its name; OSError where it is not."""

_CUDA, _MANAGEMENT = "libcuda.so.1", "libnvidia-ml.so.1"
_TENSORRT = ("libnvinfer.so.11", "libnvinfer.so.10")
_CAPABILITY_MAJOR, _CAPABILITY_MINOR = 75, 76
"""CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR of cuda.h."""
_TEXT = 256
"""Bytes for a name; NVML asks for 80, CUDA for no number."""


@dataclass(frozen=True)
class Gpu:
    """A device: its name, its compute capability as "9.0", the driver's version."""

    name: str
    compute_capability: str
    driver: str


def read_gpu(number: int, load: Load = ctypes.CDLL) -> Gpu:
    """The device that CUDA calls by this number.

    Raises:
        ComputeFailed: no driver, or no such device.
    """
    cuda = _loaded(load, _CUDA)
    device = ctypes.c_int()
    _succeed(cuda.cuInit(0), "start CUDA")
    _succeed(cuda.cuDeviceGet(ctypes.byref(device), number), f"find device {number}")
    name = ctypes.create_string_buffer(_TEXT)
    _succeed(cuda.cuDeviceGetName(name, _TEXT, device), "tell the device's name")
    capability = [_attribute(cuda, device, each) for each in (_CAPABILITY_MAJOR, _CAPABILITY_MINOR)]
    return Gpu(name.value.decode(), ".".join(map(str, capability)), _driver(load))


def tensorrt_versions(load: Load = ctypes.CDLL) -> tuple[int, ...]:
    """The TensorRT libraries that can be loaded, each as its own number, 101300 for 10.13.0.

    Raises:
        ComputeFailed: none can.
    """
    found = []
    for name in _TENSORRT:
        try:
            found.append(int(load(name).getInferLibVersion()))
        except OSError:
            continue
    if not found:
        raise ComputeFailed(
            f"TensorRT cannot be loaded ({' or '.join(_TENSORRT)}): install it where the "
            "loader finds it, or use provider = 'cuda'"
        )
    return tuple(found)


def _driver(load: Load) -> str:
    management = _loaded(load, _MANAGEMENT)
    version = ctypes.create_string_buffer(_TEXT)
    _succeed(management.nvmlInit_v2(), "start its management library")
    try:
        _succeed(management.nvmlSystemGetDriverVersion(version, _TEXT), "tell its version")
    finally:
        management.nvmlShutdown()
    return version.value.decode()


def _attribute(cuda: Library, device: ctypes.c_int, attribute: int) -> int:
    value = ctypes.c_int()
    status = cuda.cuDeviceGetAttribute(ctypes.byref(value), attribute, device)
    _succeed(status, "tell the device's compute capability")
    return value.value


def _loaded(load: Load, name: str) -> Library:
    try:
        return load(name)
    except OSError as error:
        raise ComputeFailed(
            f"the NVIDIA driver's {name} cannot be loaded: is this a machine with a GPU, and "
            "was the container given it?"
        ) from error


def _succeed(status: int, what: str) -> None:
    if status:
        raise ComputeFailed(f"the NVIDIA driver could not {what} (error {status})")
