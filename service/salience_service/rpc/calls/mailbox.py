"""The bridge from the thread that explains to the event loop that sends: bounded, lossless.

What must arrive (started, prediction, maps, chunks, scores, finished) waits for room:
a slow reader holds the explanation back. Progress and partial maps never wait: a newer
one takes the place of an older one that nobody has read, and a partial map left out
that way is counted and told.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Hashable

from salience.v1 import explanation_service_pb2 as pb
from salience_service.errors import Cancelled

CAPACITY = 8
"""Messages that wait; with chunks of 1 MiB, 8 MiB a reader."""


class Mailbox:
    """One writing thread, one reading task. Made on the reader's event loop.

    The loop outlives the writer: whoever closes the loop first waits for the threads.

    Args:
        capacity: how many messages that must arrive may wait, ≥ 1.
    """

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._lock = threading.Condition()
        self._waiting: deque[tuple[Hashable, pb.ExplainResponse]] = deque()
        self._replaceable = 0
        self._skipped = 0
        self._ended = False
        self._error: BaseException | None = None
        self._closed = False
        self._loop = asyncio.get_running_loop()
        self._arrived = asyncio.Event()

    def put(self, message: pb.ExplainResponse) -> None:
        """Hands a message over; blocks the writer while what must arrive has no room.

        Raises:
            Cancelled: the reader closed the box.
        """
        key = _key(message)
        with self._lock:
            if key is None:
                self._lock.wait_for(lambda: self._closed or self._has_room())
            if self._closed:
                raise Cancelled("the caller went away")
            if key is not None:
                self._take_out(key)
            self._stamp(message)
            self._waiting.append((key, message))
            self._replaceable += key is not None
        self._wake()

    def end(
        self, error: BaseException | None = None, last: pb.ExplainResponse | None = None
    ) -> None:
        """No message follows but `last`, which finds room; then the reader meets the error."""
        with self._lock:
            if last is not None and not self._closed:
                self._stamp(last)
                self._waiting.append((None, last))
            self._ended = True
            # Kept for a reader who went, an error's traceback would keep all maps with it.
            self._error = None if self._closed else error
        self._wake()

    def close(self) -> None:
        """The reader goes: what waits is dropped and the writer's next `put` is refused."""
        with self._lock:
            self._closed = True
            self._waiting.clear()
            self._error = None
            self._lock.notify_all()
        self._arrived.set()

    def __aiter__(self) -> "Mailbox":
        return self

    async def __anext__(self) -> pb.ExplainResponse:
        while True:
            self._arrived.clear()
            with self._lock:
                if self._waiting:
                    return self._next()
                if self._error:
                    raise self._error
                if self._ended or self._closed:
                    raise StopAsyncIteration
            await self._arrived.wait()

    def _next(self) -> pb.ExplainResponse:
        key, message = self._waiting.popleft()
        self._replaceable -= key is not None
        self._lock.notify_all()
        return message

    def _has_room(self) -> bool:
        return len(self._waiting) - self._replaceable < self._capacity

    def _take_out(self, key: Hashable) -> None:
        """Removes the unread message that a newer one replaces."""
        for place, (waiting_key, message) in enumerate(self._waiting):
            if waiting_key == key:
                del self._waiting[place]
                self._replaceable -= 1
                self._skipped += message.HasField("partial_map")
                return

    def _stamp(self, message: pb.ExplainResponse) -> None:
        """Tells how many partial maps were left out before this message."""
        if message.HasField("partial_map"):
            message.partial_map.skipped = self._skipped
        elif message.HasField("finished"):
            message.finished.partial_maps_skipped = self._skipped

    def _wake(self) -> None:
        self._loop.call_soon_threadsafe(self._arrived.set)


def _key(message: pb.ExplainResponse) -> Hashable:
    """What a message replaces: equal keys replace each other, None replaces nothing."""
    match message.WhichOneof("event"):
        case "progress":
            return "progress"
        case "partial_map":
            return message.partial_map.map_id
    return None
