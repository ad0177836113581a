"""NVIDIA's libraries, loaded from where pip puts them. Never run: no GPU was at hand."""

import io
import logging
from contextlib import redirect_stdout, suppress
from functools import cache
from importlib import import_module

import onnxruntime as ort

from salience_service.runtime.device import Device

_log = logging.getLogger(__name__)


def load_libraries(device: Device) -> None:
    """Loads what a device's provider is linked with, once; what is absent is left to the loader.

    ONNX Runtime's providers name CUDA's libraries and say of no place: without this only those
    that lie on the loader's path are found (microsoft/onnxruntime#21684), and pip's do not.
    """
    if device.provider != "cpu":
        _load()
    if device.provider == "tensorrt":
        with suppress(ImportError):  # Of pip's `tensorrt`; it loads its libraries when imported.
            import_module("tensorrt_libs")


@cache
def _load() -> None:
    said = io.StringIO()
    with redirect_stdout(said):  # It prints what it does not find.
        ort.preload_dlls(directory="")
    for line in said.getvalue().splitlines():
        _log.warning("onnxruntime: %s", line)
