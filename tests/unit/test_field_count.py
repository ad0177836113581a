"""Bytes of a message that would take far more memory than they do are refused unread."""

import time
from typing import Any

import pytest
from google.protobuf.message import DecodeError

from salience.inference import grpc_service_pb2 as inference
from salience.v1 import explanation_service_pb2 as pb
from salience_service.errors import InvalidRequest
from salience_service.explanation.plan import MOST_METHODS
from salience_service.rpc.wire.field_count import MOST_FIELDS, check_field_count
from salience_service.rpc.wire.requests import MOST_OPTIONS, MOST_TAPS

EXPLAIN: Any = pb.ExplainRequest.DESCRIPTOR
INFER: Any = inference.ModelInferRequest.DESCRIPTOR
AT_ONCE_SECONDS = 1.0
EMPTY_METHOD, EMPTY_INPUT, UNKNOWN = b"\x22\x00", b"\x2a\x00", b"\xf8\x07\x01"


def _nested(number: int, content: bytes) -> bytes:
    """A field that holds a message."""
    length, prefix = len(content), bytes([number << 3 | 2])
    while length > 0x7F:
        prefix += bytes([length & 0x7F | 0x80])
        length >>= 7
    return prefix + bytes([length]) + content


@pytest.mark.parametrize("field", [EMPTY_METHOD, UNKNOWN, b"\xf9\x07" + bytes(8), b"\xfb\x07"])
def test_as_many_fields_as_may_be_pass_and_one_more_does_not(field: bytes) -> None:
    check_field_count(field * MOST_FIELDS, EXPLAIN)
    with pytest.raises(InvalidRequest, match=f"more than {MOST_FIELDS} fields"):
        check_field_count(field * (MOST_FIELDS + 1), EXPLAIN)


@pytest.mark.parametrize(
    ("number", "within", "kind"),
    [
        (4, b"\x1a\x01t" * MOST_FIELDS, EXPLAIN),
        (5, _nested(5, b"\x42\x00" * MOST_FIELDS), INFER),
    ],
)
def test_fields_within_a_field_count(number: int, within: bytes, kind: Any) -> None:
    with pytest.raises(InvalidRequest):
        check_field_count(_nested(number, within), kind)


@pytest.mark.parametrize("damaged", [b"\xff", b"\x80"])
def test_a_number_without_end_is_left_to_the_decoder_at_once(damaged: bytes) -> None:
    """Of as many bytes as a message may have: summing them up took minutes a megabyte."""
    data = damaged * 2**25
    began = time.thread_time()
    check_field_count(data, EXPLAIN)
    assert time.thread_time() - began < AT_ONCE_SECONDS
    with pytest.raises(DecodeError):
        pb.ExplainRequest.FromString(data)


def test_the_longest_number_there_can_be_is_read() -> None:
    longest = b"\xf8\x07" + b"\xff" * 9 + b"\x01"
    check_field_count(longest + EMPTY_METHOD * (MOST_FIELDS - 1), EXPLAIN)
    with pytest.raises(InvalidRequest):
        check_field_count(longest + EMPTY_METHOD * MOST_FIELDS, EXPLAIN)


def test_an_image_and_packed_numbers_are_one_field_whatever_is_in_them() -> None:
    image = pb.ExplainRequest(image={"encoded": EMPTY_METHOD * MOST_FIELDS})
    check_field_count(image.SerializeToString(), EXPLAIN)
    contents = {"fp32_contents": [0.5] * (MOST_FIELDS + 1)}
    numbers = inference.ModelInferRequest(inputs=[{"contents": contents}])
    check_field_count(numbers.SerializeToString(), INFER)


def test_the_largest_request_that_is_served_has_fewer_fields() -> None:
    options = {f"o{number}": {"number": 1.5} for number in range(MOST_OPTIONS)}
    method = {"name": "rise", "options": options, "taps": ["t"] * MOST_TAPS}
    whole = pb.ExplainRequest(model="m", methods=[method] * MOST_METHODS)
    check_field_count(whole.SerializeToString(), EXPLAIN)


@pytest.mark.parametrize("damaged", [b"\x22", b"\x22\xff", b"\x22\x7f", b"\xff" * 64, b"\x09\0"])
def test_damaged_bytes_are_left_to_the_decoder(damaged: bytes) -> None:
    check_field_count(damaged, EXPLAIN)


@pytest.mark.parametrize("number", [b"\x01", b"\xff" * 9 + b"\x01"])
def test_packed_numbers_that_grow_when_they_are_decoded_count_one_by_one(number: bytes) -> None:
    """`contents.int64_contents`, a field of a field of a field, and the shape of a tensor."""
    for packed in (b"\x2a", b"\x1a"):
        for count, refused in ((MOST_FIELDS - 9, False), (MOST_FIELDS + 1, True)):
            content = _packed(packed, number * count)
            message = _nested(5, _nested(5, _packed(b"\x1a", number * count)))
            if packed == b"\x1a":
                message = _nested(5, content)
            if refused:
                with pytest.raises(InvalidRequest):
                    check_field_count(message, INFER)
            else:
                check_field_count(message, INFER)


def test_scores_by_the_million_are_refused_and_pixels_are_not() -> None:
    with pytest.raises(InvalidRequest):
        check_field_count(_packed(b"\x3a", b"\x01" * 2**20), EXPLAIN)
    pixels = inference.ModelInferRequest(inputs=[{"contents": {"uint_contents": [7] * 2**20}}])
    check_field_count(pixels.SerializeToString(), INFER)


def _packed(key: bytes, numbers: bytes) -> bytes:
    """A field of packed numbers."""
    return _nested(key[0] >> 3, numbers)
