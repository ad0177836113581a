"""Gradients by ONNX Runtime: the gradient graphs of a bundle, with no torch anywhere."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from salience_service.bundle.tensors import (
    COLUMNS,
    COTANGENT,
    DIFFERENCES,
    FILLS,
    IMAGE_OF,
    IMAGES,
    LOGITS,
    MAPS,
    NORMALISE,
    ROWS,
    SCALE,
    SHIFT,
    gradient_of,
)
from salience_service.errors import NotPossible
from salience_service.gradients.differentiator import FloatArray
from salience_service.interpolation import interpolation_matrix
from salience_service.runtime.session import Execution, Session


class OnnxGradient:
    """A `Differentiator` on two sessions; one image a call, at batch 1, unpadded.

    Only what is asked for is fetched, and the rest computed all the same: ONNX Runtime heeds
    `only_execute_path_to_fetches` in its training builds alone (microsoft/onnxruntime#16013).

    Args:
        gradient: images and cotangent in; logits, d_images and d_ of each tap's output out.
        masked_gradient: the masked graph's inputs and cotangent in; logits and d_maps out.
    """

    alone: str | None = None

    def __init__(self, gradient: Session, masked_gradient: Session) -> None:
        self._gradient = gradient
        self._masked_gradient = masked_gradient

    def gradient(
        self,
        image: FloatArray,
        cotangent: FloatArray,
        tensors: Sequence[str],
        execution: Execution,
        guided: bool = False,
    ) -> tuple[FloatArray, Mapping[str, FloatArray]]:
        """See `Differentiator.gradient`.

        Raises:
            NotPossible: the gradient graphs hold the true gradient, and cannot guide it.
        """
        if guided:
            raise NotPossible("the onnx side cannot guide gradients: ask for the torch side")
        feeds = {IMAGES: image[None], COTANGENT: cotangent[None]}
        outputs = [LOGITS, *map(gradient_of, tensors)]
        logits, *gradients = self._gradient.run(feeds, outputs, execution)
        return logits[0], {tensor: each[0] for tensor, each in zip(tensors, gradients, strict=True)}

    def masked_gradient(
        self,
        difference: FloatArray,
        fill: FloatArray,
        image_map: FloatArray,
        cotangent: FloatArray,
        execution: Execution,
        normalise: bool = True,
        scale: float = 1.0,
        shift: float = 0.0,
    ) -> tuple[FloatArray, FloatArray]:
        """See `Differentiator.masked_gradient`."""
        feeds: dict[str, NDArray[np.generic]] = {
            DIFFERENCES: difference[None],
            FILLS: fill[None],
            IMAGE_OF: np.zeros(1, np.int64),
            MAPS: image_map[None],
            ROWS: interpolation_matrix(fill.shape[-2], image_map.shape[0]),
            COLUMNS: interpolation_matrix(fill.shape[-1], image_map.shape[1]),
            NORMALISE: np.array([normalise]),
            SCALE: np.array([scale], np.float32),
            SHIFT: np.array([shift], np.float32),
            COTANGENT: cotangent[None],
        }
        logits, gradient = self._masked_gradient.run(feeds, [LOGITS, gradient_of(MAPS)], execution)
        return logits[0], gradient[0]
