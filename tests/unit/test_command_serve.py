"""`salience serve` leaves its paths to the service, which refuses with a code that may pass."""

import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from salience_client.commands import app
from salience_service.life.exit_codes import REFUSED


def test_what_cannot_be_read_or_is_of_another_kind_is_no_wrong_usage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root may read all, so the system's answer is played."""
    monkeypatch.setattr(os, "access", lambda *_: False)
    done = CliRunner().invoke(app, ["serve", __file__, "--config", str(tmp_path)])
    assert done.exit_code == REFUSED, done.output
    assert str(done.exception) == f"{tmp_path.name} cannot be read: Is a directory"
