"""The engines that TensorRT builds of one graph: what each depends on, and where it is kept."""

from collections.abc import Callable
from functools import cached_property
from pathlib import Path

from salience_service.bundle.graph_bytes import GraphBytes
from salience_service.runtime.device import Device
from salience_service.runtime.engine_cache import EngineKey, engine_directory
from salience_service.runtime.gpu import Gpu, read_gpu, tensorrt_versions
from salience_service.runtime.graph_shape import GraphShape
from salience_service.runtime.providers import engine_profile, provider_chain


class Engines:
    """Engines of one graph, one for each device and shape.

    Args:
        device: TensorRT's.
        graph: as it is built.
        gpu: reads the device of a number.
        tensorrt: reads TensorRT's versions.
    """

    def __init__(
        self,
        device: Device,
        graph: GraphBytes,
        gpu: Callable[[int], Gpu] = read_gpu,
        tensorrt: Callable[[], tuple[int, ...]] = tensorrt_versions,
    ) -> None:
        self._device = device
        self._graph = graph
        self._gpu = gpu
        self._tensorrt = tensorrt

    def provider_chain(
        self, number: int, shape: GraphShape, runtime: str
    ) -> list[tuple[str, dict[str, str]]]:
        """The providers and options that build or load the engine of a device and a shape.

        Args:
            number: which device.
            shape: at which it runs.
            runtime: ONNX Runtime's version.

        Raises:
            ComputeFailed: the shape leaves a size open; or, where engines are kept, the driver
                or TensorRT cannot be asked.
            ConfigRefused: others may write the cache.
        """
        profile = engine_profile(self._inputs, shape)
        return provider_chain(self._device, number, profile, self._place(number, shape, runtime))

    def _place(self, number: int, shape: GraphShape, runtime: str) -> Path | None:
        if self._device.engine_cache is None:
            return None
        key = EngineKey(
            graph=self._digest,
            shape=str(shape),
            precision=self._device.precision,
            runtime=runtime,
            tensorrt=self._tensorrt(),
            gpu=self._gpu(number),
        )
        return engine_directory(self._device.engine_cache, key)

    @cached_property
    def _inputs(self) -> dict[str, tuple[str | int, ...]]:
        return self._graph.inputs()

    @cached_property
    def _digest(self) -> str:
        return self._graph.digest()
