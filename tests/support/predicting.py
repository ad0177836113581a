"""Requests of the Open Inference Protocol as a careful client writes them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from salience.inference import grpc_service_pb2 as pb

DATATYPES = {"float32": "FP32", "uint8": "UINT8"}
NAMES = {"float32": "images", "uint8": "pixels"}
CONTENTS = {"float32": "fp32_contents", "uint8": "uint_contents"}


def infer_request(
    images: NDArray[np.generic],
    model: str = "tiny",
    raw: bool = True,
    outputs: tuple[str, ...] = (),
    **fields: Any,
) -> pb.ModelInferRequest:
    """A request that is answered: float32 images as the model takes them, or uint8 pixels."""
    kind = str(images.dtype)
    request = pb.ModelInferRequest(model_name=model, **fields)
    tensor = request.inputs.add(name=NAMES[kind], datatype=DATATYPES[kind], shape=images.shape)
    if raw:
        request.raw_input_contents.append(images.tobytes())
    else:
        getattr(tensor.contents, CONTENTS[kind]).extend(images.ravel().tolist())
    for name in outputs:
        request.outputs.add(name=name)
    return request


def answered(response: pb.ModelInferResponse) -> dict[str, NDArray[np.float32]]:
    """The outputs of a response by name, however their elements are written."""
    found = {}
    for place, output in enumerate(response.outputs):
        assert output.datatype == "FP32"
        if response.raw_output_contents:
            values = np.frombuffer(response.raw_output_contents[place], "<f4")
        else:
            values = np.array(output.contents.fp32_contents, np.float32)
        found[output.name] = values.reshape(tuple(output.shape))
    return found
