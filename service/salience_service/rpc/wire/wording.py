"""What of a request is stated, and no longer than it may be; the words where it is not."""

from collections.abc import Collection, Iterable
from typing import TypeVar

from salience_service.errors import InvalidRequest

Item = TypeVar("Item")

MAX_NAME = 128
"""Characters of a tag or of the name of a model, method or option."""
MAX_PATH = 1024
"""Characters of a tap's name, a path within its network, or of a prediction's id."""


def stated(text: str, what: str, at_most: int = MAX_NAME) -> str:
    """The text as it is.

    Raises:
        InvalidRequest: empty, or longer than `at_most` characters.
    """
    if not text:
        raise InvalidRequest(f"{what} is empty: state one of 1 to {at_most} characters")
    return at_most_long(text, what, at_most)


def at_most_long(text: str, what: str, at_most: int = MAX_NAME) -> str:
    """The text as it is, which may be empty.

    Raises:
        InvalidRequest: longer than `at_most` characters.
    """
    if len(text) > at_most:
        raise InvalidRequest(f"{what} has {len(text)} characters, at most {at_most} are allowed")
    return text


def at_most(items: Collection[Item], most: int, field: str) -> tuple[Item, ...]:
    """The items as they are.

    Raises:
        InvalidRequest: more than `most`.
    """
    if len(items) > most:  # Before any is looked at: a message may hold millions.
        raise InvalidRequest(f"{len(items)} {field}: at most {most} are allowed", field=field)
    return tuple(items)


def unlisted(what: str, number: int, names: Iterable[str], field: str) -> InvalidRequest:
    """The error for a number of an enum that is none of those to state; 0 is one not stated."""
    return InvalidRequest(f"{what} {number} is none of {', '.join(names)}: state one", field=field)
