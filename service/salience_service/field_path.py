"""Field paths: where in the request a refusal lies, such as "methods[1].options.steps".

A reader knows its own part; whoever calls it puts the outer part before it, so that a path
is written down once, where the request is taken apart.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar, TypeVarTuple

from salience_service.errors import InvalidRequest, NotFound, NotPossible, Unsupported

T = TypeVar("T")
Item = TypeVar("Item")
Rest = TypeVarTuple("Rest")

_REFUSALS = (InvalidRequest, NotFound, NotPossible, Unsupported)
"""What is the request's own doing; any other error has no place in it."""
_PLAIN_KEY = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""A key that can stand in a path; any other is a stranger's text."""


@contextmanager
def at(path: str) -> Iterator[None]:
    """Puts a path before that of any refusal that leaves the block."""
    try:
        yield
    except _REFUSALS as refusal:
        refusal.field = joined(path, refusal.field)
        raise


def read(path: str, reader: Callable[[*Rest], T], *values: *Rest) -> T:
    """What the reader makes of the values, its refusals placed under the path."""
    with at(path):
        return reader(*values)


def each(path: str, reader: Callable[[Item], T], items: Iterable[Item]) -> tuple[T, ...]:
    """The reader's values of all items, a refusal placed under the item it is for."""
    return tuple(read(f"{path}[{place}]", reader, item) for place, item in enumerate(items))


def joined(outer: str, inner: str) -> str:
    """One path from two; either may be empty."""
    if not outer or not inner or inner.startswith("["):
        return outer + inner
    return f"{outer}.{inner}"


def keyed(outer: str, key: str) -> str:
    """The path of an entry of a map; of the map alone where the key is an odd one."""
    return joined(outer, key) if _PLAIN_KEY.fullmatch(key) else outer
