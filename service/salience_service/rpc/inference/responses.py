"""What a model says of a batch becomes a ModelInfer response."""

from salience.inference import grpc_service_pb2 as pb
from salience_service.inference.order import FloatArray, Inferred

DATATYPE = "FP32"
"""Of every output."""


def response_of(inferred: Inferred, request_id: str, raw: bool) -> pb.ModelInferResponse:
    """The response.

    Args:
        inferred: what to tell.
        request_id: the caller's, told back.
        raw: whether elements are written as raw bytes, as the caller wrote theirs.
    """
    return pb.ModelInferResponse(
        model_name=inferred.model,
        model_version=inferred.version,
        id=request_id,
        outputs=[
            pb.ModelInferResponse.InferOutputTensor(
                name=output.value,
                datatype=DATATYPE,
                shape=values.shape,
                contents=None if raw else _typed(values),
            )
            for output, values in inferred.outputs
        ],
        raw_output_contents=[_bytes(values) for _, values in inferred.outputs] if raw else [],
    )


def _typed(values: FloatArray) -> pb.InferTensorContents:
    contents = pb.InferTensorContents()
    contents.fp32_contents.extend(values.ravel())
    return contents


def _bytes(values: FloatArray) -> bytes:
    """Little-endian, in C order."""
    return values.astype("<f4", copy=False).tobytes()
