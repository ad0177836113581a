"""Freed memory leaves the process: at once where it is asked for, and after a graph is opened."""

import ctypes
import resource
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from salience_service.runtime import session as session_module
from salience_service.runtime.freed_pages import return_freed_pages
from salience_service.runtime.session import Device, Session

STATM = Path("/proc/self/statm")
BLOCK, BLOCKS = 64 * 1024, 1600
"""Of 105 MB, each below what the C library would map apart and unmap when it is freed."""


def _resident() -> int:
    """Bytes of this process that are in memory."""
    return int(STATM.read_text("ascii").split()[1]) * resource.getpagesize()


@pytest.mark.skipif(
    not STATM.exists() or not hasattr(ctypes.CDLL(None), "malloc_trim"),
    reason="memory is read from /proc, and only glibc gives it back when told",
)
def test_freed_memory_below_what_is_in_use_goes_back_to_the_system() -> None:
    library = ctypes.CDLL(None)
    library.malloc.restype, library.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
    blocks = [library.malloc(BLOCK) for _ in range(BLOCKS)]
    for block in blocks:
        ctypes.memset(block, 1, BLOCK)
    for block in blocks[:-1]:
        library.free(block)  # The last holds the heap's end where it is.
    kept = _resident()
    return_freed_pages()
    given_back = kept - _resident()
    library.free(blocks[-1])
    assert given_back > BLOCKS * BLOCK / 2


def test_what_the_opening_of_a_graph_left_is_returned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y = (helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, [3]) for n in "xy")
    graph = helper.make_graph([helper.make_node("Neg", ["x"], ["y"])], "minus", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "graph.onnx")
    returned = list[bool]()
    monkeypatch.setattr(session_module, "return_freed_pages", lambda: returned.append(True))
    session = Session(tmp_path / "graph.onnx", Device())
    assert returned == [True]
    found = session.run({"x": np.ones(3, np.float32)}, ["y"], session_module.Execution())
    np.testing.assert_array_equal(found[0], -np.ones(3))
