"""How well a map drawn from some of its rows agrees with the one of all: estimates."""

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.floating]


def correlation(one: Pixels, other: Pixels) -> float:
    """Pearson's, over the pixels of two maps [h, w]; 0 where one of them is flat."""
    pair = [each - each.mean(dtype=np.float64) for each in (one, other)]
    lengths = [float(np.linalg.norm(each)) for each in pair]
    if not all(lengths):
        return 0.0
    return float(np.clip(np.vdot(*pair) / (lengths[0] * lengths[1]), -1, 1))


def agreement_of_halves(one: Pixels, other: Pixels, share: float) -> float:
    """The estimated correlation of the map of n rows, in no order, with that of all N, in [0, 1].

    A row adds its contribution to a map: signal, of pixel variance V per row squared where all
    rows agree, and noise of its own, of variance σ². Then over n rows taken at random

        the map of n rows     m_n = signal + noise,        variance V (1 + q),  q = σ²/(n V);
        the map of all N      M   = signal + its noise,    variance V (1 + q n/N);
        their covariance      that of M, since m_n = M + what the N − n rows left out would undo;
        hence                 corr(m_n, M) = √((1 + q n/N) / (1 + q)).

    Two halves of the n rows have noise 2q each, and share none: r = 1/(1 + 2q), the idea of
    Spearman and Brown (1910). With q = (1/r − 1)/2 put in, the square of the correlation is

        1 − (1 − r)(1 − n/N)/(1 + r),

    which is exactly 1 where all rows are done. Halves that do not agree at all (r ≤ 0) leave
    √(n/N): the rows done are that share of all rows, and say nothing of the others.

    Args:
        one: [h, w], the map of every other one of the n rows.
        other: the map of the rest of them.
        share: n/N, in (0, 1].
    """
    halves = max(correlation(one, other), 0.0)
    return float(np.sqrt(1 - (1 - halves) * (1 - share) / (1 + halves)))


def agreement_by_growth(before: Pixels, now: Pixels, left: float) -> float:
    """The estimated correlation of a map with the finished one, from how it grew; in [0, 1].

    For rows in an order of promise, where halves are no fair samples. Between the map of the
    first half of the rows done, and the one of all of them, lies an angle of cosine c, their
    correlation. The rows that are left turn the map further by what they may still add, at
    the rate at which the later half did:

        tan(angle to come) = left · tan(angle passed),    corr = c / √(c² + (1 − c²) left²).

    So they are taken to pull all in one direction, which rows that differ do not: the
    estimate errs towards too low (docs/anytime.md). It is 1 where nothing is left.

    Args:
        before: [h, w], the map of the first half of the rows done.
        now: the map of all of them.
        left: what the rows left may add, over what the later half of those done added.
    """
    if not left:
        return 1.0
    cosine = max(correlation(before, now), 0.0)
    sine = np.sqrt(1 - cosine**2)
    return float(cosine / np.hypot(cosine, sine * left)) if cosine and np.isfinite(left) else 0.0
