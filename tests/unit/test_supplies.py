"""What runs out is told at each scrape: the certificate's time, the room for the audit."""

import shutil
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from salience_service.access.expiry import Expiry
from salience_service.config.tls import TlsConfig
from salience_service.telemetry.supplies import Supplies
from tests.support.identity import HOST, Authority

EXPIRY = "salience_tls_certificate_expiry_timestamp_seconds"
FREE = "salience_audit_free_bytes"


def _registry(supplies: Supplies) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(supplies)
    return registry


def test_the_end_of_the_certificate_is_told_and_a_renewed_ones_at_the_next_scrape(
    tmp_path: Path,
) -> None:
    authority = Authority(tmp_path)
    certificate, key = authority.issue(HOST, name="server", days=(-1, 5))
    expiry = Expiry(TlsConfig(certificate=str(certificate), key=str(key)))
    told = _registry(Supplies(expiry))
    before = told.get_sample_value(EXPIRY)
    assert before == expiry.ends.timestamp()
    authority.issue(HOST, name="server", days=(-1, 95))
    after = told.get_sample_value(EXPIRY)
    assert after is not None
    assert after - before == pytest.approx(90 * 24 * 3600, abs=60)


def test_the_room_for_the_audit_is_what_this_user_may_write(tmp_path: Path) -> None:
    free = _registry(Supplies(trail=tmp_path)).get_sample_value(FREE)
    # Others write there too: within a gigabyte of a second look.
    assert free == pytest.approx(shutil.disk_usage(tmp_path).free, abs=2**30)


def test_a_directory_that_cannot_be_reached_has_no_figure_and_ends_no_scrape(
    tmp_path: Path,
) -> None:
    told = _registry(Supplies(trail=tmp_path / "none"))
    assert told.get_sample_value(FREE) is None
    assert list(told.collect()) == []


def test_without_tls_and_audit_nothing_is_told() -> None:
    assert list(_registry(Supplies()).collect()) == []
