"""Gradients by ONNX Runtime: the gradient graphs of a bundle, with no torch anywhere."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from salience_service.errors import NotPossible
from salience_service.gradients.differentiator import IMAGES, FloatArray
from salience_service.interpolation import interpolation_matrix
from salience_service.runtime.session import Execution, Session


class OnnxGradient:
    """A `Differentiator` on two sessions; one image a call, at batch 1, unpadded.

    Only what is asked for is fetched. A session computes the rest all the same: where parts
    are given, a gradient to their tensors alone goes back no further than these.

    Args:
        gradient: images and cotangent in; logits, d_images and d_ of each tap's output out.
        masked_gradient: the masked graph's inputs and cotangent in; logits and d_maps out.
        parts: sessions of the gradient graph that put out logits and d_ of these tensors only.
    """

    alone: str | None = None

    def __init__(
        self,
        gradient: Session,
        masked_gradient: Session,
        parts: Mapping[frozenset[str], Session] = MappingProxyType({}),
    ) -> None:
        self._gradient = gradient
        self._masked_gradient = masked_gradient
        self._parts = parts

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
        feeds = {IMAGES: image[None], "cotangent": cotangent[None]}
        outputs = ["logits", *(f"d_{tensor}" for tensor in tensors)]
        session = self._parts.get(frozenset(tensors), self._gradient)
        logits, *gradients = session.run(feeds, outputs, execution)
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
            "differences": difference[None],
            "fills": fill[None],
            "image_of": np.zeros(1, np.int64),
            "maps": image_map[None],
            "rows": interpolation_matrix(fill.shape[-2], image_map.shape[0]),
            "columns": interpolation_matrix(fill.shape[-1], image_map.shape[1]),
            "normalise": np.array([normalise]),
            "scale": np.array([scale], np.float32),
            "shift": np.array([shift], np.float32),
            "cotangent": cotangent[None],
        }
        logits, gradient = self._masked_gradient.run(feeds, ["logits", "d_maps"], execution)
        return logits[0], gradient[0]
