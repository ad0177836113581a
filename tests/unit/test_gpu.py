"""What a machine's NVIDIA libraries are asked, and how their answers and absence are told."""

from collections.abc import Callable
from ctypes.util import find_library
from typing import Any

import pytest

from salience_service.errors import ComputeFailed
from salience_service.runtime.gpu import Gpu, compute_capability, read_gpu, tensorrt_versions


class Cuda:
    """libcuda.so.1 of a machine with two devices."""

    names = (b"NVIDIA A100", b"NVIDIA H100")
    capabilities = ({75: 8, 76: 0}, {75: 9, 76: 0})

    def cuInit(self, flags: int) -> int:  # noqa: N802
        return flags

    def cuDeviceGet(self, device: Any, number: int) -> int:  # noqa: N802
        if number >= len(self.names):
            return 101
        device._obj.value = number
        return 0

    def cuDeviceGetName(self, name: Any, size: int, device: Any) -> int:  # noqa: N802
        name.value = self.names[device.value][:size]
        return 0

    def cuDeviceGetAttribute(self, value: Any, attribute: int, device: Any) -> int:  # noqa: N802
        value._obj.value = self.capabilities[device.value][attribute]
        return 0


class Management:
    """libnvidia-ml.so.1."""

    def __init__(self) -> None:
        self.open = 0

    def nvmlInit_v2(self) -> int:  # noqa: N802
        self.open += 1
        return 0

    def nvmlSystemGetDriverVersion(self, version: Any, size: int) -> int:  # noqa: N802
        version.value = b"580.65.06"[:size]
        return 0

    def nvmlShutdown(self) -> int:  # noqa: N802
        self.open -= 1
        return 0


class TensorRT:
    """libnvinfer.so.10."""

    def getInferLibVersion(self) -> int:  # noqa: N802
        return 101300


def machine(**libraries: object) -> Callable[[str], Any]:
    def load(name: str) -> Any:
        if name not in libraries:
            raise OSError(f"{name}: cannot open shared object file")
        return libraries[name]

    return load


def test_a_device_is_named_with_its_capability_and_the_driver() -> None:
    management = Management()
    load = machine(**{"libcuda.so.1": Cuda(), "libnvidia-ml.so.1": management})
    assert read_gpu(0, load) == Gpu("NVIDIA A100", "8.0", "580.65.06")
    assert read_gpu(1, load) == Gpu("NVIDIA H100", "9.0", "580.65.06")
    assert management.open == 0


def test_the_capability_is_told_without_the_management_library() -> None:
    assert compute_capability(1, machine(**{"libcuda.so.1": Cuda()})) == (9, 0)


def test_a_machine_without_a_driver_is_told_clearly() -> None:
    with pytest.raises(ComputeFailed, match=r"libcuda\.so\.1 cannot be loaded.*with a GPU"):
        read_gpu(0, machine())
    with pytest.raises(ComputeFailed, match=r"libnvidia-ml\.so\.1 cannot be loaded"):
        read_gpu(0, machine(**{"libcuda.so.1": Cuda()}))


def test_a_device_that_is_not_there_is_told_by_number() -> None:
    with pytest.raises(ComputeFailed, match=r"could not find device 2 \(error 101\)"):
        read_gpu(2, machine(**{"libcuda.so.1": Cuda()}))


def test_this_machines_own_libraries_are_asked_where_none_are_given() -> None:
    if find_library("cuda"):
        pytest.skip("this machine has a driver; what it says is not ours to know")
    with pytest.raises(ComputeFailed, match=r"libcuda\.so\.1 cannot be loaded"):
        read_gpu(0)


def test_every_tensorrt_that_can_be_loaded_is_told() -> None:
    assert tensorrt_versions(machine(**{"libnvinfer.so.10": TensorRT()})) == (101300,)
    with pytest.raises(ComputeFailed, match=r"TensorRT cannot be loaded.*use provider = 'cuda'"):
        tensorrt_versions(machine())
