"""The ONNX side with a part of its gradient graph: who asks for that part alone gets it."""

import numpy as np
import pytest

from salience_service.gradients.onnx_gradient import OnnxGradient
from salience_service.runtime.session import Execution
from tests.unit.test_onnx_gradient import COTANGENT, IMAGE, RecordingSession

SHAPES = {"d_images": (3, 8, 6), "d_tap_0": (4, 4, 3), "d_tap_1": (5, 2, 2)}


@pytest.mark.parametrize(
    ("tensors", "by_part"),
    [
        (("tap_1",), True),
        (("tap_0",), False),
        (("images",), False),
        (("tap_1", "images"), False),
        (("tap_0", "tap_1"), False),
        ((), False),
    ],
)
def test_a_part_answers_for_its_own_tensors_alone(tensors: tuple[str, ...], by_part: bool) -> None:
    whole, part = RecordingSession(SHAPES), RecordingSession(SHAPES)
    side = OnnxGradient(whole, whole, {frozenset({"tap_1"}): part})  # type: ignore[arg-type, dict-item]
    side.gradient(IMAGE, COTANGENT, tensors, Execution())
    outputs = ["logits", *(f"d_{tensor}" for tensor in tensors)]
    assert part.fetched == (outputs if by_part else [])
    assert whole.fetched == ([] if by_part else outputs)
    asked = part if by_part else whole
    np.testing.assert_array_equal(asked.feeds["images"], IMAGE[None])
