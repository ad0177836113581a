"""Many requests over calls that may break: what was asked, what is unanswered, what to ask again.

It does no I/O, waits for nothing and belongs to one thread or loop at a time: `feed.py` has both.
"""

import heapq
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count

import grpc

from salience.v1.explanation_service_pb2 import (
    ExplainManyRequest,
    ExplainManyResponse,
    ExplainRequest,
)
from salience_client.errors import BrokenAnswer, InvalidRequest, SalienceError, error_of_message
from salience_client.events import Event, Failed, Restarted
from salience_client.reader import AnswerReader
from salience_client.retries import RetryPolicy

TaggedRequest = tuple[str, ExplainRequest]

WINDOW = 32
"""Requests that are kept until they are answered; no more are taken until one is. Four times what
our server has in flight of one call by default, so that it never waits for the next."""
MOST_BREAKS = 4
"""Calls that may break off while one request is being answered. One that brings its server down
would else do so for ever; fewer than a policy's attempts, so that the others are spared."""
MAX_TAG = 128
"""Characters of a tag that our server takes; one that is longer it refuses under another tag."""
_TOO_LONG = re.compile(r"message larger than max \((\d+) vs\. (\d+)\)")
"""What gRPC says where it ends a call by itself over one message: its bytes, and the most."""


@dataclass
class _Asked:
    """A request that has no whole answer yet."""

    message: ExplainManyRequest
    reader: AnswerReader = field(default_factory=AnswerReader)
    sent: bool = False
    heard: bool = False
    refusals: int = 0
    breaks: int = 0


class Conversation:
    """Keeps every request until it has its whole answer or its error.

    Args:
        policy: which of them are asked again.

    Attributes:
        complete: whether the last request has been entered.
        fault: what the caller's iterable raised, if it did.
        done: whether all is answered, and the call that did has ended.
    """

    def __init__(self, policy: RetryPolicy) -> None:
        self._policy = policy
        self._asked: dict[str, _Asked] = {}
        self._serial = count()
        self._due: list[tuple[float, int, str]] = []
        self._leaving = False
        self.complete = False
        self.fault: BaseException | None = None
        self.done = False

    @property
    def has_room(self) -> bool:
        """Whether another request may be entered."""
        return len(self._asked) < WINDOW

    def enter(self, tag: str, request: ExplainRequest) -> None:
        """Takes a request, to be sent next.

        Raises:
            InvalidRequest: one of that tag is unanswered, or the server would not take the tag.
        """
        if not 1 <= len(tag) <= MAX_TAG:
            raise InvalidRequest(
                f"tag {tag[:MAX_TAG]!r} has {len(tag)} characters: give 1 to {MAX_TAG}"
            )
        if tag in self._asked:
            raise InvalidRequest(f"tag {tag!r} is in flight already: give each request its own")
        self._asked[tag] = _Asked(ExplainManyRequest(tag=tag, request=request))
        self._send(tag, 0.0)

    def begin_call(self, why: SalienceError | None) -> Iterator[tuple[str, Restarted | Failed]]:
        """To be called before each call: all that is unanswered is sent anew, in its order.

        A request that was being answered at the end of too many calls may be what ended them:
        it has failed, and the others are spared.

        Args:
            why: what broke the call before this one off.
        """
        self._leaving = False
        waiting = {tag: due for due, _, tag in self._due}
        self._due.clear()
        for tag, asked in list(self._asked.items()):
            if asked.heard and why is not None:
                asked.breaks += 1
                yield tag, self._begin_anew(tag, why, asked.breaks >= MOST_BREAKS)
            if tag in self._asked:
                self._send(tag, waiting.get(tag, 0.0))

    def fail_too_long(self, why: SalienceError) -> Iterator[tuple[str, Restarted | Failed]]:
        """Where gRPC ended the call over the length of one request, those so long have failed.

        The others, which had no part in it, begin anew on the next call. Nothing is told where
        the call ended otherwise. Its status alone would not do: too many calls, or too much
        metadata, end with the same, whatever is asked.

        Args:
            why: what ended the call.
        """
        told = _TOO_LONG.search(why.message)
        sent = {tag: asked for tag, asked in self._asked.items() if asked.sent}
        lengths = {tag: asked.message.ByteSize() for tag, asked in sent.items()}
        if told is None or int(told[1]) not in lengths.values():
            return
        for tag, length in lengths.items():
            is_too_long = length > int(told[2])
            if is_too_long or sent[tag].heard:
                yield tag, self._begin_anew(tag, why, is_too_long)

    def take(self, now: float) -> ExplainManyRequest | None:
        """The next message to send at this time, if there is one."""
        if not self._due or self._due[0][0] > now:
            return None
        asked = self._asked[heapq.heappop(self._due)[2]]
        asked.sent = True
        return asked.message

    def wait(self, now: float) -> float | None:
        """Seconds until the next message may be sent; None where that depends on others."""
        return max(0.0, self._due[0][0] - now) if self._due else None

    @property
    def idle(self) -> bool:
        """Whether none waits for its answer just now, and others may come."""
        return not (self.complete or self._asked)

    @property
    def all_sent(self) -> bool:
        """Whether this call is sent no more: that was all, or its server is going."""
        return self._leaving or (self.complete and not self._due)

    @property
    def all_answered(self) -> bool:
        """Whether the last request has been entered, and none waits for its answer."""
        return self.complete and not self._asked

    def read(
        self, message: ExplainManyResponse, now: float
    ) -> Iterator[tuple[str, Event | Failed]]:
        """The tagged events that this message completes.

        Raises:
            BrokenAnswer: the message does not fit those before it.
        """
        if message.HasField("error"):
            yield from self._failed(message, now)
            return
        asked = self._in_flight(message.tag)
        if asked is None:
            raise BrokenAnswer(f"an answer came for {message.tag!r}, which is not in flight")
        asked.heard = True
        for event in asked.reader.read(message.response):
            if asked.reader.finished:
                del self._asked[message.tag]
            yield message.tag, event

    def end_call(self) -> None:
        """To be called after the last message of a call that ended well.

        Raises:
            BrokenAnswer: a request has no whole answer.
            BaseException: what the caller's iterable raised, once all before it is answered.
        """
        waiting = {tag for _, _, tag in self._due}
        lost = sorted(tag for tag in self._asked if tag not in waiting)
        if self.fault is not None and not waiting:
            raise self.fault
        if lost or not (self.complete or self._leaving):
            raise BrokenAnswer(f"no whole answer came for {', '.join(lost) or 'the last requests'}")
        self.done = self.all_answered

    def _failed(
        self, message: ExplainManyResponse, now: float
    ) -> Iterator[tuple[str, Failed | Restarted]]:
        """One request ended with an error: it is asked again, or that was its answer."""
        error, tag = error_of_message(message.error), message.tag
        asked = self._in_flight(tag)
        if asked is None or not self._policy.allows(error):
            if asked is not None:
                del self._asked[tag]
            yield tag, Failed(error)
            return
        # What it runs it still answers; whatever else is asked on another call, maybe of another.
        self._leaving |= error.code is grpc.StatusCode.UNAVAILABLE
        asked.refusals += 1
        heard, is_last = asked.heard, asked.refusals >= self._policy.attempts
        outcome = self._begin_anew(tag, error, is_last)
        if not is_last:
            self._send(tag, now + self._policy.wait_after(asked.refusals, error))
        if heard or is_last:
            yield tag, outcome

    def _begin_anew(self, tag: str, why: SalienceError, is_last: bool) -> Restarted | Failed:
        if is_last:
            del self._asked[tag]
            return Failed(why)
        self._asked[tag].reader, self._asked[tag].heard = AnswerReader(), False
        return Restarted(why)

    def _in_flight(self, tag: str) -> _Asked | None:
        asked = self._asked.get(tag)
        return asked if asked is not None and asked.sent else None

    def _send(self, tag: str, due: float) -> None:
        self._asked[tag].sent = False
        heapq.heappush(self._due, (due, next(self._serial), tag))
