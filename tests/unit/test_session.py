"""Sessions: what they run, what they read their weights from, and that providers came up."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper
from onnxruntime.capi.onnxruntime_pybind11_state import EPFail, Fail, InvalidGraph, RuntimeException

from salience_service.errors import BundleRefused, ComputeFailed, ConfigRefused
from salience_service.runtime import session as session_module
from salience_service.runtime import tf32
from salience_service.runtime.built_shapes import fitting
from salience_service.runtime.graph_shape import GraphShape
from salience_service.runtime.providers import PROVIDERS
from salience_service.runtime.session import Device, Execution, Session
from salience_service.runtime.turns import turns

Opened = Callable[..., Session]
FEEDS = {"x": np.arange(3, dtype=np.float32)}
ONES = np.ones((300, 3), np.float32)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """y = 2x, and z = Σ y in 300 copies."""
    weight = TensorProto(
        name="ones", data_type=1, dims=ONES.shape, data_location=TensorProto.EXTERNAL
    )
    for key, value in (("location", "weights.bin"), ("offset", "0"), ("length", str(ONES.nbytes))):
        weight.external_data.add(key=key, value=value)
    (tmp_path / "weights.bin").write_bytes(ONES.tobytes())
    graph = helper.make_graph(
        [
            helper.make_node("Add", ["x", "x"], ["y"]),
            helper.make_node("MatMul", ["ones", "y"], ["z"]),
        ],
        "sums",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [3])],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in ("y", "z")],
        [weight],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (tmp_path / "graph.onnx").write_bytes(model.SerializeToString())
    return tmp_path / "graph.onnx"


@pytest.mark.parametrize("weights", [{}, {"weights.bin": ONES.tobytes()}], ids=["file", "bytes"])
def test_outputs_come_in_the_order_asked_for(file: Path, weights: dict[str, bytes]) -> None:
    session = Session(file, Device(), weights)
    y, z = session.run(FEEDS, ["y", "z"], Execution())
    np.testing.assert_array_equal(y, [0, 2, 4])
    np.testing.assert_array_equal(z, np.full(300, 6))


def test_weights_given_as_bytes_are_read_and_not_the_file(file: Path) -> None:
    (file.parent / "weights.bin").unlink()
    session = Session(file, Device(), {"weights.bin": (2 * ONES).tobytes()})
    np.testing.assert_array_equal(session.run(FEEDS, ["z"], Execution())[0], np.full(300, 12))


def test_an_output_that_the_graph_has_not_is_a_failure_of_ours(file: Path) -> None:
    with pytest.raises(ComputeFailed):
        Session(file, Device()).run(FEEDS, ["w"], Execution())


@pytest.mark.parametrize("provider", ["cpu", "cuda", "tensorrt"])
def test_a_run_notes_when_its_turn_came_where_runs_take_turns(file: Path, provider: str) -> None:
    session, execution = Session(file, Device()), Execution()
    session._turns = turns(Device(provider), session._at[0])  # No GPU is here.
    session.run(FEEDS, ["y"], execution)
    assert (execution.turn.began is not None) is (provider != "cpu")


def test_a_session_at_fixed_sizes_says_so_of_its_inputs(tmp_path: Path) -> None:
    # What `fitting` goes by where a provider has a session for every shape.
    graph = helper.make_graph(
        [helper.make_node("Add", ["a", "b"], ["z"])],
        "two named sizes",
        [
            helper.make_tensor_value_info("a", TensorProto.FLOAT, ["N", 3]),
            helper.make_tensor_value_info("b", TensorProto.FLOAT, ["R", 3]),
        ],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, None)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = ort.SessionOptions()
    options.add_free_dimension_override_by_name("N", 4)
    session = ort.InferenceSession(model.SerializeToString(), options)
    assert [each.shape for each in session.get_inputs()] == [[4, 3], ["R", 3]]


@pytest.mark.parametrize("sources", [1, 8])
def test_of_several_shapes_the_one_that_fits_the_feeds_runs(sources: int) -> None:
    sessions = [BuiltAt(8, 7), BuiltAt(8, 14), BuiltAt(4, 28)]
    feeds = {"maps": np.zeros((8, 14, 14)), "image_of": np.zeros(sources)}
    assert fitting(sessions, feeds) is sessions[1]
    with pytest.raises(ComputeFailed, match="no engine was built for rows of this shape"):
        fitting(sessions, {**feeds, "maps": np.zeros((8, 28, 28))})


def test_a_single_session_runs_every_shape() -> None:
    only = BuiltAt(8, 7)
    assert fitting([only], {"maps": np.zeros((3, 5, 5)), "image_of": np.zeros(1)}) is only


class BuiltAt:
    """A session whose rows and maps are fixed, and whose sources are not."""

    def __init__(self, rows: int, side: int) -> None:
        maps = SimpleNamespace(name="maps", shape=[rows, side, side])
        self._inputs = [maps, SimpleNamespace(name="image_of", shape=["S"])]

    def get_inputs(self) -> list[SimpleNamespace]:
        return self._inputs


def test_the_cpu_runs_any_shape_in_one_session(file: Path) -> None:
    session = Session(file, Device(), shapes=[GraphShape({"N": 2})] * 3)
    np.testing.assert_array_equal(session.run(FEEDS, ["y"], Execution())[0], [0, 2, 4])


@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_a_provider_that_is_not_here_is_an_error_and_never_the_cpu(
    file: Path, provider: str
) -> None:
    if PROVIDERS[provider] in ort.get_available_providers():
        pytest.skip(f"this installation has {provider}")
    with pytest.raises(ComputeFailed, match=f"has no {PROVIDERS[provider]}"):
        Session(file, Device(provider))


def on_the_cpu_as(monkeypatch: pytest.MonkeyPatch) -> None:
    """Devices of all kinds come up, and ONNX Runtime puts every node of theirs on the CPU."""
    chain = [(PROVIDERS["cpu"], {})]
    monkeypatch.setattr(session_module, "check_available", lambda *_: None)
    monkeypatch.setattr(session_module, "check_came_up", lambda *_: None)
    monkeypatch.setattr(session_module, "provider_chain", lambda *_: chain)
    monkeypatch.setattr(session_module, "builds_engines", lambda _: False)


@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_nodes_that_run_on_the_cpu_though_a_provider_came_up_are_told_once_a_graph(
    file: Path, provider: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    on_the_cpu_as(monkeypatch)
    Session(file, Device(provider, numbers=(0, 1)))
    (told,) = (each.getMessage() for each in caplog.records if each.name.endswith("providers"))
    assert told.startswith(f"graph.onnx: the CPU runs 2 of its nodes, which {provider} has no")
    assert told.endswith(": Add 1, MatMul 1")


def test_a_session_in_tf32_is_refused_where_its_device_has_none(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_the_cpu_as(monkeypatch)
    monkeypatch.setattr(tf32, "WORD", tf32.Tf32Word({}))
    monkeypatch.setattr(tf32, "check_tf32", partial(tf32.check_tf32, capability=lambda _: (7, 5)))
    with pytest.raises(ConfigRefused, match=r"capability 7\.5"):
        Session(file, Device("cuda", precision="tf32"))


def test_of_a_graph_on_the_cpu_nothing_is_told(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Session(file, Device())
    assert not caplog.records


@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_a_provider_that_does_not_come_up_is_an_error_and_never_the_cpu(
    file: Path, provider: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where its libraries are missing: ONNX Runtime warns, and opens the graph on the CPU."""
    if PROVIDERS[provider] in ort.get_available_providers():
        pytest.skip(f"this installation has {provider}")
    monkeypatch.setattr(session_module, "check_available", lambda *_: None)
    monkeypatch.setattr(session_module, "builds_engines", lambda _: False)
    with (
        pytest.warns(UserWarning, match="not in available provider names"),
        pytest.raises(ComputeFailed, match="CPUExecutionProvider came up"),
    ):
        Session(file, Device(provider))


def test_a_provider_that_fails_to_open_a_graph_is_named_and_nothing_is_said_on_stdout(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("CUDA failure 100 at /secret/path")

    monkeypatch.setattr(session_module, "check_available", lambda *_: None)
    monkeypatch.setattr(ort.InferenceSession, "_create_inference_session", fails)
    with pytest.raises(ComputeFailed, match="CUDAExecutionProvider did not come up") as told:
        Session(file, Device("cuda"))
    assert "/secret" not in str(told.value)
    assert not capsys.readouterr().out


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (Fail("[ShapeInferenceError] kernel_shape must be positive"), BundleRefused),
        (RuntimeError("pthread_create failed, error code: 11"), ComputeFailed),
        (MemoryError("std::bad_alloc"), ComputeFailed),
        (RuntimeException("Exception during initialization: std::bad_alloc"), ComputeFailed),
    ],
)
def test_want_of_memory_or_threads_is_no_fault_of_the_graph_on_a_cpu_either(
    file: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, told: type[Exception]
) -> None:
    def fails(*_: object) -> None:
        raise error

    monkeypatch.setattr(ort.InferenceSession, "_create_inference_session", fails)
    with pytest.raises(told, match=r"graph\.onnx"):
        Session(file, Device())


def test_a_graph_that_no_provider_could_load_is_refused_whatever_was_to_run_it(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else one bad bundle of several would keep a server with a GPU from starting."""

    def fails(*_: object) -> None:
        raise InvalidGraph("no operator of that name")

    monkeypatch.setattr(session_module, "check_available", lambda *_: None)
    monkeypatch.setattr(ort.InferenceSession, "_create_inference_session", fails)
    with pytest.raises(BundleRefused, match=r"refused graph\.onnx"):
        Session(file, Device("cuda"))


def test_a_provider_that_fails_in_a_run_is_an_error_and_never_the_cpu(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*_: object) -> None:
        raise EPFail("the device is gone")

    (inner,) = Session(file, Device())._at[0]
    monkeypatch.setattr(
        inner, "_sess", SimpleNamespace(run=fails, is_webgpu_graph_capture_enabled=bool)
    )
    session = Session(file, Device())
    monkeypatch.setattr(session, "_at", [[inner]])
    with pytest.raises(ComputeFailed, match="failed on the device"):
        session.run(FEEDS, ["y"], Execution())
    assert not capsys.readouterr().out
