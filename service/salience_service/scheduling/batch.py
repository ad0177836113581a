"""Batches: what a lane runs at a time, and which rows of whom share one."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

from salience_service.runtime.session import Execution
from salience_service.scheduling.ticket import CallTicket, RowTicket, Ticket
from salience_service.scheduling.workload import Workload


@dataclass(frozen=True)
class Share:
    """Rows start to stop of a ticket, in one batch."""

    ticket: Ticket
    start: int
    stop: int

    @property
    def rows(self) -> int:
        """How many they are."""
        return self.stop - self.start


@dataclass(frozen=True)
class Batch:
    """Rows that one graph scores together, of maps of one shape; or one call.

    Attributes:
        shares: whose rows it holds, in their order, at least one; a call is one row alone.
        execution: where it runs, and the word to end it.
    """

    shares: Sequence[Share]
    execution: Execution

    @property
    def tickets(self) -> list[Ticket]:
        """Whose shares they are, in their order."""
        return [share.ticket for share in self.shares]

    @property
    def rows(self) -> int:
        """Of all shares."""
        return sum(share.rows for share in self.shares)

    @property
    def alone(self) -> set[Hashable]:
        """What no other call may share with it while it runs: nothing, or one name."""
        first = self.shares[0].ticket
        alone = first.alone if isinstance(first, CallTicket) else None
        return set() if alone is None else {alone}

    @property
    def dead(self) -> bool:
        """Whether nobody waits for any of it any more."""
        return all(ticket.dead for ticket in self.tickets)

    def take(self) -> None:
        """Marks its rows as taken, in their tickets."""
        for share in self.shares:
            share.ticket.taken = share.stop

    def run(self) -> Callable[[], None]:
        """Runs it; what it returns hands the results over."""
        first = self.shares[0].ticket
        if isinstance(first, CallTicket):
            return first.run(self.execution)
        parts = [(each, each.ticket) for each in self.shares if isinstance(each.ticket, RowTicket)]
        spans = [ticket.span.part(share.start, share.stop) for share, ticket in parts]
        logits = parts[0][1].graph.score(spans, self.execution)

        def deliver() -> None:
            offset = 0
            for share, ticket in parts:
                ticket.store(share.start, logits[offset : offset + share.rows])
                offset += share.rows

        return deliver

    def bill(self, began: float, ended: float, is_done: bool) -> None:
        """Bills each explanation its share of the time; rows only where it was done."""
        total = self.rows
        for share in self.shares:
            account = share.ticket.account
            account.wait(share.ticket.waiting_since, began, ended)
            account.charge(share.rows if is_done else 0, (ended - began) * share.rows / total)
            share.ticket.waiting_since = ended

    def counted(self, workload: Workload, seconds: float, is_done: bool) -> Workload:
        """The workload with this one more, or with its time alone where it was not done."""
        first = self.shares[0].ticket
        dead = sum(share.rows for share in self.shares if share.ticket.control.dead)
        timed = workload.with_time(first.work, seconds, seconds * dead / self.rows)
        if not is_done:
            return timed
        if isinstance(first, RowTicket):
            return timed.with_batch(self.rows, first.batch_size)
        return timed.with_call()


def share_out(order: Sequence[Ticket]) -> list[Share]:
    """Rows for the batch of the first in order: shares by priority; what the small leave goes to
    the large.

    An explanation may have several tickets waiting; together they take one share, in turn. Shares
    are rounded up for who is served before, so that the last may get none; never whose turn it
    is, who would stay the next in turn and hold up everybody.
    """
    first = order[0]
    if not isinstance(first, RowTicket):
        return [Share(first, 0, 1)]
    guests: dict[int, list[RowTicket]] = {}
    for ticket in order:
        if isinstance(ticket, RowTicket) and ticket.key == first.key:
            guests.setdefault(id(ticket.account), []).append(ticket)
    room, shares = first.batch_size, list[Share]()
    seated = sorted([*guests.values()][:room], key=_claim)
    weights = sum(tickets[0].account.weight for tickets in seated)
    owed = 1
    for tickets in seated:
        account = tickets[0].account
        if account is first.account:
            owed = 0
        most = min(-(-room * account.weight // weights), room - owed)
        weights -= account.weight
        for ticket in tickets:
            rows = min(ticket.size - ticket.taken, most)
            shares.append(Share(ticket, ticket.taken, ticket.taken + rows))
            most, room = most - rows, room - rows
    return [share for share in shares if share.rows]


def _claim(tickets: Sequence[RowTicket]) -> float:
    """Rows that an explanation has waiting, for its weight: who claims least is served whole."""
    return sum(ticket.size - ticket.taken for ticket in tickets) / tickets[0].account.weight
