"""The `salience` command as a whole: how it ends, and what it then says."""

import sys

import pytest

from salience_client.cli import main


def ended(monkeypatch: pytest.MonkeyPatch, *words: str) -> object:
    monkeypatch.setattr(sys, "argv", ["salience", *words])
    with pytest.raises(SystemExit) as ending:
        main()
    return ending.value.code


@pytest.mark.parametrize(
    ("words", "module"),
    [
        (("health", "--address", "127.0.0.1:1"), "grpc_health.v1.health_pb2"),
        (("token", "new", "ward"), "salience_service.access.tokens"),
        (("export", "torch"), "salience_export.command"),
    ],
)
def test_a_package_that_is_missing_is_named_and_does_not_read_as_a_refusal(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    module: str,
) -> None:
    """The 1 of `salience health` says that a server does not serve, and a probe believes it."""
    monkeypatch.setitem(sys.modules, module, None)
    assert ended(monkeypatch, *words) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("salience: ")
    assert "pip install 'salience[" in said.err
    assert said.err.count("\n") == 1


def test_a_server_that_is_not_there_is_not_serving(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ended(monkeypatch, "health", "--address", "127.0.0.1:1") == 1
    assert capsys.readouterr().err.startswith("salience: ")
