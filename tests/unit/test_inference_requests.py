"""Requests of the Open Inference Protocol: what becomes an order, and what is refused."""

from collections.abc import Callable

import numpy as np
import pytest

from salience.inference import grpc_service_pb2 as pb
from salience_service.bundle.manifest import Head, OutputKind
from salience_service.errors import InvalidRequest
from salience_service.inference.footprint import load_of
from salience_service.inference.order import Output
from salience_service.rpc.inference.requests import order_of, sent_raw
from salience_service.rpc.inference.tensors import _SLICE
from tests.support.contracts import image_contract
from tests.support.predicting import infer_request

Change = Callable[[pb.ModelInferRequest], object]
IMAGES = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype(np.float32)
PIXELS = np.random.default_rng(0).integers(0, 256, (2, 4, 5, 3), dtype=np.uint8)


@pytest.mark.parametrize("raw", [True, False])
@pytest.mark.parametrize("images", [IMAGES, PIXELS], ids=["images", "pixels"])
def test_elements_arrive_as_they_were_sent_raw_or_typed(images: np.ndarray, raw: bool) -> None:
    request = infer_request(images, raw=raw)
    order = order_of(request)
    assert order.images.dtype == images.dtype
    np.testing.assert_array_equal(order.images, images)
    assert (order.prepared, sent_raw(request)) == (images is IMAGES, raw)


def test_names_version_and_outputs_are_read() -> None:
    asked = infer_request(IMAGES, "net", outputs=("probabilities", "logits"), model_version="7")
    order = order_of(asked)
    assert (order.model, order.version) == ("net", "7")
    assert order.outputs == (Output.PROBABILITIES, Output.LOGITS)
    assert order_of(infer_request(IMAGES)).outputs == ()


def test_hints_that_change_no_answer_are_no_reason_to_refuse() -> None:
    asked = infer_request(IMAGES)
    asked.parameters["priority"].uint64_param = 1
    asked.parameters["timeout"].int64_param = 5
    asked.inputs[0].parameters["content_type"].string_param = "np"
    np.testing.assert_array_equal(order_of(asked).images, IMAGES)


def _shape(*sizes: int) -> Change:
    def change(request: pb.ModelInferRequest) -> None:
        request.inputs[0].shape[:] = sizes

    return change


def _typed(kind: str, *elements: float) -> Change:
    def change(request: pb.ModelInferRequest) -> None:
        del request.raw_input_contents[:]
        getattr(request.inputs[0].contents, kind).extend(elements)

    return change


def _set(path: str, value: object) -> Change:
    def change(request: pb.ModelInferRequest) -> None:
        owner: object = request
        *outer, last = path.split(".")
        for name in outer:
            owner = request.inputs[0] if name == "input" else getattr(owner, name)
        setattr(owner, last, value)

    return change


def _parameter(where: str, name: str) -> Change:
    def change(request: pb.ModelInferRequest) -> None:
        owner = {
            "request": lambda: request,
            "input": lambda: request.inputs[0],
            "output": lambda: request.outputs.add(name="logits"),
        }[where]()
        owner.parameters[name].string_param = "x"

    return change


def _outputs(*names: str) -> Change:
    return lambda request: [request.outputs.add(name=name) for name in names]


REFUSALS: dict[str, tuple[Change, str, str]] = {
    "no model": (_set("model_name", ""), "model_name", "empty"),
    "a long model name": (_set("model_name", "x" * 129), "model_name", "129 characters"),
    "a long version": (_set("model_version", "x" * 129), "model_version", "129 characters"),
    "a long id": (_set("id", "x" * 1025), "id", "1025 characters"),
    "no input": (lambda r: r.ClearField("inputs"), "inputs", "0 inputs"),
    "two inputs": (lambda r: r.inputs.add(name="pixels"), "inputs", "2 inputs"),
    "an unknown input": (_set("input.name", "x"), "inputs[0].name", "no input 'x'"),
    "an unknown datatype": (_set("input.datatype", "FP33"), "inputs[0].datatype", "'FP33'"),
    "another datatype": (_set("input.datatype", "UINT8"), "inputs[0].datatype", "are FP32"),
    "no datatype": (_set("input.datatype", ""), "inputs[0].datatype", "are FP32"),
    "no shape": (_shape(), "inputs[0].shape", "0 sizes"),
    "one image without its axis": (_shape(6, 4, 5), "inputs[0].shape", "3 sizes"),
    "very many sizes": (_shape(*[1] * 100_000), "inputs[0].shape", "100000 sizes"),
    "a negative size": (_shape(-2, -3, 4, 5), "inputs[0].shape", "below 1"),
    "an empty batch": (_shape(0, 3, 4, 5), "inputs[0].shape", "below 1"),
    "a shape beyond 64 bits": (_shape(2**62, 2**62, 4, 5), "raw_input_contents[0]", "needs"),
    "a shape that overflows to the size sent": (
        _shape(2 + 2**62, 3, 4, 5),
        "raw_input_contents[0]",
        "needs 1106804644422573097440 bytes, there are 480",
    ),
    "too few bytes": (_shape(3, 3, 4, 5), "raw_input_contents[0]", "needs 720 bytes"),
    "too many bytes": (_shape(1, 3, 4, 5), "raw_input_contents[0]", "needs 240 bytes"),
    "no contents": (
        lambda r: r.ClearField("raw_input_contents"),
        "inputs[0].contents.fp32_contents",
        "has 0",
    ),
    "two raw contents": (lambda r: r.raw_input_contents.append(b""), "raw_input_contents", "2 raw"),
    "raw and typed": (
        lambda r: r.inputs[0].contents.fp32_contents.append(1),
        "inputs[0].contents",
        "both raw and typed",
    ),
    "contents of another type": (
        _typed("fp64_contents", 1),
        "inputs[0].contents",
        "elements in fp64_contents",
    ),
    "contents of two types": (
        lambda r: (_typed("fp32_contents", *[1.0] * 120)(r), _typed("int_contents", 1)(r)),
        "inputs[0].contents",
        "elements in int_contents",
    ),
    "too few elements": (
        _typed("fp32_contents", 1.0),
        "inputs[0].contents.fp32_contents",
        "needs 120 elements",
    ),
    "an unknown output": (_outputs("features"), "outputs[0].name", "no output 'features'"),
    "an output twice": (_outputs("logits", "logits"), "outputs", "named twice"),
    "very many outputs": (_outputs(*["logits"] * 1000), "outputs", "1000 outputs"),
    "shared memory in": (
        _parameter("input", "shared_memory_region"),
        "inputs[0].parameters",
        "'shared_memory_region'",
    ),
    "shared memory out": (
        _parameter("output", "shared_memory_byte_size"),
        "outputs[0].parameters",
        "'shared_memory_byte_size'",
    ),
    "classification": (_parameter("output", "classification"), "outputs[0].parameters", "rank"),
    "a sequence": (_parameter("request", "sequence_id"), "parameters", "one by one"),
}


@pytest.mark.parametrize(("change", "field", "words"), REFUSALS.values(), ids=REFUSALS.keys())
def test_a_request_that_cannot_be_meant_is_refused_with_its_field(
    change: Change, field: str, words: str
) -> None:
    request = infer_request(IMAGES)
    change(request)
    with pytest.raises(InvalidRequest) as told:
        order_of(request)
    assert told.value.field == field
    assert words in str(told.value)


def test_a_typed_number_beyond_eight_bits_is_no_pixel() -> None:
    request = infer_request(PIXELS, raw=False)
    request.inputs[0].contents.uint_contents[7] = 256
    with pytest.raises(InvalidRequest, match="256 is no UINT8"):
        order_of(request)


def test_a_name_of_a_stranger_is_told_back_cut() -> None:
    request = infer_request(IMAGES)
    request.inputs[0].name = "x" * 10_000
    with pytest.raises(InvalidRequest) as told:
        order_of(request)
    assert len(str(told.value)) < 300


def test_the_message_of_typed_pixels_counts_four_bytes_for_each() -> None:
    head = Head(OutputKind.SOFTMAX, 2)
    raw, typed = (
        load_of(order_of(infer_request(PIXELS, raw=raw)), image_contract(), head, 1, 1, 10**6)
        for raw in (True, False)
    )
    assert typed.bytes - raw.bytes == 3 * PIXELS.size


def test_typed_elements_are_read_slice_by_slice_to_the_last_one() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (2, 80, 90, 3), dtype=np.uint8)
    assert pixels.size > 3 * _SLICE
    asked = infer_request(pixels, raw=False)
    np.testing.assert_array_equal(order_of(asked).images, pixels)
    asked.inputs[0].contents.uint_contents[-1] = 256
    with pytest.raises(InvalidRequest, match="256 is no UINT8"):
        order_of(asked)
