"""Text in a request: stated, and no longer than it may be."""

from salience_service.errors import InvalidRequest

MAX_NAME = 128
"""Characters of a tag or of the name of a model, method, option or tap."""
MAX_LABEL = 1024
"""Characters of a class label or of a target in words."""


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
