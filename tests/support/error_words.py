"""What an error may tell a stranger, for tests of what is refused."""

import re

INSIDE = re.compile(
    r"Traceback|0x[0-9a-f]{4}| object at |<class|\.py\b|site-packages|\bself\b|\bNoneType\b"
    r"|(?<![\w.])/(?:tmp|root|home|usr|work|etc|var|srv|opt|proc)\b"
    r"|numpy|pydantic|onnxruntime|\bORT\b|google\.protobuf|\bPIL\b|(?:Error|Exception)\b"
)
"""What no error text may hold: paths, stacks, and the words of the libraries behind."""


def assert_fit_for_a_stranger(words: str) -> None:
    """Says something, in one line of at most 1,024 bytes, and nothing of the server's inside."""
    assert words.strip()
    assert len(words) > 10, words
    assert "\n" not in words, words
    assert len(words.encode()) <= 1024, words
    assert not INSIDE.search(words), words
