"""Adam: the state of one optimisation, in float64."""

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]


class Adam:
    """Kingma and Ba 2015, algorithm 1, with its betas and epsilon, climbing.

    Owns the moments of one optimisation; `climb` is called once a step.
    """

    def __init__(self, learning_rate: float, size: int) -> None:
        self._learning_rate = learning_rate
        self._mean = np.zeros(size)
        self._square = np.zeros(size)
        self._steps = 0

    def climb(self, place: Vector, gradient: Vector) -> Vector:
        """The next place, [size], up the gradient; a zero gradient never moves a fresh start."""
        self._steps += 1
        self._mean = 0.9 * self._mean + 0.1 * gradient
        self._square = 0.999 * self._square + 0.001 * gradient**2
        mean = self._mean / (1 - 0.9**self._steps)
        square = self._square / (1 - 0.999**self._steps)
        return place + self._learning_rate * mean / (np.sqrt(square) + 1e-8)
