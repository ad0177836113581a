"""When a call is made again: only where that is safe, and never beyond the caller's deadline."""

import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import grpc
import tenacity

from salience_client.errors import (
    LATE,
    DeadlineExceeded,
    InvalidRequest,
    Overloaded,
    SalienceError,
)

MOST_ATTEMPTS = 1000


@dataclass(frozen=True)
class RetryPolicy:
    """How often a call is made, and how long the client waits in between.

    A call is made again where the server cannot be reached, drains or was killed (UNAVAILABLE),
    and where it is full and says when to come again (RESOURCE_EXHAUSTED with a delay): an
    explanation changes nothing on the server, and the same request brings the same answer. So is
    a call of `explain_many` that was answered and then turned away (UNAUTHENTICATED): its token
    ended, and the next call asks for the token again; and one that ended because a request is
    longer than the server takes, for those that are not. Any other error would come again. The
    waits double, with a random part so that callers who were sent away together do not come back
    together. The defaults wait some 8 seconds in all: a server that is restarted has time to warm
    up.

    Attributes:
        attempts: calls in all, 1 to 1000; in `explain_many`, since something was answered, and
            without those that broke while nothing was asked.
        first_wait: seconds before the second, above 0.
        longest_wait: seconds that one wait may last; a server that says to come again later
            than that is not asked again, and the error says when.
    """

    attempts: int = 6
    first_wait: float = 0.25
    longest_wait: float = 8.0

    def __post_init__(self) -> None:
        if not 1 <= self.attempts <= MOST_ATTEMPTS:
            raise InvalidRequest(f"attempts is {self.attempts}: give 1 to {MOST_ATTEMPTS}")
        if not 0 < self.first_wait <= self.longest_wait < float("inf"):
            raise InvalidRequest(
                f"first_wait is {self.first_wait} and longest_wait {self.longest_wait}: "
                "give seconds above 0, the first not above the longest"
            )

    def allows(self, error: BaseException) -> bool:
        """Whether what ended so may be asked again."""
        if not isinstance(error, SalienceError) or (error.retry_after or 0) > self.longest_wait:
            return False
        if isinstance(error, Overloaded):
            return error.retry_after is not None
        return error.code is grpc.StatusCode.UNAVAILABLE

    def wait_after(self, attempt: int, error: BaseException) -> float:
        """Seconds to wait after the attempt of that number, from 1, which ended so."""
        doubled = self.first_wait * 2.0 ** min(attempt - 1, 32)
        told = float(getattr(error, "retry_after", None) or 0.0)
        return max(min(doubled, self.longest_wait), told) + random.uniform(0, self.first_wait)


ONCE = RetryPolicy(attempts=1)
"""No call that failed is made again."""


class Deadline:
    """The end of the caller's time, whatever happens to the clock on the wall.

    Args:
        timeout: seconds from now; None = there is no end.
    """

    def __init__(self, timeout: float | None) -> None:
        self.timeout = timeout
        self._ends = None if timeout is None else time.monotonic() + timeout

    def remaining(self) -> float | None:
        """Seconds that are left, at least 0; None where there is no end."""
        return None if self._ends is None else max(0.0, self._ends - time.monotonic())

    def check(self) -> None:
        """Raises DeadlineExceeded once nothing is left."""
        if self.remaining() == 0:
            raise DeadlineExceeded(LATE)


def retrying(
    policy: RetryPolicy, deadline: Deadline, pause: Callable[[float], None]
) -> tenacity.Retrying:
    """The attempts of one call; the last one's error is raised as it is.

    Args:
        policy: which errors end an attempt but not the call.
        deadline: no wait goes beyond it.
        pause: waits so many seconds, or until the client is closed.
    """
    return tenacity.Retrying(sleep=pause, **_rules(policy, deadline))


def retrying_async(
    policy: RetryPolicy, deadline: Deadline, pause: Callable[[float], Awaitable[None]]
) -> tenacity.AsyncRetrying:
    """The same on asyncio."""
    return tenacity.AsyncRetrying(sleep=pause, **_rules(policy, deadline))


def count_anew(attempt: tenacity.AttemptManager) -> None:
    """Something was answered: as many attempts follow as if this one were the first."""
    attempt.retry_state.attempt_number = 1


def _rules(policy: RetryPolicy, deadline: Deadline) -> dict[str, Any]:
    stop: Any = tenacity.stop_after_attempt(policy.attempts)
    if deadline.timeout is not None:
        stop |= tenacity.stop_before_delay(deadline.timeout)
    return {
        "retry": tenacity.retry_if_exception(policy.allows),
        "stop": stop,
        "wait": lambda state: policy.wait_after(state.attempt_number, state.outcome.exception()),
        "reraise": True,
    }
