"""The bare forward: ONNX Runtime alone on the network's own graph, with no explainer around it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort

from bench.workplace import LINEAR_TAP, MODEL
from salience_service.bundle.reader import open_bundle
from salience_service.image.pixels import ImageLimits
from salience_service.image.prepare import prepare
from salience_service.interpolation import unit_range, upsample
from salience_service.model import ServedModel
from salience_service.request import EncodedImage
from salience_service.session import Device, Stop

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


def bare_forward(models: Path, picture: bytes, rows: int) -> Callable[[], object]:
    """Runs that many rows at each call: a photograph masked with its own maps of `LINEAR_TAP`."""
    model = ServedModel(open_bundle(models / MODEL / "1"), Device(), BATCH)
    image = prepare(EncodedImage(picture), model.manifest.input, ImageLimits()).tensor
    tap = model.manifest.tap(LINEAR_TAP)
    assert tap is not None
    maps = model.forward(image, [tap], Stop()).features[LINEAR_TAP]
    forward = BareForward(models / MODEL / "1" / "forward.onnx", image, maps)
    return lambda: forward.run(rows)
