"""What a model takes and puts out, as ModelMetadata tells it."""

from collections.abc import Sequence

from salience.inference import grpc_service_pb2 as pb
from salience_service.inference.order import outputs_of
from salience_service.rpc.inference.responses import DATATYPE
from salience_service.rpc.inference.tensors import ANY, INPUTS
from salience_service.rpc.wire.descriptions import DescribedModel

PLATFORM = "onnxruntime_onnx"
"""As Triton calls ONNX models that ONNX Runtime runs."""
_Tensor = pb.ModelMetadataResponse.TensorMetadata


def metadata_of(model: DescribedModel, versions: Sequence[str]) -> pb.ModelMetadataResponse:
    """All of a model that the protocol tells.

    Args:
        model: the version asked about.
        versions: of that name, all that serve.
    """
    contract, head = model.manifest.input, model.manifest.head
    return pb.ModelMetadataResponse(
        name=model.name,
        versions=versions,
        platform=PLATFORM,
        inputs=[
            _Tensor(name=each.name, datatype=each.datatype, shape=each.shape_for(contract))
            for each in INPUTS.values()
        ],
        outputs=[
            _Tensor(name=output.value, datatype=DATATYPE, shape=[ANY, head.classes])
            for output in outputs_of(head)
        ],
    )
