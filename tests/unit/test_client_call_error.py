"""What the client reads of a status that gRPC carries, and of one that is damaged."""

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2

from salience_client import (
    Cancelled,
    DeadlineExceeded,
    InvalidRequest,
    NotFound,
    QuotaExceeded,
    ServerFailed,
    Unavailable,
)
from salience_client.call_error import DETAILS_KEY, error_of_call
from salience_service import errors
from salience_service.rpc.wire.status import status_of


class Fault(grpc.RpcError):
    """A failed call as gRPC raises it."""

    def __init__(self, code, message, data=None):
        self._told = code, message
        self._metadata = None if data is None else (("other", "x"), (DETAILS_KEY, data))

    def code(self):
        return self._told[0]

    def details(self):
        return self._told[1]

    def trailing_metadata(self):
        return self._metadata


def test_all_that_our_server_tells_is_read():
    told = errors.QuotaExceeded("used up", field="f", retry_after=2.5, resource=("model", "m"))
    data = status_of(told).SerializeToString()

    error = error_of_call(Fault(grpc.StatusCode.RESOURCE_EXHAUSTED, "used up", data))

    assert type(error) is QuotaExceeded
    assert (error.message, error.field, error.retry_after) == ("used up", "f", 2.5)
    assert error.resource == ("model", "m")


@pytest.mark.parametrize("data", [None, b"", b"\xff\xff\xff", b"\x1a\x02\x0a\xff"])
def test_a_status_without_details_or_with_damaged_ones_keeps_its_code_and_message(data):
    error = error_of_call(Fault(grpc.StatusCode.INVALID_ARGUMENT, "no", data))

    assert type(error) is InvalidRequest
    assert (error.message, error.field, error.retry_after, error.resource) == ("no", "", None, None)


def test_a_damaged_detail_does_not_hide_the_error():
    status = status_of(errors.NotFound("no", field="model"))
    status.details[0].value = b"\xff\xff"

    error = error_of_call(Fault(grpc.StatusCode.NOT_FOUND, "no", status.SerializeToString()))

    assert type(error) is NotFound


@pytest.mark.parametrize("seconds", [2**62, -(2**62)])
def test_a_time_to_come_again_that_no_clock_counts_is_left_out(seconds):
    status = status_pb2.Status()
    status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=Duration(seconds=seconds)))
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason="QuotaExceeded"))

    error = error_of_call(
        Fault(grpc.StatusCode.RESOURCE_EXHAUSTED, "x", status.SerializeToString())
    )

    assert (type(error), error.retry_after) == (QuotaExceeded, None)


def test_a_call_that_failed_without_a_word_is_named_by_its_status():
    assert str(error_of_call(Fault(grpc.StatusCode.INTERNAL, None))) == "internal"
    assert type(error_of_call(Fault(grpc.StatusCode.DATA_LOSS, ""))) is ServerFailed


def test_a_message_that_could_not_be_sent_is_a_broken_connection_and_a_fault_told_is_not():
    unsent = error_of_call(Fault(grpc.StatusCode.INTERNAL, "Internal error from Core"))
    told = status_of(errors.ComputeFailed("the model failed on the device")).SerializeToString()
    failed = error_of_call(Fault(grpc.StatusCode.INTERNAL, "the model failed on the device", told))

    assert type(unsent) is Unavailable
    assert type(failed) is ServerFailed


@pytest.mark.parametrize("reason", ["SomethingElse", "QuotaExceeded", ""])
def test_a_reason_never_makes_an_error_what_its_status_is_not(reason):
    status = status_pb2.Status()
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason=reason))

    error = error_of_call(Fault(grpc.StatusCode.INVALID_ARGUMENT, "no", status.SerializeToString()))

    assert type(error) is InvalidRequest


def test_a_server_that_stops_in_the_middle_is_unavailable_and_a_call_cancelled_here_is_not():
    dropped = error_of_call(Fault(grpc.StatusCode.CANCELLED, "CANCELLED"))
    here = error_of_call(Fault(grpc.StatusCode.CANCELLED, "Locally cancelled by application!"))
    told = status_of(errors.Cancelled("nobody waits")).SerializeToString()
    there = error_of_call(Fault(grpc.StatusCode.CANCELLED, "nobody waits", told))

    assert type(dropped) is Unavailable
    assert {type(here), type(there)} == {Cancelled}


@pytest.mark.parametrize("words", ["Deadline Exceeded", "Stream removed (Deadline Exceeded)"])
def test_a_deadline_that_grpc_keeps_itself_is_told_in_our_words(words):
    error = error_of_call(Fault(grpc.StatusCode.DEADLINE_EXCEEDED, words))

    assert type(error) is DeadlineExceeded
    assert error.message == "the deadline passed before the answer was complete"


def test_who_else_ends_a_call_for_its_deadline_is_heard():
    error = error_of_call(Fault(grpc.StatusCode.DEADLINE_EXCEEDED, "the proxy waits 15 s"))

    assert (type(error), error.message) == (DeadlineExceeded, "the proxy waits 15 s")
