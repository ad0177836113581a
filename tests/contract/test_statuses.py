"""Every error of the family has its status, and its words travel in a header."""

import base64
from urllib.parse import quote

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc import error_details_pb2

from salience_service import errors
from salience_service.rpc.wire.details import LATER_SECONDS
from salience_service.rpc.wire.status import (
    CODES,
    MESSAGE_BYTES,
    code_of,
    grpc_status,
    request_error_of,
    status_of,
)

COME_AGAIN = (errors.Overloaded, errors.QuotaExceeded, errors.Unavailable)


def _family() -> list[type[errors.SalienceError]]:
    return [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type)
        and issubclass(kind, errors.SalienceError)
        and kind is not errors.SalienceError
    ]


def test_the_table_holds_every_error_and_nothing_else() -> None:
    assert set(CODES) == set(_family())


@pytest.mark.parametrize("kind", _family())
def test_an_error_is_told_with_code_words_and_name(kind: type[errors.SalienceError]) -> None:
    status = status_of(kind("value, limit, remedy"))
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert (status.code, status.message) == (CODES[kind].value[0], "value, limit, remedy")
    assert (info.reason, info.domain) == (kind.__name__, "salience")
    assert code_of(kind()) == status.code


def test_a_subclass_has_the_status_of_its_family() -> None:
    class NoSuchVersion(errors.NotFound):
        pass

    assert code_of(NoSuchVersion()) == grpc.StatusCode.NOT_FOUND.value[0]


@pytest.mark.parametrize("error", [ValueError("inside"), errors.SalienceError("bare"), KeyError(1)])
def test_anything_else_is_internal(error: Exception) -> None:
    assert code_of(error) == grpc.StatusCode.INTERNAL.value[0]


def test_an_unknown_error_is_logged_under_the_number_that_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    message = status_of(ValueError("inside")).message
    assert "inside" not in message
    assert message.rsplit(" ", 1)[-1] in caplog.text
    assert "inside" in caplog.text


@pytest.mark.parametrize("character", ["x", "é", "例", "\U0001f9e0"])
def test_a_status_never_outgrows_its_header(character: str) -> None:
    message = status_of(errors.NotFound(character * 10_000)).message
    assert MESSAGE_BYTES - 4 <= len(message.encode()) <= MESSAGE_BYTES


def _details(error: errors.SalienceError) -> dict[str, Message]:
    kinds = ("ErrorInfo", "BadRequest", "ResourceInfo", "RetryInfo")
    found: dict[str, Message] = {}
    for packed in status_of(error).details:
        detail = getattr(error_details_pb2, packed.type_url.rpartition(".")[2])()
        assert packed.Unpack(detail)
        found[type(detail).__name__] = detail
    assert set(found) <= set(kinds)
    return found


def test_details_are_told_where_there_are_any_and_only_there() -> None:
    assert set(_details(errors.ComputeFailed("the device failed"))) == {"ErrorInfo"}
    refused = errors.InvalidRequest("too many", field="methods[1].options.steps")
    (violation,) = _details(refused)["BadRequest"].field_violations
    assert (violation.field, violation.description) == ("methods[1].options.steps", "too many")
    denied = _details(errors.PermissionDenied("not yours", resource=("model", "lite0")))
    resource = denied["ResourceInfo"]
    assert (resource.resource_type, resource.resource_name) == ("model", "lite0")


@pytest.mark.parametrize("kind", COME_AGAIN)
def test_who_may_come_again_is_told_when(kind: type[errors.SalienceError]) -> None:
    assert _details(kind("full"))["RetryInfo"].retry_delay.ToSeconds() == LATER_SECONDS
    told = _details(kind("full", retry_after=2.25))["RetryInfo"].retry_delay
    assert told.ToNanoseconds() == 2_250_000_000
    assert request_error_of(kind("full", retry_after=2.25)).retry_after_seconds == 2.25


@pytest.mark.parametrize("kind", [each for each in _family() if each not in COME_AGAIN])
def test_no_other_error_invites_to_come_again(kind: type[errors.SalienceError]) -> None:
    assert "RetryInfo" not in _details(kind("no"))
    assert not request_error_of(kind("no")).HasField("retry_after_seconds")


@pytest.mark.parametrize(("told", "heard"), [(-1.0, 0.0), (1e300, 86_400.0)])
def test_no_delay_is_beyond_reason(told: float, heard: float) -> None:
    error = errors.Overloaded("full", retry_after=told)
    assert _details(error)["RetryInfo"].retry_delay.ToSeconds() == heard


@pytest.mark.parametrize("character", ["x", "é", "例", "\U0001f9e0"])
def test_all_details_stay_below_4_kib_and_one_of_many_is_told_the_same(character: str) -> None:
    text = character * 10_000
    error = errors.QuotaExceeded(text, field=text, retry_after=1.0, resource=(text, text))
    status = status_of(error)
    assert sum(len(detail.SerializeToString()) for detail in status.details) < 4096
    # As gRPC writes them: base64, and percents for what is not ASCII.
    header = len(base64.b64encode(status.SerializeToString())) + len(quote(status.message))
    assert header < 8192
    told, details = request_error_of(error), _details(error)
    assert (told.code, told.message, told.reason) == (8, status.message, "QuotaExceeded")
    assert told.field == details["BadRequest"].field_violations[0].field
    assert told.resource_kind == details["ResourceInfo"].resource_type
    assert told.resource_name == details["ResourceInfo"].resource_name


def test_text_that_no_message_can_hold_does_not_break_the_status() -> None:
    status = status_of(errors.InvalidRequest("a \ud800 b", field="\udfff"))
    assert status.message == "a ? b"


def test_a_status_for_grpc_carries_the_details() -> None:
    status = grpc_status(errors.Overloaded("full"))
    assert status.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert [key for key, _ in status.trailing_metadata] == ["grpc-status-details-bin"]
