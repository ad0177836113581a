"""Reads a plain iterable for an event loop, by a thread that may block on it."""

import asyncio
import queue
import threading
from collections.abc import AsyncGenerator, Generator, Iterable
from concurrent.futures import Future
from itertools import chain
from typing import Any, TypeVar

T = TypeVar("T")
_END = object()


async def from_a_thread(items: Iterable[T]) -> AsyncGenerator[T]:
    """The same items, each read once it is asked for, by one thread that may block on them.

    It is no thread of the loop's, which would wait at its end for what may never come.
    """
    asked = queue.SimpleQueue[Future[Any] | None]()
    threading.Thread(
        target=_read_asked, args=(items, asked), name="salience-requests", daemon=True
    ).start()
    try:
        while True:
            read = Future[Any]()
            asked.put(read)
            if (item := await asyncio.wrap_future(read)) is _END:
                return
            yield item
    finally:
        asked.put(None)


def _read_asked(items: Iterable[T], asked: "queue.SimpleQueue[Future[Any] | None]") -> None:
    """Reads one item for each future, until None; then a generator is closed."""
    unread = chain(items)  # It begins with the first, so that a fault in that is carried too.
    while (read := asked.get()) is not None:
        if not read.set_running_or_notify_cancel():
            continue
        try:
            read.set_result(next(unread, _END))
        except BaseException as fault:  # carried to the loop's side
            read.set_exception(fault)
    if isinstance(items, Generator):
        items.close()
