"""Errors over a real loopback server: each its status, none with anything from inside."""

import logging
from collections.abc import Iterator

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from salience.v1 import explanation_service_pb2 as pb
from salience_service import errors
from salience_service.control import Control
from salience_service.events import Event
from salience_service.request import ExplainOrder
from salience_service.rpc.server.server import SERVICE
from salience_service.rpc.wire.field_count import MOST_FIELDS
from tests.support.serving import STARTED, FakeEngine, Script, calling, request, serving

INSIDE = ("/", "Traceback", "0x", ".py", "secret")
"""What no error text may hold."""


def _raises(error: Exception) -> Script:
    def script(order: ExplainOrder, control: Control) -> Iterator[Event]:
        yield STARTED
        raise error

    return script


def _refusal(engine: FakeEngine, message: pb.ExplainRequest, **config: object) -> grpc.RpcError:
    with serving(engine, **config) as server, calling(server) as stub:
        with pytest.raises(grpc.RpcError) as told:
            list(stub.Explain(message))
        assert len(stub.ListModels(pb.ListModelsRequest()).models) == 1, "the server goes on"
    return told.value


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.InvalidRequest("no such option"), grpc.StatusCode.INVALID_ARGUMENT),
        (errors.NotPossible("no gradient side"), grpc.StatusCode.FAILED_PRECONDITION),
        (errors.Unsupported("3-D volumes"), grpc.StatusCode.UNIMPLEMENTED),
        (errors.DeadlineExceeded("too late"), grpc.StatusCode.DEADLINE_EXCEEDED),
        (errors.ComputeFailed("the device failed"), grpc.StatusCode.INTERNAL),
    ],
)
def test_an_error_arrives_with_its_code_its_words_and_its_name(
    error: errors.SalienceError, code: grpc.StatusCode
) -> None:
    told = _refusal(FakeEngine({"tiny": _raises(error)}), request())
    assert (told.code(), told.details()) == (code, str(error))
    info = error_details_pb2.ErrorInfo()
    assert rpc_status.from_call(told).details[0].Unpack(info)
    assert (info.reason, info.domain) == (type(error).__name__, "salience")


def test_an_unknown_model_is_not_found() -> None:
    told = _refusal(FakeEngine(), request("resnet"))
    assert told.code() is grpc.StatusCode.NOT_FOUND
    assert "'resnet'" in told.details()
    assert "tiny" not in told.details()  # Who may not know of a model must not learn of it here.


def test_an_empty_request_is_an_invalid_argument() -> None:
    told = _refusal(FakeEngine(), pb.ExplainRequest())
    assert told.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_a_message_of_more_fields_than_any_good_one_has_is_refused_before_it_is_decoded() -> None:
    told = _refusal(FakeEngine(), pb.ExplainRequest(methods=[{}] * (MOST_FIELDS + 1)))
    assert told.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert f"more than {MOST_FIELDS} fields" in told.details()


def test_a_message_over_the_limit_is_refused_and_the_server_goes_on() -> None:
    message = request(image={"encoded": bytes(2**20)})
    told = _refusal(FakeEngine(), message, max_message_bytes=2**19)
    assert told.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_message_that_decompresses_beyond_the_limit_is_refused() -> None:
    message = request(image={"encoded": bytes(64 * 2**20)})
    with serving(FakeEngine(), max_message_bytes=2**20) as server, calling(server) as stub:
        with pytest.raises(grpc.RpcError) as told:
            list(stub.Explain(message, compression=grpc.Compression.Gzip))
        assert told.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert len(list(stub.Explain(request()))) == 4


@pytest.mark.parametrize(
    "fault",
    [
        RuntimeError("secret at 0x7f3a in /srv/models/secret.onnx"),
        OSError(2, "No such file", "/srv/secret.py"),
    ],
)
def test_a_failure_from_inside_tells_nothing_but_its_number_in_the_log(
    fault: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        told = _refusal(FakeEngine({"tiny": _raises(fault)}), request())
    assert told.code() is grpc.StatusCode.INTERNAL
    assert not [word for word in INSIDE if word in told.details()]
    metadata = b"".join(value for _, value in told.trailing_metadata() if isinstance(value, bytes))
    assert b"secret" not in metadata
    reference = told.details().rsplit(" ", 1)[-1]
    logged = [record for record in caplog.records if reference in record.getMessage()]
    assert logged[0].exc_info is not None
    assert logged[0].exc_info[1] is fault


def test_a_very_long_message_is_cut_and_still_arrives() -> None:
    told = _refusal(FakeEngine({"tiny": _raises(errors.InvalidRequest("é" * 50_000))}), request())
    assert told.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert told.details().endswith("…")
    assert len(told.details().encode()) <= 1024


NO_MESSAGES = {
    "text that is not UTF-8": b"\x0a\x02\xff\xfe",
    "a length beyond the end": b"\x0a\xff\xff\xff\x7f",
    "groups nested too deep": b"\x7b" * 5000 + b"\x7c" * 5000,
}


@pytest.mark.parametrize("data", NO_MESSAGES.values(), ids=NO_MESSAGES.keys())
@pytest.mark.parametrize("call", ["Explain", "DescribeModel"])
def test_bytes_that_are_no_message_are_an_invalid_argument(call: str, data: bytes) -> None:
    with serving(FakeEngine()) as server, grpc.insecure_channel(server.address) as channel:
        send = channel.unary_stream(f"/{SERVICE}/{call}")
        with pytest.raises(grpc.RpcError) as told:
            list(send(data))
    assert told.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "cannot be read" in told.value.details()
    assert not [word for word in (*INSIDE, "class", "Decode") if word in told.value.details()]
