"""The words of the wire's enumerations: MAP_ENCODING_PNG_GREY is "png-grey" in Python."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper

from salience.v1.map_pb2 import ScoreKind
from salience_client.errors import InvalidRequest

_SCORE_WORDS = {
    "ad": "average-drop",
    "ai": "average-increase",
    "ag": "average-gain",
    "insertion": "insertion",
    "deletion": "deletion",
    "insertion-deletion": "insertion-deletion",
}
_SCORE_SHORT = {long: short for short, long in _SCORE_WORDS.items()}


def word_of(enum: EnumTypeWrapper, number: int) -> str:
    """The word for a number of `enum`; a number from a newer server is given in digits."""
    value = enum.DESCRIPTOR.values_by_number.get(number)
    return str(number) if value is None else _word(enum, value.name)


def number_of(enum: EnumTypeWrapper, word: str) -> Any:
    """The number for a word of `enum`.

    Raises:
        InvalidRequest: the enumeration has no such word.
    """
    numbers = _numbers(enum)
    if word in numbers:
        return numbers[word]
    noun = _prefix(enum).rstrip("_").replace("_", " ").lower()
    raise InvalidRequest(f"{word!r} is no {noun}: use one of {', '.join(numbers)}")


def score_word(number: int) -> str:
    """The word of a ScoreKind, such as "ad" or "insertion"."""
    word = word_of(ScoreKind, number)
    return _SCORE_SHORT.get(word, word)


def score_number(word: str) -> Any:
    """The ScoreKind of a word, such as "ad" or "insertion".

    Raises:
        InvalidRequest: there is no such score.
    """
    if word not in _SCORE_WORDS:
        raise InvalidRequest(f"{word!r} is no score: use {', '.join(_SCORE_WORDS)}")
    return number_of(ScoreKind, _SCORE_WORDS[word])


@cache
def _numbers(enum: EnumTypeWrapper) -> Mapping[str, int]:
    """The numbers of an enumeration by their words, without that of "unspecified"."""
    return {_word(enum, name): number for name, number in enum.items() if number}


@cache
def _word(enum: EnumTypeWrapper, name: str) -> str:
    return name.removeprefix(_prefix(enum)).lower().replace("_", "-")


def _prefix(enum: EnumTypeWrapper) -> str:
    """The part before "UNSPECIFIED" of the name of zero, as buf's style asks of every enum."""
    return enum.Name(0).removesuffix("UNSPECIFIED")
