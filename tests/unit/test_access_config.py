"""`[tls]` and `[access]`: what contradicts itself, or would put a secret at risk, is refused."""

from pathlib import Path

import pytest

from salience_service.config import ServeConfig, read_config
from salience_service.config.access import AccessConfig, JwtConfig, PrincipalConfig
from salience_service.config.tls import TlsConfig
from salience_service.errors import ConfigRefused

TLS = '[tls]\ncertificate = "server.pem"\nkey = "server.key"\n'
TOKENS = '[access]\ntokens_file = "tokens"\n[[access.principals]]\nname = "pacs"\n'
ANYWHERE = 'address = "0.0.0.0:50051"\n'


def _read(directory: Path, text: str) -> ServeConfig:
    path = directory / "serve.toml"
    path.write_text(text, "utf-8")
    return read_config(path)


def test_the_sections_are_read_from_toml(tmp_path: Path) -> None:
    config = _read(
        tmp_path,
        ANYWHERE
        + TLS
        + 'client_ca = "ca.pem"\n[access]\ntokens_file = "tokens"\n'
        + '[access.jwt]\nissuer = "i"\naudience = "a"\nkeys_file = "k"\nalgorithms = ["ES256"]\n'
        + '[[access.principals]]\nname = "pacs"\ncertificates = ["CN:pacs"]\nmodels = ["lung-*"]\n'
        + '[[access.principals]]\nname = "boss"\ncalls = ["admin"]\njwt_subjects = ["b"]\n',
    )
    assert config.tls is not None
    assert config.tls.client_ca == "ca.pem"
    assert config.access is not None
    pacs, boss = config.access.principals
    assert (pacs.models, pacs.methods) == (("lung-*",), ("*",))
    assert pacs.calls == ("describe", "explain", "infer")
    assert (boss.calls, boss.jwt_subjects) == (("admin",), ("b",))


@pytest.mark.parametrize("section", [TlsConfig, AccessConfig, JwtConfig, PrincipalConfig])
def test_every_key_is_documented(section: type[TlsConfig]) -> None:
    assert all(key.description for key in section.model_fields.values())


def test_tls_lets_the_server_leave_this_machine_without_the_flag(tmp_path: Path) -> None:
    assert _read(tmp_path, ANYWHERE + TLS).address == "0.0.0.0:50051"
    with pytest.raises(ConfigRefused, match=r"give \[tls\]"):
        _read(tmp_path, ANYWHERE)
    assert _read(tmp_path, ANYWHERE + "insecure = true\n").insecure


def test_tokens_never_leave_this_machine_unencrypted_whatever_the_flag_says(tmp_path: Path) -> None:
    for flag in ("", "insecure = true\n"):
        with pytest.raises(ConfigRefused, match="would have the tokens"):
            _read(tmp_path, ANYWHERE + flag + TOKENS)
    assert _read(tmp_path, TOKENS).access is not None
    assert _read(tmp_path, ANYWHERE + TLS + TOKENS).access is not None


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[access]\n", "principals"),
        ("[access]\nprincipals = []\n", "principals"),
        ('[[access.principals]]\nname = "a"\n', "nobody could show"),
        (TOKENS + '[[access.principals]]\nname = "pacs"\n', "'pacs' is there twice"),
        (TOKENS + 'certificates = ["CN:a"]\n', r"need tls\.client_ca"),
        (TLS + TOKENS + 'certificates = ["CN:a"]\n', r"need tls\.client_ca"),
        (TOKENS + 'certificates = ["pacs"]\n', "write CN:"),
        (TOKENS + 'certificates = ["IP:10.0.0.1"]\n', "write CN:"),
        (TOKENS + 'jwt_subjects = ["a"]\n', r"needs access\.jwt"),
        (TOKENS + 'calls = ["everything"]\n', "describe"),
        (TOKENS + 'models = [""]\n', "models"),
        (TOKENS + 'token = "secret"\n', r"unknown key 'access.principals\[0\].token'"),
        (TOKENS.replace("pacs", "anonymous"), "choose another"),
        (TOKENS.replace("pacs", "a b"), "name"),
        ('[tls]\ncertificate = "a"\n', "key"),
        (
            TOKENS
            + '[access.jwt]\nissuer = "i"\naudience = "a"\nkeys_file = "k"\nalgorithms = []\n',
            "algorithms",
        ),
        (
            TOKENS.replace("[[", '[access.jwt]\nissuer = ""\naudience = "a"\nkeys_file = "k"\n[['),
            "issuer",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(ConfigRefused, match=why):
        _read(tmp_path, text)
