"""The end of the server's certificate: when it is, and a warning each day once it is near."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta

from salience_service.access.certificates import watched_certificates
from salience_service.config.tls import TlsConfig

_PAUSE_SECONDS = 3600.0
"""Between two looks: a certificate that is renewed while nobody connects is seen within an hour."""

_log = logging.getLogger(__name__)


class Expiry:
    """Owns on which day the log was last warned. Looked at from one thread, read from any.

    Args:
        config: whose certificate, and how many days before its end the log warns.
        now: the clock, UTC.

    Raises:
        ConfigRefused: the certificate cannot be used.
    """

    def __init__(
        self, config: TlsConfig, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._files, self._days, self._now = watched_certificates(config), config.warn_days, now
        self._warned: date | None = None

    @property
    def ends(self) -> datetime:
        """When the certificate ends that a new connection is shown."""
        return self._files.value.expires

    def look(self) -> None:
        """Warns where the end is near; on one day (UTC) once, however often it is called."""
        ends, now = self.ends, self._now()
        if self._warned == now.date() or not is_near(ends, now, self._days):
            return
        self._warned = now.date()
        level = logging.ERROR if now >= ends else logging.WARNING
        _log.log(level, "the TLS certificate %s: renew it", end_in_words(ends, now))


@contextmanager
def expiry_watched(config: TlsConfig) -> Iterator[Expiry]:
    """Looks at a certificate's end now and again, from a thread of its own, while the block lasts.

    Raises:
        ConfigRefused: as `Expiry`.
    """
    expiry, stopped = Expiry(config), threading.Event()

    def watch() -> None:
        expiry.look()
        while not stopped.wait(_PAUSE_SECONDS):
            expiry.look()

    threading.Thread(target=watch, name="salience-expiry", daemon=True).start()
    try:
        yield expiry
    finally:
        stopped.set()


def is_near(ends: datetime, now: datetime, days: int) -> bool:
    """Whether fewer than so many days are left."""
    return ends - now < timedelta(days=days) or now >= ends


def end_in_words(ends: datetime, now: datetime) -> str:
    """Such as "ends at 2026-12-24 10:00 UTC, 21 days from now"."""
    at = f"{ends:%Y-%m-%d %H:%M} UTC"
    if now >= ends:
        return f"ended at {at}, and callers trust it no more"
    days = (ends - now).days
    return f"ends at {at}, {f'{days} days' if days > 1 else 'less than two days'} from now"
