"""How a method asks: it yields one probe and takes the answer of the right kind, or fails."""

from collections.abc import Callable, Generator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from salience_service.errors import NotPossible
from salience_service.methods.probe import (
    Answer,
    FloatMap,
    GradientAnswer,
    Gradients,
    MapGradient,
    MapGradientAnswer,
    Probe,
    RowAnswers,
    RowProbe,
)

Scores = NDArray[np.float64]


def scored(
    rows: RowProbe, score: Callable[[NDArray[np.float32]], Scores]
) -> Generator[Probe, Answer, Scores]:
    """Has rows run and scores their logits.

    Args:
        rows: N rows.
        score: logits [n, classes] to float64 [n].

    Returns:
        float64 [n], finite; n = N, or where the rows are `anytime`, fewer.

    Raises:
        NotPossible: a row's score is NaN or infinite.
    """
    answer = yield from answered(rows)
    return finite(score(answer.logits))


def answered(rows: RowProbe) -> Generator[Probe, Answer, RowAnswers]:
    """Has rows run."""
    answer = yield rows
    if not isinstance(answer, RowAnswers):
        raise TypeError(f"rows were answered by {type(answer).__name__}")
    return answer


def finite(scores: Scores) -> Scores:
    """The scores [n], unchanged.

    Raises:
        NotPossible: one is NaN or infinite.
    """
    lost = int(np.count_nonzero(~np.isfinite(scores)))
    if lost:
        raise NotPossible(
            f"{lost} of {len(scores)} masked images got a score that is NaN or infinite: "
            "the model overflows on them; another fill or score may avoid it"
        )
    return scores


def climbed(probe: MapGradient) -> Generator[Probe, Answer, MapGradientAnswer]:
    """Has the target's value of one masked row taken, and its gradient to the map.

    Raises:
        NotPossible: the value or the gradient is NaN or infinite.
    """
    answer = yield probe
    if not isinstance(answer, MapGradientAnswer):
        raise TypeError(f"a gradient was answered by {type(answer).__name__}")
    if not (np.isfinite(answer.value) and np.isfinite(answer.gradient).all()):
        raise NotPossible(
            "the gradient of a masked image is NaN or infinite: "
            "the model overflows on it; another fill or tap may avoid it"
        )
    return answer


def tap_gradients(
    image: NDArray[np.float32], taps: Sequence[str]
) -> Generator[Probe, Answer, Mapping[str, FloatMap]]:
    """Has the gradients of the target's value on an image taken to taps, all at once.

    Args:
        image: float32 [C, H, W], the model's own numbers.
        taps: names of some taps of the `Base`.

    Returns:
        per tap float32 [K, h, w], finite.

    Raises:
        NotPossible: one is NaN or infinite.
    """
    answer = yield from differentiated(Gradients(image, taps=tuple(taps)))
    return answer.taps


def image_gradient(image: NDArray[np.float32]) -> Generator[Probe, Answer, NDArray[np.float32]]:
    """Has the gradient of the target's value taken to an image.

    Args:
        image: float32 [C, H, W], the model's own numbers.

    Returns:
        float32 [C, H, W], finite.

    Raises:
        NotPossible: it is NaN or infinite.
    """
    _, gradient = yield from image_climbed(Gradients(image, of_image=True))
    return gradient


def image_climbed(
    probe: Gradients,
) -> Generator[Probe, Answer, tuple[float, NDArray[np.float32]]]:
    """Has the target's value of an image taken, and its gradient to the image.

    Args:
        probe: one that asks for the gradient to the image.

    Returns:
        The value and float32 [C, H, W], finite.

    Raises:
        NotPossible: the value or the gradient is NaN or infinite.
    """
    answer = yield from differentiated(probe)
    if answer.image is None:
        raise TypeError("a gradient to the image was answered without it")
    return answer.value, answer.image


def differentiated(probe: Gradients) -> Generator[Probe, Answer, GradientAnswer]:
    """Has the target's value of an image taken, and the gradients that the probe names.

    Raises:
        NotPossible: the value or a gradient is NaN or infinite.
    """
    answer = yield probe
    if not isinstance(answer, GradientAnswer):
        raise TypeError(f"gradients were answered by {type(answer).__name__}")
    found = [*answer.taps.values(), *([] if answer.image is None else [answer.image])]
    if not (np.isfinite(answer.value) and all(np.isfinite(each).all() for each in found)):
        raise NotPossible("the gradient of the image is NaN or infinite: the model overflows on it")
    return answer
