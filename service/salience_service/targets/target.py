"""A target: one number of a row's logits that is explained, and its probability."""

from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from salience_service.bundle.manifest import OutputKind
from salience_service.errors import InvalidRequest


class TargetKind(Enum):
    """What is explained: a class, its absence, or the difference of two classes."""

    CLASS = "class"
    ABSENT = "absent"
    DIFFERENCE = "difference"


@dataclass(frozen=True)
class Target:
    """A resolved target.

    Attributes:
        name: label, "not:LABEL" or "A-B".
        kind: which functional of the logits.
        index: the class, in [0, K).
        against: for a difference, the class it is compared with.
        output: what the logits mean.
    """

    name: str
    kind: TargetKind
    index: int
    output: OutputKind
    against: int | None = None

    def value(self, logits: NDArray[np.floating]) -> NDArray[np.float64]:
        """The number explained for logits [..., K]: y_c, −y_c or y_a − y_b; float64 [...]."""
        own = np.asarray(logits[..., self.index], np.float64)
        if self.kind is TargetKind.ABSENT:
            return -own
        if self.against is not None:
            # Infinity less itself is NaN: `resolve_targets` refuses it of the clean image, and
            # methods and scores of a masked one.
            with np.errstate(invalid="ignore"):
                return np.asarray(own - np.asarray(logits[..., self.against], np.float64))
        return own

    def cotangent(self, classes: int) -> NDArray[np.float32]:
        """d value / d logits, float32 [classes]."""
        weights = np.zeros(classes, np.float32)
        weights[self.index] = -1 if self.kind is TargetKind.ABSENT else 1
        if self.against is not None:
            weights[self.against] -= 1
        return weights

    def log_odds(self, logits: NDArray[np.floating]) -> NDArray[np.float64]:
        """log p/(1 − p) of the target for logits [..., K], float64 [...].

        Everything that is a probability comes from here: p is the `sigmoid` of it, and 1 − p
        that of its negative, so that both are exact near their ends. Softmax: y_c − logsumexp
        of the others; sigmoid: y_c; absent: the negative; difference: y_a − y_b.

        Raises:
            InvalidRequest: the model is a regression.
        """
        if self.output is OutputKind.REGRESSION:
            raise InvalidRequest("a regression has no probability: leave probability scores out")
        if self.kind is TargetKind.DIFFERENCE or self.output is OutputKind.SIGMOID:
            return self.value(logits)
        odds = _softmax_log_odds(np.array(logits, np.float64), self.index)
        return -odds if self.kind is TargetKind.ABSENT else odds

    def probability(self, logits: NDArray[np.floating]) -> NDArray[np.float64]:
        """p of the target for logits [..., K], float64 [...] in [0, 1]."""
        return sigmoid(self.log_odds(logits))

    def confidence(self, logits: NDArray[np.floating]) -> NDArray[np.float64]:
        """f_c(x) of the papers: the probability; for a regression, the value itself."""
        if self.output is OutputKind.REGRESSION:
            return self.value(logits)
        return self.probability(logits)


def sigmoid(x: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """1/(1 + e^−x) without overflow."""
    small = np.exp(-np.abs(x))
    result: NDArray[np.float64] = np.where(x >= 0, 1, small) / (1 + small)
    return result


def _softmax_log_odds(logits: NDArray[np.float64], index: int) -> NDArray[np.float64]:
    """y_c − logsumexp_{k≠c} y_k, float64 [...]; one class alone is certain (infinite odds).

    Where the highest are infinite, they share all of it, as in `probabilities`.

    A request asks often, and its thread may lose Python's lock at every step over a thousand
    numbers: there are as few as may be, and those in place.

    Args:
        logits: [..., K], of which nothing is left.
        index: c.
    """
    if logits.shape[-1] == 1:
        return np.full(logits.shape[:-1], np.inf)
    highest = logits.max(axis=-1, keepdims=True)
    endless = np.isinf(highest)
    if endless.any():
        logits = np.where(endless, np.where(logits == highest, 0, -np.inf), logits)
    own = logits[..., index].copy()
    logits[..., index] = -np.inf
    top = logits.max(axis=-1, keepdims=True)
    # A log probability may be −inf; −inf less itself would be NaN.
    top[~np.isfinite(top)] = 0
    logits -= top
    np.exp(logits, out=logits)
    with np.errstate(divide="ignore"):
        rest = top[..., 0] + np.log(logits.sum(axis=-1))
    odds: NDArray[np.float64] = own - rest
    return odds
