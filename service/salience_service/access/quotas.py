"""Quotas: what each client may ask in a minute and in a day, counted when it is asked.

The counting is throttled-py's GCRA, in memory: by a clock that nobody sets, with the exact time
when to come again. What is kept is bounded: the client that asked longest ago is forgotten first.
"""

import math
from dataclasses import dataclass

from throttled import BaseRateLimiter, MemoryStore, RateLimiterRegistry, per_day, per_min

from salience_service.access.client import Client
from salience_service.config.quotas import PrincipalQuotaConfig, QuotasConfig
from salience_service.errors import InvalidRequest, QuotaExceeded

MOST_KEPT = 30_000
"""Counts, three for each client that has all quotas: 13 MB."""
_GCRA = "gcra"
_PERIODS = {"minute": per_min, "day": per_day}
_KINDS = (("requests", "minute"), ("rows", "minute"), ("rows", "day"))
"""The minute first: whoever is refused again and again for it does not use up the day."""


@dataclass(frozen=True)
class Quota:
    """One quota.

    Attributes:
        what: is counted. period: a word of `_PERIODS`. limit: at a time and in a period.
        limiter: which counts.
    """

    what: str
    period: str
    limit: int
    limiter: BaseRateLimiter

    def charge(self, client: Client, cost: int) -> None:
        """Counts, or refuses and counts nothing."""
        if cost > self.limit:
            raise InvalidRequest(
                f"the request asks for {cost} {self.what}; {client.name} may ask for at most "
                f"{self.limit} a {self.period}: ask for fewer methods, samples, targets or images"
            )
        found = self.limiter.limit(f"{self.what}/{self.period}/{client.key}", cost)
        if found.limited:
            seconds = found.state.retry_after
            raise QuotaExceeded(
                f"{client.name} has used up its quota of {self.limit} {self.what} a {self.period}; "
                f"come again in {math.ceil(seconds)} s",
                retry_after=seconds,
            )


class Quotas:
    """Owns the counts of all clients. Safe from any thread.

    Args:
        config: the quotas; none by default.
    """

    def __init__(self, config: QuotasConfig | None = None) -> None:
        stated = config or QuotasConfig()
        self._store = MemoryStore(options={"MAX_SIZE": MOST_KEPT})
        self._for_all = self._quotas(stated)
        self._of = {each.name: self._quotas(stated, each) for each in stated.principals}

    def charge_request(self, client: Client) -> None:
        """Counts a request.

        Raises:
            QuotaExceeded: there were too many in the last minute.
        """
        self._charge("requests", client, 1)

    def charge_rows(self, client: Client, rows: int) -> None:
        """Counts rows before they run.

        Raises:
            InvalidRequest: they are more than the client may ever ask for at a time.
            QuotaExceeded: with those before they are too many.
        """
        self._charge("rows", client, rows)

    def _charge(self, what: str, client: Client, cost: int) -> None:
        for quota in self._of.get(client.name, self._for_all):
            if quota.what == what:
                quota.charge(client, cost)

    def _quotas(
        self, stated: QuotasConfig, own: PrincipalQuotaConfig | None = None
    ) -> tuple[Quota, ...]:
        """The quotas of a principal: its own where it has one, else that of all; 0 is none."""
        found = []
        for what, period in _KINDS:
            key = f"{what}_per_{period}"
            limit = getattr(own, key, None)
            limit = getattr(stated, key) if limit is None else limit
            if limit:
                found.append(Quota(what, period, limit, self._limiter(period, limit)))
        return tuple(found)

    def _limiter(self, period: str, limit: int) -> BaseRateLimiter:
        return RateLimiterRegistry.get(_GCRA)(_PERIODS[period](limit), self._store)
