"""Every gRPC status becomes one of the client's errors."""

import grpc
import pytest

from salience.v1.explanation_service_pb2 import RequestError
from salience_client import (
    AccessDenied,
    BrokenAnswer,
    Cancelled,
    DeadlineExceeded,
    InvalidRequest,
    MissingExtra,
    NotFound,
    NotPossible,
    Overloaded,
    PermissionDenied,
    SalienceError,
    ServerFailed,
    Unauthenticated,
    Unavailable,
    Unsupported,
)
from salience_client.errors import ERROR_OF_STATUS, error_of_message, message_of_error
from salience_client.extras import require
from salience_service import errors
from salience_service.rpc.wire import status

FAILURES = [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK]


@pytest.mark.parametrize("code", FAILURES)
def test_every_status_has_an_error_that_keeps_code_and_message(code):
    error = error_of_message(RequestError(code=code.value[0], message="too many; ask for fewer"))

    assert type(error) is ERROR_OF_STATUS[code]
    assert (error.code, error.message, str(error)) == (code, *["too many; ask for fewer"] * 2)


def test_no_status_is_in_the_table_that_grpc_does_not_have():
    assert set(ERROR_OF_STATUS) == set(FAILURES)


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (1, Cancelled),
        (3, InvalidRequest),
        (4, DeadlineExceeded),
        (5, NotFound),
        (7, PermissionDenied),
        (8, Overloaded),
        (9, NotPossible),
        (12, Unsupported),
        (13, ServerFailed),
        (14, Unavailable),
        (16, Unauthenticated),
    ],
)
def test_a_status_number_means_what_the_tree_says(number, kind):
    assert type(error_of_message(RequestError(code=number))) is kind


def test_a_number_that_is_no_status_is_a_failed_server():
    assert type(error_of_message(RequestError(code=99, message="what?"))) is ServerFailed


def test_a_status_without_a_message_is_named():
    assert str(error_of_message(RequestError(code=14))) == "unavailable"


def test_only_passing_conditions_are_worth_a_second_try():
    retryable = {error for error in ERROR_OF_STATUS.values() if error.retryable}

    assert retryable == {Overloaded, Unavailable}


def test_errors_raised_here_carry_a_code_too():
    assert InvalidRequest("no").code is grpc.StatusCode.INVALID_ARGUMENT
    assert BrokenAnswer("no").code is grpc.StatusCode.DATA_LOSS
    assert issubclass(BrokenAnswer, ServerFailed)


@pytest.mark.parametrize("kind", list(status.CODES))
def test_every_error_of_the_service_has_one_of_ours(kind):
    error = error_of_message(status.request_error_of(kind("why")))

    assert isinstance(error, SalienceError)
    # A refused bundle or configuration is what the model cannot do, to a caller.
    renamed = {"ComputeFailed": "ServerFailed"}
    renamed |= dict.fromkeys(("BundleRefused", "ConfigRefused"), "NotPossible")
    assert type(error).__name__ == renamed.get(kind.__name__, kind.__name__)


@pytest.mark.parametrize("kind", [NotFound, DeadlineExceeded])
def test_all_that_a_server_tells_of_an_error_is_kept(kind):
    told = getattr(errors, kind.__name__)(
        "no such model", field="model", retry_after=2.5, resource=("model", "lite0")
    )

    error = error_of_message(status.request_error_of(told))

    assert type(error) is kind
    assert (error.field, error.retry_after) == ("model", 2.5)
    assert (error.resource.kind, error.resource.name) == ("model", "lite0")
    assert message_of_error(error) == status.request_error_of(told)


def test_an_error_without_details_has_none():
    error = error_of_message(status.request_error_of(errors.InvalidRequest("no")))

    assert (error.field, error.retry_after, error.resource) == ("", None, None)


def test_whoever_is_not_let_in_is_denied_access():
    assert issubclass(Unauthenticated, AccessDenied)
    assert issubclass(PermissionDenied, AccessDenied)


def test_a_missing_package_is_named_with_the_extra_that_brings_it():
    with pytest.raises(MissingExtra, match=r"drawing needs no_such_package: .*salience\[cli\]"):
        require("no_such_package.part", "cli", "drawing")
