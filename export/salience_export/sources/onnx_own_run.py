"""An ONNX file's own run: the model as it lies in the file, asked for what we compute too."""

from collections.abc import Mapping

import numpy as np
import onnx

from salience_export.graphs.flow import names_of
from salience_export.graphs.head import End
from salience_export.graphs.normal import fixed_batch
from salience_export.source import FloatArray, Reference
from salience_export.sources.runtime import Run


class OwnRun:
    """Answers as the file does; called with prepared images, it is a source's `reference`.

    Args:
        model: as read, its functions written out: its own opset, layout and batch; only
            outputs are added.
        end: where its logits are.
        taps: tap name → tensor; those that the file does not know are left out.
        nhwc: whether it reads [N, H, W, C].
        as_log: whether what stands at the end are probabilities, and log p is the answer.

    Attributes:
        batch: the file's, where it is fixed; 0 where it is free.
    """

    def __init__(
        self, model: onnx.ModelProto, end: End, taps: Mapping[str, str], nhwc: bool, as_log: bool
    ) -> None:
        known = names_of(model.graph)
        self._taps = {name: tensor for name, tensor in taps.items() if tensor in known}
        self._run = Run(model, [end.output, end.tensor, *self._taps.values()])
        self.batch = fixed_batch(model)
        self._end, self._nhwc, self._as_log = end, nhwc, as_log

    def __call__(self, images: FloatArray) -> Reference:
        """The file's logits and features for prepared images [N, C, H, W]."""
        _, logits, *features = self._all(images)
        if self._as_log:
            logits = np.log(np.maximum(logits, np.finfo(np.float32).tiny))
        return Reference(logits, dict(zip(self._taps, features, strict=True)))

    def output(self, images: FloatArray) -> FloatArray:
        """What the file itself puts out, flattened to [N, K]."""
        return self._all(images)[0]

    def _all(self, images: FloatArray) -> list[FloatArray]:
        """Output and logits as [N, K], then the taps, image after image in the file's batch."""
        size = self.batch or len(images)
        parts = [
            self._chunk(images[start : start + size], size) for start in range(0, len(images), size)
        ]
        return [np.concatenate(each) for each in zip(*parts, strict=True)]

    def _chunk(self, images: FloatArray, size: int) -> list[FloatArray]:
        count = len(images)
        full = np.concatenate([images, np.repeat(images[-1:], size - count, axis=0)])
        output, logits, *taps = self._run(full.transpose(0, 2, 3, 1) if self._nhwc else full)
        rows = [each.reshape(size, self._end.classes) for each in (output, logits)]
        return [each[:count] for each in (*rows, *taps)]
