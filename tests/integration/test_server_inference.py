"""Plain prediction over a real loopback server: the engine's own logits, refusals, early ends."""

import io
from collections.abc import Iterator

import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from PIL import Image

from salience.inference import grpc_service_pb2 as pb
from salience.inference import grpc_service_pb2_grpc as pb_grpc
from salience.v1 import explanation_service_pb2 as explain_pb
from salience.v1 import explanation_service_pb2_grpc as explain_grpc
from salience_service.admission import Load
from salience_service.bundle.manifest import Head, OutputKind
from salience_service.config import ServeConfig
from salience_service.config.bundles import UNSIGNED_ALLOWED
from salience_service.engine import Engine
from salience_service.rpc.inference.servicer import SERVICE
from salience_service.runtime.session import Execution
from salience_service.targets.target import Target, TargetKind
from tests.conftest import BundleOf
from tests.support.bundles import without
from tests.support.predicting import answered, infer_request
from tests.support.serving import serving
from tests.support.waiting import SOON_SECONDS, until

CLASSES, SIDE = 10, 32
MOST_ROWS = 200_000
HOURS = np.zeros((150_000, 1, 1, 3), np.uint8)
"""A batch that nobody waits for to its end."""


@pytest.fixture(scope="module")
def engine(bundle_of: BundleOf, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    models = tmp_path_factory.mktemp("models")
    for kind in ("softmax", "sigmoid", "regression"):
        without(bundle_of(kind), models / kind / "1")
    config = ServeConfig(
        batch_size=4,
        threads=1,
        max_rows_per_request=MOST_ROWS,
        max_image_pixels=100_000,
        bundles=UNSIGNED_ALLOWED,
    )
    opened = Engine.open(models, config)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def address(engine: Engine) -> Iterator[str]:
    with serving(engine) as server:
        yield server.address


@pytest.fixture(scope="module")
def stub(address: str) -> Iterator[pb_grpc.GRPCInferenceServiceStub]:
    with grpc.insecure_channel(address) as channel:
        yield pb_grpc.GRPCInferenceServiceStub(channel)


def images(count: int, seed: int = 0, channels: int = 3) -> np.ndarray:
    drawn = np.random.default_rng(seed).normal(size=(count, channels, SIDE, SIDE))
    return drawn.astype(np.float32)


def logits_of(engine: Engine, batch: np.ndarray, model: str = "softmax") -> np.ndarray:
    """Of each image by itself, as the clean run of its explanation has them."""
    served = engine.model(model)
    return np.stack([served.forward(image, (), Execution()).logits for image in batch])


def test_a_server_says_that_it_lives_is_ready_and_what_it_is(
    stub: pb_grpc.GRPCInferenceServiceStub,
) -> None:
    assert stub.ServerLive(pb.ServerLiveRequest()).live
    assert stub.ServerReady(pb.ServerReadyRequest()).ready
    told = stub.ServerMetadata(pb.ServerMetadataRequest())
    assert (told.name, bool(told.version), list(told.extensions)) == ("salience", True, [])


@pytest.mark.parametrize(
    ("name", "version", "ready"),
    [("softmax", "", True), ("softmax", "1", True), ("softmax", "9", False), ("x", "", False)],
)
def test_a_model_is_ready_where_it_serves(
    stub: pb_grpc.GRPCInferenceServiceStub, name: str, version: str, ready: bool
) -> None:
    assert stub.ModelReady(pb.ModelReadyRequest(name=name, version=version)).ready is ready


def test_metadata_tells_what_a_model_takes_and_puts_out(
    stub: pb_grpc.GRPCInferenceServiceStub,
) -> None:
    told = stub.ModelMetadata(pb.ModelMetadataRequest(name="softmax"))
    assert (told.name, list(told.versions)) == ("softmax", ["1"])
    assert [(each.name, each.datatype, list(each.shape)) for each in told.inputs] == [
        ("images", "FP32", [-1, 3, SIDE, SIDE]),
        ("pixels", "UINT8", [-1, -1, -1, -1]),
    ]
    assert [(each.name, each.datatype, list(each.shape)) for each in told.outputs] == [
        ("logits", "FP32", [-1, CLASSES]),
        ("probabilities", "FP32", [-1, CLASSES]),
    ]
    regression = stub.ModelMetadata(pb.ModelMetadataRequest(name="regression"))
    assert [each.name for each in regression.outputs] == ["logits"]


@pytest.mark.parametrize("count", [1, 2, 9])
def test_a_batch_has_the_logits_of_its_images_alone_bit_for_bit(
    stub: pb_grpc.GRPCInferenceServiceStub, engine: Engine, count: int
) -> None:
    batch = images(count)
    found = answered(stub.ModelInfer(infer_request(batch, "softmax")))
    np.testing.assert_array_equal(found["logits"], logits_of(engine, batch))


def test_pixels_are_prepared_as_an_explanation_prepares_them(
    stub: pb_grpc.GRPCInferenceServiceStub, address: str
) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (2, 48, 40, 3), dtype=np.uint8)
    found = answered(stub.ModelInfer(infer_request(pixels, "softmax")))
    for row, image in enumerate(pixels):
        file = io.BytesIO()
        Image.fromarray(image).save(file, "PNG")
        top = explained_top(address, file.getvalue())
        assert [found["logits"][row, each.index] for each in top] == [each.logit for each in top]
        told = [each.probability for each in top]
        by_class = [found["probabilities"][row, each.index] for each in top]
        np.testing.assert_allclose(by_class, told, rtol=1e-6)


def explained_top(address: str, file: bytes) -> list:
    """The top classes that an explanation of an image file tells."""
    asked = explain_pb.ExplainRequest(
        model="softmax", image={"encoded": file}, methods=[{"name": "fake-cam"}]
    )
    with grpc.insecure_channel(address) as channel:
        events = explain_grpc.ExplanationServiceStub(channel).Explain(asked)
        return next(each.prediction.top for each in events if each.HasField("prediction"))


def test_raw_is_answered_raw_and_typed_typed_with_the_same_numbers(
    stub: pb_grpc.GRPCInferenceServiceStub,
) -> None:
    raw = stub.ModelInfer(infer_request(images(2), "softmax"))
    typed = stub.ModelInfer(infer_request(images(2), "softmax", raw=False))
    assert len(raw.raw_output_contents) == 2
    assert not any(each.HasField("contents") for each in raw.outputs)
    assert not typed.raw_output_contents
    for name, values in answered(raw).items():
        np.testing.assert_array_equal(values, answered(typed)[name])


def test_id_and_the_version_that_answered_are_told(
    stub: pb_grpc.GRPCInferenceServiceStub,
) -> None:
    told = stub.ModelInfer(infer_request(images(1), "softmax", id="scan 7"))
    assert (told.id, told.model_name, told.model_version) == ("scan 7", "softmax", "1")


@pytest.mark.parametrize(
    "names", [("logits",), ("probabilities",), ("probabilities", "logits"), ()]
)
def test_the_outputs_asked_for_come_in_the_order_asked(
    stub: pb_grpc.GRPCInferenceServiceStub, names: tuple[str, ...]
) -> None:
    told = stub.ModelInfer(infer_request(images(1), "softmax", outputs=names))
    assert tuple(each.name for each in told.outputs) == (names or ("logits", "probabilities"))
    assert len(told.raw_output_contents) == len(told.outputs)


@pytest.mark.parametrize(
    ("model", "kind", "channels"),
    [("softmax", OutputKind.SOFTMAX, 3), ("sigmoid", OutputKind.SIGMOID, 1)],
)
def test_probabilities_are_those_of_targets(
    stub: pb_grpc.GRPCInferenceServiceStub,
    engine: Engine,
    model: str,
    kind: OutputKind,
    channels: int,
) -> None:
    head: Head = engine.model(model).manifest.head
    assert head.kind is kind
    found = answered(stub.ModelInfer(infer_request(images(3, channels=channels), model)))
    for index in range(head.classes):
        expected = Target("", TargetKind.CLASS, index, kind).probability(found["logits"])
        np.testing.assert_allclose(found["probabilities"][:, index], expected, rtol=1e-6)


def refusal(
    stub: pb_grpc.GRPCInferenceServiceStub, request: pb.ModelInferRequest
) -> tuple[grpc.StatusCode, str, str]:
    """Code, text, and the field or resource at fault."""
    with pytest.raises(grpc.RpcError) as told:
        stub.ModelInfer(request)
    field, bad, what = "", error_details_pb2.BadRequest(), error_details_pb2.ResourceInfo()
    for detail in rpc_status.from_call(told.value).details:
        if detail.Unpack(bad):
            field = bad.field_violations[0].field
        elif detail.Unpack(what):
            field = field or what.resource_name
    return told.value.code(), told.value.details(), field


INVALID, NOT_FOUND = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize(
    ("request_", "code", "field", "words"),
    [
        (infer_request(images(1), "x"), NOT_FOUND, "model_name", "no model 'x'"),
        (
            infer_request(images(1), "softmax", model_version="9"),
            NOT_FOUND,
            "model_version",
            "no version '9'",
        ),
        (
            infer_request(images(1)[:, :, :31], "softmax"),
            INVALID,
            "inputs[0].shape",
            "[1, 3, 31, 32]; this model takes [-1, 3, 32, 32]",
        ),
        (infer_request(images(2) * np.float32("nan"), "softmax"), INVALID, "inputs[0]", "NaN"),
        (infer_request(images(2) * np.float32("inf"), "softmax"), INVALID, "inputs[0]", "infinity"),
        (
            infer_request(np.sign(images(1)) * np.float32(3e38), "softmax"),
            INVALID,
            "inputs[0]",
            "beyond what the model can compute",
        ),
        (
            infer_request(np.zeros((1, 4, 4, 2), np.uint8), "softmax"),
            INVALID,
            "inputs[0].shape",
            "1 (grey) or 3",
        ),
        (
            infer_request(np.zeros((1, 400, 400, 1), np.uint8), "softmax"),
            INVALID,
            "inputs[0].shape",
            "at most 100000",
        ),
        (
            infer_request(np.zeros((MOST_ROWS + 1, 1, 1, 1), np.uint8), "softmax"),
            INVALID,
            "",
            f"at most {MOST_ROWS} a request",
        ),
        (
            infer_request(images(1), "regression", outputs=("logits", "probabilities")),
            INVALID,
            "outputs[1].name",
            "a regression has no probabilities",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_what_cannot_be_predicted_is_refused_with_its_field(
    stub: pb_grpc.GRPCInferenceServiceStub,
    engine: Engine,
    request_: pb.ModelInferRequest,
    code: grpc.StatusCode,
    field: str,
    words: str,
) -> None:
    told_code, text, told_field = refusal(stub, request_)
    assert (told_code, told_field) == (code, field)
    assert words in text
    assert answered(stub.ModelInfer(infer_request(images(1), "softmax"))), "the server goes on"
    assert engine.load == Load(0)


@pytest.mark.parametrize("call", ["ModelReady", "ModelMetadata"])
def test_a_question_about_no_model_is_refused(
    stub: pb_grpc.GRPCInferenceServiceStub, call: str
) -> None:
    asked = getattr(pb, f"{call}Request")()
    with pytest.raises(grpc.RpcError) as told:
        getattr(stub, call)(asked)
    assert told.value.code() is INVALID


@pytest.mark.parametrize("call", ["ServerLive", "ModelReady", "ModelMetadata", "ModelInfer"])
def test_bytes_that_are_no_message_are_an_invalid_argument(address: str, call: str) -> None:
    with grpc.insecure_channel(address) as channel, pytest.raises(grpc.RpcError) as told:
        channel.unary_unary(f"/{SERVICE}/{call}")(b"\x0a\x02\xff\xfe\xff")
    assert told.value.code() is INVALID
    assert "cannot be read" in told.value.details()


def test_rows_of_a_caller_who_left_do_not_run(
    stub: pb_grpc.GRPCInferenceServiceStub, engine: Engine
) -> None:
    call = stub.ModelInfer.future(infer_request(HOURS, "softmax"))
    before = engine.workload.calls
    until(lambda: engine.workload.calls > before + 3)
    assert engine.load.rows == len(HOURS)
    call.cancel()
    until(lambda: engine.load == Load(0))
    after = engine.workload.calls
    assert answered(stub.ModelInfer(infer_request(images(1), "softmax")))
    assert engine.workload.calls <= after + 2, "rows of the cancelled batch ran on"


def test_a_deadline_ends_a_batch(stub: pb_grpc.GRPCInferenceServiceStub, engine: Engine) -> None:
    with pytest.raises(grpc.RpcError) as told:
        stub.ModelInfer(infer_request(HOURS, "softmax"), timeout=0.5)
    assert told.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    until(lambda: engine.load == Load(0))


def test_a_large_batch_shares_the_device_with_who_comes_later(
    stub: pb_grpc.GRPCInferenceServiceStub, engine: Engine
) -> None:
    large = stub.ModelInfer.future(infer_request(HOURS, "softmax"))
    until(lambda: engine.load.rows == len(HOURS))
    small = stub.ModelInfer(infer_request(images(8), "softmax"), timeout=SOON_SECONDS)
    np.testing.assert_array_equal(answered(small)["logits"], logits_of(engine, images(8)))
    assert not large.done()
    large.cancel()
    until(lambda: engine.load == Load(0))
