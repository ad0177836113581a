"""The bare forward: ONNX Runtime alone on the network's own graph, with no explainer around it."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort

from salience_service.interpolation import unit_range, upsample

BATCH = 8
"""The service's batch size on CPU."""
_RING = 8
"""Batches of masked images made beforehand: 39 MB, so that they come from memory."""


class BareForward:
    """Runs masked images through the forward graph, whose taps are no outputs here.

    ONNX Runtime's own session options, which are the service's too (`threads` 0).

    Args:
        graph: forward.onnx of a bundle.
        image: float32 [C, H, W], the model's own numbers.
        maps: float32 [n, h, w], n ≥ 64: the first 64 mask the image.
    """

    def __init__(self, graph: Path, image: np.ndarray, maps: np.ndarray) -> None:
        model = onnx.load(graph)
        taps = [each for each in model.graph.output if each.name != "logits"]
        for each in taps:
            model.graph.output.remove(each)
        options = ort.SessionOptions()
        options.log_severity_level = 3
        self._session = ort.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        height, width = image.shape[1:]
        masks = unit_range(upsample(maps[: _RING * BATCH], height, width))
        rows = (masks[:, None] * image).astype(np.float32)
        self._batches = np.split(rows, _RING)

    def run(self, rows: int) -> None:
        """Runs that many rows, a multiple of the batch."""
        for number in range(rows // BATCH):
            self._session.run(["logits"], {"images": self._batches[number % _RING]})
