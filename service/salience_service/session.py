"""An ONNX graph on the provider it really got: the one module that knows ONNX Runtime."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from salience_service.bundle.graph_part import part_of
from salience_service.errors import BundleRefused, Cancelled, ComputeFailed

PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
"""Names in the configuration, and ONNX Runtime's."""

_WEIGHTS_BESIDE = "session.model_external_initializers_file_folder_path"


@dataclass(frozen=True)
class Device:
    """Where graphs run.

    Attributes:
        provider: "cpu", "cuda" or "tensorrt".
        threads: CPU threads per graph run; 0 = one per core this process may use.
    """

    provider: str = "cpu"
    threads: int = 0


class Stop:
    """The word to a running call to end early; safe from any thread."""

    def __init__(self) -> None:
        self.options = ort.RunOptions()

    def now(self) -> None:
        """Ends the call at its next operator."""
        self.options.terminate = True

    @property
    def said(self) -> bool:
        """Whether the call was told to end."""
        return bool(self.options.terminate)


class Session:
    """One ONNX graph, ready to run.

    Args:
        path: the graph's file; its external weights lie beside it.
        device: where to run it.
        weights: bytes of files beside it by name. What is not given is mapped into memory
            as it lies on disk, and a change there while the session lives is a crash or,
            worse, another model.
        outputs: the only ones this session is for; none: all of the graph's. What they do
            not need is left out, since a run computes every output of its graph, fetched or
            not: ONNX Runtime heeds `only_execute_path_to_fetches` in its training builds
            alone (microsoft/onnxruntime#16013).
        sizes: dimensions that are always the same here, by the graph's names for them: a
            runtime that knows a shape keeps its own layout through more of the graph.

    Raises:
        BundleRefused: ONNX Runtime cannot load the graph, or it has no such output.
        ComputeFailed: the provider asked for did not come up; the CPU never steps in silently.
    """

    def __init__(
        self,
        path: Path,
        device: Device,
        weights: Mapping[str, bytes] = MappingProxyType({}),
        outputs: Sequence[str] = (),
        sizes: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        wanted = PROVIDERS[device.provider]
        if wanted not in ort.get_available_providers():
            raise ComputeFailed(f"this installation of ONNX Runtime has no {wanted}")
        options = _options(device)
        if weights:
            options.add_external_initializers_from_files_in_memory(
                list(weights), list(weights.values()), list(map(len, weights.values()))
            )
        for name, size in sizes.items():
            options.add_free_dimension_override_by_name(name, size)
        graph = part_of(path, outputs) if outputs else path
        # A graph given as bytes has no place of its own to look for its weights.
        options.add_session_config_entry(_WEIGHTS_BESIDE, str(path.parent))
        try:
            self._session = ort.InferenceSession(
                graph, options, providers=_providers(device.provider)
            )
        except Exception as error:  # ONNX Runtime's errors share no base but Exception
            raise BundleRefused(f"ONNX Runtime refused {path.name}") from error
        self.provider: str = self._session.get_providers()[0]
        if self.provider != wanted:
            raise ComputeFailed(f"{wanted} was asked for, but {self.provider} came up")

    def run(
        self, feeds: Mapping[str, NDArray[np.generic]], outputs: Sequence[str], stop: Stop
    ) -> list[NDArray[np.float32]]:
        """Runs the graph and fetches the named outputs.

        Args:
            feeds: the graph's inputs by name, with the shapes that its role states.
            outputs: which outputs to fetch; their order is the answer's.
            stop: ends this run early.

        Raises:
            Cancelled: `stop` ended the run.
            ComputeFailed: the runtime failed.
        """
        try:
            results: list[NDArray[np.float32]] = self._session.run(
                list(outputs), dict(feeds), stop.options
            )
        except Exception as error:
            if stop.said:
                raise Cancelled("the run was ended early") from error
            raise ComputeFailed("the model failed on the device") from error
        return results


def _providers(name: str) -> list[str]:
    """The provider asked for, then those that ONNX Runtime needs behind it."""
    chain = {"cpu": ["cpu"], "cuda": ["cuda", "cpu"], "tensorrt": ["tensorrt", "cuda", "cpu"]}
    return [PROVIDERS[each] for each in chain[name]]


@cache
def _shared_arena() -> None:
    """Makes one arena of CPU memory for all sessions of this process.

    Each would keep one of its own, as large as its busiest moment, though the device runs them
    in turn: eight sessions of EfficientNet-Lite0 held 732 MB apart and 474 MB together.
    """
    kind = ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR
    memory = ort.OrtMemoryInfo("Cpu", kind, 0, ort.OrtMemType.DEFAULT)
    ort.create_and_register_allocator(memory, None)


def _options(device: Device) -> ort.SessionOptions:
    _shared_arena()
    options = ort.SessionOptions()
    options.add_session_config_entry("session.use_env_allocators", "1")
    options.add_session_config_entry("session.use_device_allocator_for_initializers", "1")
    options.intra_op_num_threads = device.threads
    options.log_severity_level = 3
    return options
