"""ONNX Runtime while a model is being exported: to see what it really computes."""

from collections.abc import Sequence

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from salience_export.errors import ExportError


class Run:
    """A model of one input, ready to run.

    Args:
        model: weights inside.
        outputs: tensors to put out; others than the model's own are added.

    Raises:
        ExportError: ONNX Runtime cannot load the model.
    """

    def __init__(self, model: onnx.ModelProto, outputs: Sequence[str]) -> None:
        self._outputs = list(outputs)
        shown = onnx.ModelProto()
        shown.CopyFrom(model)
        own = {value.name for value in model.graph.output}
        shown.graph.output.extend(
            onnx.ValueInfoProto(name=name) for name in dict.fromkeys(outputs) if name not in own
        )
        options = ort.SessionOptions()
        options.log_severity_level = 4  # what fails is said by the ExportError
        try:
            self._session = ort.InferenceSession(shown.SerializeToString(), options)
        except Exception as error:  # ONNX Runtime's errors share no base but Exception
            raise ExportError(f"ONNX Runtime cannot load the model: {_reason(error)}") from error
        self._input: str = self._session.get_inputs()[0].name

    def __call__(self, images: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """The outputs asked for, in order.

        Raises:
            ExportError: the model does not run on this batch.
        """
        try:
            results: list[NDArray[np.float32]] = self._session.run(
                self._outputs, {self._input: np.ascontiguousarray(images)}
            )
        except Exception as error:  # as above
            raise ExportError(f"the model does not run on a batch of {len(images)}") from error
        return results


def _reason(error: Exception) -> str:
    """The runtime's own words, which name the operator, in one short line."""
    return " ".join(str(error).split())[:300]
