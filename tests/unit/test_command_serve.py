"""`salience serve` leaves its paths to the service, which refuses with a code that may pass."""

import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from salience_client.commands import app
from salience_client.commands.serve import serve
from salience_service.life import exit_codes
from salience_service.life.exit_codes import REFUSED

INTERRUPTED = 130
"""Of typer, for a KeyboardInterrupt: 128 + SIGINT, as shells have it."""


def test_what_cannot_be_read_or_is_of_another_kind_is_no_wrong_usage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root may read all, so the system's answer is played."""
    monkeypatch.setattr(os, "access", lambda *_: False)
    done = CliRunner().invoke(app, ["serve", __file__, "--config", str(tmp_path)])
    assert done.exit_code == REFUSED, done.output
    assert str(done.exception) == f"{tmp_path.name} cannot be read: Is a directory"


def test_the_help_has_every_code_with_which_a_server_ends() -> None:
    codes = [code for code in vars(exit_codes).values() if isinstance(code, int)]
    told = " ".join((serve.__doc__ or "").split()).partition("Exit codes: ")[2]
    stated = {int(each.split()[0]) for each in told.split(", ")}
    assert stated == {*codes, INTERRUPTED}
