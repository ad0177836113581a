"""How a method asks: it yields one probe and takes the answer of the right kind, or fails."""

from collections.abc import Callable, Generator

import numpy as np
from numpy.typing import NDArray

from salience_service.errors import ComputeFailed
from salience_service.methods.probe import (
    Answer,
    FloatMap,
    MapGradient,
    MapGradientAnswer,
    Probe,
    RowAnswers,
    Rows,
)

Scores = NDArray[np.float64]


def scored(
    rows: Rows, score: Callable[[NDArray[np.float32]], Scores]
) -> Generator[Probe, Answer, Scores]:
    """Has rows run and scores their logits.

    Args:
        rows: N rows.
        score: logits [N, classes] to float64 [N].

    Returns:
        float64 [N], finite.

    Raises:
        ComputeFailed: a row's score is NaN or infinite.
    """
    answer = yield rows
    if not isinstance(answer, RowAnswers):
        raise TypeError(f"rows were answered by {type(answer).__name__}")
    return finite(score(answer.logits))


def finite(scores: Scores) -> Scores:
    """The scores [n], unchanged.

    Raises:
        ComputeFailed: one is NaN or infinite.
    """
    lost = int(np.count_nonzero(~np.isfinite(scores)))
    if lost:
        raise ComputeFailed(
            f"{lost} of {len(scores)} masked images got a score that is NaN or infinite: "
            "the model overflows on them; another fill or score may avoid it"
        )
    return scores


def climbed(image_map: FloatMap) -> Generator[Probe, Answer, MapGradientAnswer]:
    """Has the target's value of one masked row taken, and its gradient to the map.

    Args:
        image_map: float32 [h, w].

    Raises:
        ComputeFailed: the value or the gradient is NaN or infinite.
    """
    answer = yield MapGradient(image_map)
    if not isinstance(answer, MapGradientAnswer):
        raise TypeError(f"a gradient was answered by {type(answer).__name__}")
    if not (np.isfinite(answer.value) and np.isfinite(answer.gradient).all()):
        raise ComputeFailed(
            "the gradient of a masked image is NaN or infinite: "
            "the model overflows on it; another fill or tap may avoid it"
        )
    return answer
