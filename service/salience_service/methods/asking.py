"""How a method asks: it yields one probe and takes the answer of the right kind, or fails."""

from collections.abc import Callable, Generator

import numpy as np
from numpy.typing import NDArray

from salience_service.errors import ComputeFailed
from salience_service.methods.probe import (
    Answer,
    Base,
    FloatMap,
    GradientAnswer,
    Gradients,
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


def tap_gradient(base: Base, tap: str) -> Generator[Probe, Answer, FloatMap]:
    """Has the gradient of the target's value on the clean image taken to a tap.

    Returns:
        float32 [K, h, w], finite.

    Raises:
        ComputeFailed: it is NaN or infinite.
    """
    answer = yield from _differentiated(Gradients(base.image, taps=(tap,)))
    return answer.taps[tap]


def image_gradient(image: NDArray[np.float32]) -> Generator[Probe, Answer, NDArray[np.float32]]:
    """Has the gradient of the target's value taken to an image.

    Args:
        image: float32 [C, H, W], the model's own numbers.

    Returns:
        float32 [C, H, W], finite.

    Raises:
        ComputeFailed: it is NaN or infinite.
    """
    answer = yield from _differentiated(Gradients(image, of_image=True))
    if answer.image is None:
        raise TypeError("a gradient to the image was answered without it")
    return answer.image


def _differentiated(probe: Gradients) -> Generator[Probe, Answer, GradientAnswer]:
    answer = yield probe
    if not isinstance(answer, GradientAnswer):
        raise TypeError(f"gradients were answered by {type(answer).__name__}")
    found = [*answer.taps.values(), *([] if answer.image is None else [answer.image])]
    if not (np.isfinite(answer.value) and all(np.isfinite(each).all() for each in found)):
        raise ComputeFailed(
            "the gradient of the image is NaN or infinite: the model overflows on it"
        )
    return answer
