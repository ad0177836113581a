"""The end of a certificate is warned of in time: each day once, and anew when it is renewed."""

import logging
import shutil
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from salience_service.access.expiry import Expiry, end_in_words, expiry_watched
from salience_service.config.tls import TlsConfig
from tests.support.identity import HOST, Authority


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def _section(authority: Authority, days: int, warn_days: int = 14) -> TlsConfig:
    certificate, key = authority.issue(HOST, name="server", days=(-1, days))
    return TlsConfig(certificate=str(certificate), key=str(key), warn_days=warn_days)


class Clock:
    """A clock that is set."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC).replace(hour=1)

    def __call__(self) -> datetime:
        return self.now


def _lines(caplog: pytest.LogCaptureFixture) -> list[tuple[int, str]]:
    return [(line.levelno, line.getMessage()) for line in caplog.records]


def test_a_certificate_that_lasts_is_not_spoken_of(
    authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    Expiry(_section(authority, days=30)).look()
    assert not caplog.records


def test_fewer_days_than_stated_are_warned_of_once_a_day_and_not_at_every_look(
    authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    expiry = Expiry(_section(authority, days=10), clock)
    for hour in range(3 * 24):
        clock.now += timedelta(hours=1)
        expiry.look()
        assert len(caplog.records) == (hour + 2) // 24 + 1
    assert {level for level, _ in _lines(caplog)} == {logging.WARNING}
    assert "days from now: renew it" in _lines(caplog)[0][1]


def test_a_certificate_that_has_ended_is_an_error_even_where_no_warning_is_wanted(
    authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    expiry = Expiry(_section(authority, days=10, warn_days=0), clock)
    clock.now = expiry.ends - timedelta(seconds=1)
    expiry.look()
    assert not caplog.records
    clock.now = expiry.ends
    expiry.look()
    ((level, said),) = _lines(caplog)
    assert level == logging.ERROR
    assert "ended at" in said


def test_a_renewed_certificate_ends_the_warnings_though_nobody_connects(
    authority: Authority, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    clock = Clock()
    expiry = Expiry(_section(authority, days=5), clock)
    before = expiry.ends
    expiry.look()
    clock.now += timedelta(days=1)
    certificate, key = authority.issue(HOST, name="new", days=(-1, 90))
    shutil.copy(certificate, tmp_path / "server.pem")
    shutil.copy(key, tmp_path / "server.key")
    expiry.look()
    assert [level for level, _ in _lines(caplog)] == [logging.WARNING]
    assert expiry.ends > before + timedelta(days=80)


def test_a_watch_looks_at_its_start_and_leaves_no_thread(
    authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    def watching() -> list[threading.Thread]:
        return [each for each in threading.enumerate() if each.name == "salience-expiry"]

    with expiry_watched(_section(authority, days=2)):
        until = time.monotonic() + 10
        while not caplog.records and time.monotonic() < until:
            time.sleep(0.01)
        threads = watching()
        assert len(threads) == 1
    threads[0].join(10)
    assert "renew it" in caplog.text
    assert not watching()


def test_the_end_is_told_with_its_date_and_the_days_that_are_left() -> None:
    ends = datetime(2026, 12, 24, 10, tzinfo=UTC)
    for days, said in ((21, "21 days from now"), (1, "less than two days from now")):
        words = end_in_words(ends, ends - timedelta(days=days, hours=1))
        assert words == f"ends at 2026-12-24 10:00 UTC, {said}"
    assert end_in_words(ends, ends).startswith("ended at 2026-12-24 10:00 UTC")
