"""Every error of the family has its status, and its words travel in a header."""

import grpc
import pytest
from google.rpc import error_details_pb2

from salience_service import errors
from salience_service.rpc.status import CODES, MESSAGE_BYTES, code_of, grpc_status, status_of


def _family() -> list[type[errors.SalienceError]]:
    return [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and kind is not errors.SalienceError
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


def test_a_status_for_grpc_carries_the_details() -> None:
    status = grpc_status(errors.Overloaded("full"))
    assert status.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert [key for key, _ in status.trailing_metadata] == ["grpc-status-details-bin"]
