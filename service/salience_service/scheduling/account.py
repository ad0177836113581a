"""Accounts: what each explanation has used of the devices, by which the scheduler is fair."""

from dataclasses import dataclass


@dataclass
class Account:
    """What one explanation has used of the devices; written by the scheduler, under its lock.

    Attributes:
        weight: its priority: of what is waiting, the device time it gets for another's.
        rows: rows and calls completed.
        queue_seconds: time its work waited for the device while none of it ran there.
        device_seconds: device time, shared batches counted by share.
        turn: fair queueing's virtual time, device time by weight: who has the least goes next.
        served_until: when the last of its work left the device, `time.monotonic()`.
    """

    weight: int = 1
    rows: int = 0
    queue_seconds: float = 0.0
    device_seconds: float = 0.0
    turn: float = 0.0
    served_until: float = 0.0

    def wait(self, since: float, began: float, ended: float) -> None:
        """Counts the wait of work that ran from `began` to `ended`, less that for its own."""
        self.queue_seconds += max(began - max(since, self.served_until), 0)
        self.served_until = max(self.served_until, ended)

    def charge(self, rows: int, seconds: float) -> None:
        """Bills rows that took a share of device time."""
        self.rows += rows
        self.device_seconds += seconds
        self.turn += seconds / self.weight
