"""How deep JSON may nest: told by its brackets, before a parser follows them down.

At Python's own bound, about a thousand calls deep, its parsers raise RecursionError; and so
does whatever else the interpreter does just then, such as collecting garbage.
"""

import re

MOST_NESTING = 100
"""Arrays and objects inside of each other; protobuf's bound for messages is the same."""
_MARKS = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[{]|[\]}]', re.DOTALL)
"""A string may lack its end, and nothing is tried twice: else each of many escaped quotes after an
open one would be looked at to the end of the text."""
_STEP = {"[": 1, "{": 1, "]": -1, "}": -1}


def not_deep(data: bytes | str) -> str:
    """JSON as text, unless it nests deeper than `MOST_NESTING`.

    Args:
        data: if bytes, of UTF-8.

    Raises:
        ValueError: it nests deeper, or is not UTF-8.
    """
    text = data if isinstance(data, str) else data.decode("utf-8")
    depth = 0
    for mark in _MARKS.finditer(text):
        depth += _STEP.get(mark[0], 0)
        if depth > MOST_NESTING:
            raise ValueError(f"JSON nested deeper than {MOST_NESTING}")
    return text
