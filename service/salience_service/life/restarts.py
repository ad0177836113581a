"""How often a server is started again, and how long to wait before: exponential, and bounded."""

from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True)
class RestartPolicy:
    """The bounds.

    Attributes:
        most: restarts within `window` seconds, ≥ 0; one more is not made.
        first_wait: seconds before the first; each further one waits twice as long, at most
            `longest_wait`. A server that lived for `window` seconds starts from the first again.
    """

    most: int = 5
    window: float = 600.0
    first_wait: float = 1.0
    longest_wait: float = 60.0


class Restarts:
    """Counts the restarts of one server. It has no clock: it is told the time."""

    def __init__(self, policy: RestartPolicy) -> None:
        self._policy = policy
        self._made: deque[float] = deque()
        self._in_a_row = 0

    def wait(self, lived: float, now: float) -> float | None:
        """Seconds to wait before the next start; None = give up.

        Args:
            lived: seconds from the last start to its end.
            now: of a clock that only goes forward, in seconds.
        """
        policy = self._policy
        while self._made and self._made[0] <= now - policy.window:
            self._made.popleft()
        if len(self._made) >= policy.most:
            return None
        self._made.append(now)
        self._in_a_row = 0 if lived >= policy.window else self._in_a_row
        self._in_a_row += 1
        # 2 ** 30 s is beyond any limit, and no number grows without end.
        doubled = policy.first_wait * 2.0 ** min(self._in_a_row - 1, 30)
        return min(doubled, policy.longest_wait)
