"""Session options: what ONNX Runtime is told of a graph besides its providers."""

from collections.abc import Mapping
from functools import cache

import onnxruntime as ort

from salience_service.bundle.graph_bytes import GraphBytes
from salience_service.host_threads import cores_held_to
from salience_service.runtime.device import Device

_WEIGHTS_BESIDE = "session.model_external_initializers_file_folder_path"


def session_options(
    device: Device, graph: GraphBytes, sizes: Mapping[str, int]
) -> ort.SessionOptions:
    """The options of a session of a graph.

    Args:
        device: where it runs.
        graph: with its weights.
        sizes: of dimensions that are always the same, by the graph's names for them.
    """
    _shared_arena()
    options = ort.SessionOptions()
    options.add_session_config_entry("session.use_env_allocators", "1")
    options.add_session_config_entry("session.use_device_allocator_for_initializers", "1")
    options.intra_op_num_threads = threads_of_a_run(device)
    # Threads that wait for work would take the cores of other lanes, and of who writes answers:
    # 64 callers got 30 Grad-CAMs a second with it and 38 without, one alone waits no longer.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    if device.provider != "cpu":
        options.use_deterministic_compute = True
        # For `warn_of_the_cpu`; opening a session takes no longer with it.
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    weights = graph.weights
    if weights:
        options.add_external_initializers_from_files_in_memory(
            list(weights), list(weights.values()), list(map(len, weights.values()))
        )
    for name, size in sizes.items():
        options.add_free_dimension_override_by_name(name, size)
    # A graph given as bytes has no place of its own to look for its weights.
    options.add_session_config_entry(_WEIGHTS_BESIDE, str(graph.directory))
    return options


def threads_of_a_run(device: Device) -> int:
    """CPU threads of a run; 0 = ONNX Runtime's own choice, one per core, bound to it.

    It looks at the machine, not at what this process may use of it: held to fewer cores, threads of
    the others would crowd there, or leave them.
    """
    return device.threads or cores_held_to()


@cache
def _shared_arena() -> None:
    """Makes one arena of CPU memory for all sessions of this process.

    Each would keep one of its own, as large as its busiest moment, though the device runs them
    in turn: eight sessions of EfficientNet-Lite0 held 732 MB apart and 474 MB together.
    """
    kind = ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR
    memory = ort.OrtMemoryInfo("Cpu", kind, 0, ort.OrtMemType.DEFAULT)
    ort.create_and_register_allocator(memory, None)
