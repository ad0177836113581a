"""JSON that nests too deep is refused by its brackets alone."""

import json

import pytest

from salience_service.nesting import MOST_NESTING, not_deep


def _nested(depth: int) -> str:
    return "[" * depth + "]" * depth


def test_what_nests_as_deep_as_may_be_is_given_back_as_text() -> None:
    assert not_deep(_nested(MOST_NESTING)) == _nested(MOST_NESTING)
    assert not_deep('{"a": "é"}'.encode()) == '{"a": "é"}'


@pytest.mark.parametrize(
    "text",
    [
        _nested(MOST_NESTING + 1),
        "[" * 100_000,
        '{"a":' * 100_000,
        '[{"a":' * (MOST_NESTING // 2) + "[",
        r'["\\' + '"' + ",[" * MOST_NESTING,
    ],
)
def test_one_level_more_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="deeper than 100"):
        not_deep(text)


def test_brackets_side_by_side_and_within_strings_are_not_depth() -> None:
    wide = json.dumps([[] for _ in range(10_000)] + ["[{" * 1000, 'a"[\\'] * 200)
    assert not_deep(wide) == wide


@pytest.mark.timeout(30)
def test_a_string_without_an_end_is_gone_through_once() -> None:
    """Looked at again from each of its quotes it would take hours."""
    open_ended = '["' + '\\"' * 1_000_000
    assert not_deep(open_ended) == open_ended


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "latin-1"])
def test_bytes_that_are_not_utf_8_are_refused(encoding: str) -> None:
    with pytest.raises(ValueError, match="utf-8"):
        not_deep('["é"]'.encode(encoding))
