"""The words of the command line that say who asks, and `salience token`."""

import traceback
from pathlib import Path

import pytest

typer = pytest.importorskip("typer")
from typer.testing import CliRunner  # noqa: E402

from salience_client import InvalidRequest, Tls  # noqa: E402
from salience_client.commands import app  # noqa: E402
from salience_client.commands.identity import Identity, identity_of  # noqa: E402
from salience_service.access.tokens import read_tokens  # noqa: E402
from tests.support.identity import Authority, token_file  # noqa: E402
from tests.support.serving import FakeEngine, serving  # noqa: E402

PRINCIPALS = [{"name": "pacs"}, {"name": "research", "models": ["public-*"]}]


def test_nothing_said_is_no_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SALIENCE_TOKEN", raising=False)
    assert identity_of(False, None, None, None, "", None) == Identity(None, None)


def test_any_word_of_tls_encrypts() -> None:
    ca, certificate, key = Path("ca"), Path("certificate"), Path("key")
    assert identity_of(True, None, None, None, "", None).tls == Tls()
    assert identity_of(False, ca, None, None, "", None).tls == Tls(ca)
    assert identity_of(False, None, certificate, key, "", None).tls == Tls(None, certificate, key)
    assert identity_of(False, None, None, None, "a.example", None).tls == Tls(
        server_name="a.example"
    )
    with pytest.raises(InvalidRequest, match="give both"):
        identity_of(False, None, certificate, None, "", None)


def test_a_token_comes_from_its_file_or_else_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "token"
    file.write_text("of-the-file\n", "utf-8")
    monkeypatch.setenv("SALIENCE_TOKEN", "of-the-environment")
    assert identity_of(False, None, None, None, "", file).token == "of-the-file"
    assert identity_of(False, None, None, None, "", None).token == "of-the-environment"


@pytest.mark.parametrize(
    "held", ["of-the-file".encode("utf-16"), bytes(range(256))], ids=["utf-16", "binary"]
)
@pytest.mark.parametrize("asked", ["health", "models"])
def test_a_token_file_that_is_no_text_is_refused_as_no_token(
    asked: str, held: bytes, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_bytes(held)
    told = CliRunner().invoke(app, [asked, "--address", "127.0.0.1:1", "--token-file", str(file)])
    assert isinstance(told.exception, InvalidRequest)
    assert "the token is none" in str(told.exception)


@pytest.mark.parametrize(
    "variables",
    [
        {"SALIENCE_TOKEN_FILE": "sal_SECRET"},
        {"SALIENCE_TLS_CERT": __file__, "SALIENCE_TLS_KEY": "MIIEvSECRET"},
        {"SALIENCE_TLS_CERT": __file__, "SALIENCE_TLS_KEY": "-----BEGIN KEY-----\nSECRET"},
    ],
    ids=["token", "key", "key-in-pem"],
)
@pytest.mark.parametrize("asked", ["health", "models"])
def test_a_secret_in_the_place_of_its_path_is_not_told(
    asked: str, variables: dict[str, str]
) -> None:
    told = CliRunner().invoke(app, [asked, "--address", "localhost:1"], env=variables)
    assert isinstance(told.exception, OSError | InvalidRequest)
    assert "SECRET" not in "".join(traceback.format_exception(told.exception)) + told.output


def test_a_new_token_is_told_once_on_stdout_and_its_line_beside_it(tmp_path: Path) -> None:
    told = CliRunner().invoke(app, ["token", "new", "pacs", "--until", "2099-12-31"])
    assert told.exit_code == 0
    secret = told.stdout.strip()
    (line,) = [text for text in told.stderr.splitlines() if text.startswith("pacs ")]
    assert secret not in told.stderr
    assert line.endswith("until:2099-12-31")
    (tmp_path / "tokens").write_text(line, "utf-8")
    assert read_tokens(tmp_path / "tokens", frozenset({"pacs"}))


def test_lines_of_new_tokens_are_added_to_a_file(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text("# ours, without an end of line", "utf-8")
    for name in ("pacs", "research"):
        told = CliRunner().invoke(app, ["token", "new", name, "--add-to", str(file)])
        assert (told.exit_code, told.stderr) == (0, "")
        assert told.stdout.strip() not in file.read_text("utf-8")
    comment, *lines = file.read_text("utf-8").splitlines()
    assert comment.startswith("#")
    assert [line.split()[0] for line in lines] == ["pacs", "research"]


def test_commands_show_certificate_and_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority(tmp_path / "ca")
    tokens = token_file(tmp_path / "tokens", "pacs", "research")
    access = {"tokens_file": str(tmp_path / "tokens"), "principals": PRINCIPALS}
    monkeypatch.setenv("SALIENCE_TOKEN", tokens["pacs"])
    monkeypatch.setenv("SALIENCE_TLS_CA", str(authority.file))
    (tmp_path / "research").write_text(tokens["research"], "utf-8")
    with serving(FakeEngine(), tls=authority.tls_section(), access=access) as server:
        at = ["--address", server.address]
        assert CliRunner().invoke(app, ["health", *at]).stdout == "SERVING\n"
        assert CliRunner().invoke(app, ["health", "tiny", *at]).stdout == "SERVING\n"
        assert "tiny" in CliRunner().invoke(app, ["models", *at]).stdout
        other = ["--token-file", str(tmp_path / "research")]
        assert "tiny" not in CliRunner().invoke(app, ["models", *at, *other]).stdout
        assert CliRunner().invoke(app, ["health", "tiny", *at, *other]).exit_code == 1


@pytest.mark.parametrize("said", ["word", "environment"])
def test_commands_know_a_server_by_a_name_that_is_not_its_address(
    said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority(tmp_path)
    certificate, key = authority.issue("salience.hospital.example", name="server")
    section = {"certificate": str(certificate), "key": str(key)}
    monkeypatch.setenv("SALIENCE_TLS_CA", str(authority.file))
    named = ["--tls-server-name", "salience.hospital.example"]
    with serving(FakeEngine(), tls=section) as server:
        at = ["--address", server.address]
        assert CliRunner().invoke(app, ["health", *at]).exit_code == 1
        wrong = ["--tls-server-name", "pacs.hospital.example"]
        assert CliRunner().invoke(app, ["health", *at, *wrong]).exit_code == 1
        if said == "environment":
            monkeypatch.setenv("SALIENCE_TLS_SERVER_NAME", named.pop())
            named.clear()
        assert CliRunner().invoke(app, ["health", *at, *named]).stdout == "SERVING\n"
        assert "tiny" in CliRunner().invoke(app, ["models", *at, *named]).stdout


def test_every_command_that_takes_a_ca_takes_a_servers_name() -> None:
    commands = typer.main.get_command(app).commands
    taken = {
        name: {word for parameter in command.params for word in parameter.opts}
        for name, command in commands.items()
    }
    by_ca = {name for name, words in taken.items() if "--tls-ca" in words}
    assert by_ca == {"explain", "models", "health", "admin"}
    assert by_ca == {name for name, words in taken.items() if "--tls-server-name" in words}
