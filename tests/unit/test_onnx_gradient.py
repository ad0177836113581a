"""The ONNX side at its seam, the session: what it feeds, and that it fetches what is asked for."""

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from salience_service.errors import NotPossible
from salience_service.gradients.onnx_gradient import OnnxGradient
from salience_service.interpolation import interpolation_matrix
from salience_service.runtime.session import Execution

IMAGE = np.random.default_rng(0).normal(size=(3, 8, 6)).astype(np.float32)
FILL = np.full((3, 8, 6), 0.5, np.float32)
COTANGENT = np.array([0, 1, -1], np.float32)
LOGITS = np.array([[1, 2, 3]], np.float32)


class RecordingSession:
    """Answers every output with its own numbers, and remembers what it was given."""

    def __init__(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self.shapes = shapes
        self.feeds: dict[str, np.ndarray] = {}
        self.fetched: list[str] = []
        self.executions: list[Execution] = []

    def run(
        self, feeds: Mapping[str, np.ndarray], outputs: Sequence[str], execution: Execution
    ) -> list[np.ndarray]:
        self.feeds, self.fetched = dict(feeds), list(outputs)
        self.executions.append(execution)
        return [LOGITS if name == "logits" else self.value(name)[None] for name in outputs]

    def value(self, name: str) -> np.ndarray:
        place = list(self.shapes).index(name)
        return np.full(self.shapes[name], place, np.float32)


@pytest.fixture
def session() -> RecordingSession:
    return RecordingSession(
        {"d_images": (3, 8, 6), "d_tap_0": (4, 4, 3), "d_tap_1": (5, 2, 2), "d_maps": (4, 3)}
    )


@pytest.mark.parametrize(
    "tensors", [(), ("images",), ("tap_1",), ("tap_0", "images"), ("tap_1", "tap_0", "images")]
)
def test_only_what_is_asked_for_is_fetched(
    session: RecordingSession, tensors: tuple[str, ...]
) -> None:
    side = OnnxGradient(session, session)  # type: ignore[arg-type]
    stop = Execution()
    logits, found = side.gradient(IMAGE, COTANGENT, tensors, stop)
    assert session.fetched == ["logits", *(f"d_{tensor}" for tensor in tensors)]
    assert session.executions == [stop]
    np.testing.assert_array_equal(logits, LOGITS[0])
    assert tuple(found) == tensors
    for tensor, gradient in found.items():
        np.testing.assert_array_equal(gradient, session.value(f"d_{tensor}"))
    assert {name: value.shape for name, value in session.feeds.items()} == {
        "images": (1, 3, 8, 6),
        "cotangent": (1, 3),
    }


def test_a_masked_row_is_one_image_normalised_and_shown(session: RecordingSession) -> None:
    side = OnnxGradient(session, session)  # type: ignore[arg-type]
    image_map = np.arange(12, dtype=np.float32).reshape(4, 3)
    logits, gradient = side.masked_gradient(IMAGE - FILL, FILL, image_map, COTANGENT, Execution())
    np.testing.assert_array_equal(logits, LOGITS[0])
    np.testing.assert_array_equal(gradient, session.value("d_maps"))
    assert session.fetched == ["logits", "d_maps"]
    expected = {
        "differences": (IMAGE - FILL)[None],
        "fills": FILL[None],
        "image_of": np.zeros(1, np.int64),
        "maps": image_map[None],
        "rows": interpolation_matrix(8, 4),
        "columns": interpolation_matrix(6, 3),
        "normalise": np.array([True]),
        "scale": np.ones(1, np.float32),
        "shift": np.zeros(1, np.float32),
        "cotangent": COTANGENT[None],
    }
    assert session.feeds.keys() == expected.keys()
    for name, value in expected.items():
        assert session.feeds[name].dtype == value.dtype, name
        np.testing.assert_array_equal(session.feeds[name], value)


def test_a_mask_is_fed_as_it_is_asked_for(session: RecordingSession) -> None:
    side = OnnxGradient(session, session)  # type: ignore[arg-type]
    image_map = np.zeros((4, 3), np.float32)
    side.masked_gradient(IMAGE - FILL, FILL, image_map, COTANGENT, Execution(), False, -0.5, 1.0)
    for name, value in {
        "normalise": np.array([False]),
        "scale": np.array([-0.5], np.float32),
        "shift": np.array([1.0], np.float32),
    }.items():
        assert session.feeds[name].dtype == value.dtype
        np.testing.assert_array_equal(session.feeds[name], value)


def test_a_guided_gradient_is_refused_and_nothing_runs(session: RecordingSession) -> None:
    side = OnnxGradient(session, session)  # type: ignore[arg-type]
    with pytest.raises(NotPossible, match=r"onnx side cannot guide.*ask for the torch side"):
        side.gradient(IMAGE, COTANGENT, ["images"], Execution(), guided=True)
    assert session.fetched == []
