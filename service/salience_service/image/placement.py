"""Where the model's input lies in the image that was sent, so that maps can go back to it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from salience_service.interpolation import interpolation_matrix, sampling_matrix


@dataclass(frozen=True)
class Rectangle:
    """A rectangle in pixels of the original image; edges may lie between pixels."""

    left: float
    top: float
    width: float
    height: float


@dataclass(frozen=True)
class Placement:
    """Model input pixel i of an axis covers original pixels [offset + i·step, offset + (i+1)·step].

    Attributes:
        original_height, original_width: size of the image as sent.
        height, width: size of the model's input.
        top, left: where the input's first edge lies, in original pixels.
        row_step, column_step: original pixels per input pixel, > 0.
    """

    original_height: int
    original_width: int
    height: int
    width: int
    top: float
    left: float
    row_step: float
    column_step: float

    def seen(self) -> Rectangle:
        """The part of the original image that lies inside the model's input."""
        top, left = max(self.top, 0.0), max(self.left, 0.0)
        bottom = min(self.top + self.height * self.row_step, float(self.original_height))
        right = min(self.left + self.width * self.column_step, float(self.original_width))
        return Rectangle(left, top, right - left, bottom - top)

    def to_original(self, image_map: NDArray[np.float32]) -> NDArray[np.float32]:
        """A map [h, w] over the model's input, on the grid [original_height, original_width].

        Bilinear twice: up to the model's input (the map that the model was masked with), then
        read from there at the centres of the original pixels, the edges held outside. The two
        are one product of small matrices, so a large original costs only its own pixels.
        """
        rows = self._rows() @ interpolation_matrix(self.height, image_map.shape[0])
        columns = self._columns() @ interpolation_matrix(self.width, image_map.shape[1])
        return np.asarray(rows @ image_map @ columns.T, np.float32)

    def validity(self) -> NDArray[np.bool_]:
        """bool [original_height, original_width]: True where the pixel's centre was seen."""
        rows = self._centres(self.original_height, self.top, self.row_step)
        columns = self._centres(self.original_width, self.left, self.column_step)
        row_seen = (rows >= -0.5) & (rows <= self.height - 0.5)
        column_seen = (columns >= -0.5) & (columns <= self.width - 0.5)
        seen: NDArray[np.bool_] = row_seen[:, None] & column_seen[None, :]
        return seen

    def _rows(self) -> NDArray[np.float32]:
        centres = self._centres(self.original_height, self.top, self.row_step)
        return sampling_matrix(centres, self.height)

    def _columns(self) -> NDArray[np.float32]:
        centres = self._centres(self.original_width, self.left, self.column_step)
        return sampling_matrix(centres, self.width)

    @staticmethod
    def _centres(count: int, offset: float, step: float) -> NDArray[np.float64]:
        """Positions of original pixel centres, in samples of the model's input."""
        return np.asarray((np.arange(count) + 0.5 - offset) / step - 0.5, np.float64)
