"""A ModelInfer request becomes an order; what is unclear or not served is refused."""

from collections.abc import Collection, Container
from typing import Any

from numpy.typing import NDArray

from salience.inference import grpc_service_pb2 as pb
from salience_service.errors import InvalidRequest
from salience_service.field_path import at, each, read
from salience_service.inference.order import InferOrder, Output
from salience_service.rpc.inference.tensors import (
    OFFERED,
    from_raw,
    from_typed,
    input_of,
    shape_of,
)
from salience_service.rpc.wire.wording import MAX_NAME, MAX_PATH, at_most_long, stated

_OUTPUTS = {output.value: output for output in Output}
_SHARED_MEMORY = ("shared_memory_region", "shared_memory_byte_size", "shared_memory_offset")
"""Memory of this machine that a caller names: never looked at, for it may be anyone's."""
_SEQUENCE = ("sequence_id", "sequence_start", "sequence_end")


def order_of(message: pb.ModelInferRequest) -> InferOrder:
    """What a request asks for.

    Raises:
        InvalidRequest: something is missing, contradicts itself, or is not served.
    """
    read("id", at_most_long, message.id, "the request's id", MAX_PATH)
    _refuse(message.parameters, _SEQUENCE, "images are predicted one by one, not as sequences")
    return InferOrder(
        model=read("model_name", stated, message.model_name, "the model's name"),
        version=read("model_version", at_most_long, message.model_version, "the model's version"),
        outputs=_outputs(message.outputs),
        images=_images(message),
        typed=not sent_raw(message),
    )


def sent_raw(message: pb.ModelInferRequest) -> bool:
    """Whether the caller writes elements as raw bytes."""
    return bool(message.raw_input_contents)


def _images(message: pb.ModelInferRequest) -> NDArray[Any]:
    if len(message.inputs) != 1:
        raise InvalidRequest(f"{len(message.inputs)} inputs: send one of {OFFERED}", field="inputs")
    if sent_raw(message) and len(message.raw_input_contents) != 1:
        raise InvalidRequest(
            f"{len(message.raw_input_contents)} raw contents for 1 input",
            field="raw_input_contents",
        )
    (tensor,) = message.inputs
    with at("inputs[0]"):
        kind = input_of(tensor)
        shape = shape_of(tensor, kind)
        _refuse(tensor.parameters, _SHARED_MEMORY, "send the elements in the message")
        if not sent_raw(message):
            return read("contents", from_typed, tensor.contents, shape, kind)
        if tensor.contents.ListFields():
            raise InvalidRequest(
                "the input has both raw and typed contents: send one of them", field="contents"
            )
    return from_raw(message.raw_input_contents[0], shape, kind)


def _outputs(
    messages: Collection[pb.ModelInferRequest.InferRequestedOutputTensor],
) -> tuple[Output, ...]:
    if len(messages) > len(_OUTPUTS):
        raise InvalidRequest(
            f"{len(messages)} outputs: name each of {', '.join(_OUTPUTS)} at most once",
            field="outputs",
        )
    outputs = each("outputs", _output, messages)
    if len(set(outputs)) < len(outputs):
        raise InvalidRequest(f"output {outputs[0].value} is named twice", field="outputs")
    return outputs


def _output(message: pb.ModelInferRequest.InferRequestedOutputTensor) -> Output:
    output = _OUTPUTS.get(message.name)
    if output is None:
        raise InvalidRequest(
            f"no output {message.name[:MAX_NAME]!r}: there are {', '.join(_OUTPUTS)}", field="name"
        )
    _refuse(message.parameters, _SHARED_MEMORY, "the answer comes in its message")
    _refuse(message.parameters, ("classification",), "rank the numbers of the answer")
    return output


def _refuse(parameters: Container[str], names: Collection[str], remedy: str) -> None:
    """Refuses parameters that would change what the answer means; others are hints."""
    for name in names:
        if name in parameters:
            raise InvalidRequest(
                f"parameter {name!r} is not served here: {remedy}", field="parameters"
            )
