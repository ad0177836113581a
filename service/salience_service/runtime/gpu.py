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
    cuda, device = _device(number, load)
    major, minor = _capability(cuda, device)
    return Gpu(_name(cuda, device), f"{major}.{minor}", _driver(load))


def gpu_name(number: int, load: Load = ctypes.CDLL) -> str:
    """The name of the device that CUDA calls by this number, such as "NVIDIA H200".

    Raises:
        ComputeFailed: no driver, or no such device.
    """
    return _name(*_device(number, load))


def compute_capability(number: int, load: Load = ctypes.CDLL) -> tuple[int, int]:
    """That of the device that CUDA calls by this number, major and minor.

    Raises:
        ComputeFailed: no driver, or no such device.
    """
    return _capability(*_device(number, load))


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


def _device(number: int, load: Load) -> tuple[Library, ctypes.c_int]:
    cuda, device = _loaded(load, _CUDA), ctypes.c_int()
    _succeed(cuda.cuInit(0), "start CUDA")
    _succeed(cuda.cuDeviceGet(ctypes.byref(device), number), f"find device {number}")
    return cuda, device


def _name(cuda: Library, device: ctypes.c_int) -> str:
    name = ctypes.create_string_buffer(_TEXT)
    _succeed(cuda.cuDeviceGetName(name, _TEXT, device), "tell the device's name")
    return name.value.decode()


def _driver(load: Load) -> str:
    management = _loaded(load, _MANAGEMENT)
    version = ctypes.create_string_buffer(_TEXT)
    _succeed(management.nvmlInit_v2(), "start its management library")
    try:
        _succeed(management.nvmlSystemGetDriverVersion(version, _TEXT), "tell its version")
    finally:
        management.nvmlShutdown()
    return version.value.decode()


def _capability(cuda: Library, device: ctypes.c_int) -> tuple[int, int]:
    return (
        _attribute(cuda, device, _CAPABILITY_MAJOR),
        _attribute(cuda, device, _CAPABILITY_MINOR),
    )


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
