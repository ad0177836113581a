"""Admission: how many explanations, rows and bytes a server bears at a time."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from salience_service.errors import InvalidRequest, Overloaded

MOST_ROWS = 400_000
"""64 explanations by RISE of 6,000 masks, or five by SS-CAM on a ResNet-50's 2,048 channels."""
MOST_BYTES = 3 * 2**30
"""64 explanations by RISE with 1,000 classes at a time, or one of a photograph of 50 megapixels
with maps drawn over it (`footprint.py` counts)."""


@dataclass(frozen=True)
class Load:
    """What explanations take while they run; of one, of all, or the most that is borne.

    Attributes:
        explanations: how many. rows: that they ask the device for. bytes: that they hold.
    """

    explanations: int = 1
    rows: int = 0
    bytes: int = 0

    def __add__(self, other: "Load") -> "Load":
        return Load(
            self.explanations + other.explanations,
            self.rows + other.rows,
            self.bytes + other.bytes,
        )

    def __sub__(self, other: "Load") -> "Load":
        return Load(
            self.explanations - other.explanations,
            self.rows - other.rows,
            self.bytes - other.bytes,
        )


class Admission:
    """Owns the count of what explanations take; refuses at the door what would go beyond.

    Safe from any thread. Nothing waits here: who is refused comes again.

    Args:
        most: what is borne at a time.
        rows_each: rows that one may ask for at most; None = all that are borne.
    """

    def __init__(self, most: Load, rows_each: int | None = None) -> None:
        self.most = most
        self._rows_each = most.rows if rows_each is None else min(rows_each, most.rows)
        self._now = Load(0)
        self._lock = threading.Lock()

    @property
    def now(self) -> Load:
        """What those that were let in take."""
        with self._lock:
            return self._now

    @contextmanager
    def held(self, load: Load) -> Iterator[Load]:
        """Counts a load while the block lasts, however it ends; gives what others take beside it.

        Raises:
            InvalidRequest: the load alone is more than is ever borne.
            Overloaded: with what is borne now it would be too much.
        """
        beside = self._enter(load)
        try:
            yield beside
        finally:
            with self._lock:
                self._now -= load

    def _enter(self, load: Load) -> Load:
        self._refuse_impossible(load)
        with self._lock:
            beside = self._now
            self._refuse_crowded(load, beside)
            self._now = beside + load
        return beside

    def _refuse_impossible(self, load: Load) -> None:
        if load.rows > self._rows_each:
            raise InvalidRequest(
                f"the request asks for {load.rows} rows; this server takes at most "
                f"{self._rows_each} a request: ask for fewer methods, samples, targets or images"
            )
        if load.bytes > self.most.bytes:
            raise InvalidRequest(
                f"the request would hold {load.bytes} bytes while it runs; this server takes at "
                f"most {self.most.bytes} a request: send a smaller image, ask for maps in the "
                "input geometry, or for fewer rows or targets"
            )

    def _refuse_crowded(self, load: Load, beside: Load) -> None:
        most, total = self.most, beside + load
        if total.explanations > most.explanations:
            raise Overloaded(
                f"{beside.explanations} explanations are running, the limit; try again later"
            )
        if total.rows > most.rows:
            raise Overloaded(
                f"running explanations asked for {beside.rows} rows and this one asks for "
                f"{load.rows}, together more than the limit of {most.rows}; try again later"
            )
        if total.bytes > most.bytes:
            raise Overloaded(
                f"running explanations hold {beside.bytes} bytes and this one would hold "
                f"{load.bytes}, together more than the limit of {most.bytes}; try again later"
            )
