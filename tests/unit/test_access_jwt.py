"""Signed tokens: only those of the issuer, for us, in force; RFC 8725's traps are closed."""

import base64
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from salience_service.access.jwt_tokens import IssuerKeys, read_keys, subject_of
from salience_service.config.access import JwtConfig
from salience_service.errors import ConfigRefused
from tests.support.identity import AUDIENCE, ISSUER, Issuer

CONFIG = JwtConfig(issuer=ISSUER, audience=AUDIENCE, keys_file="keys")


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture
def keys(issuer: Issuer) -> IssuerKeys:
    return IssuerKeys({}, [issuer.key.public_key()])


def _bare(header: dict[str, object], claims: dict[str, object], signature: bytes = b"") -> str:
    parts = (json.dumps(header).encode(), json.dumps(claims).encode(), signature)
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


def test_a_good_token_tells_its_subject(issuer: Issuer, keys: IssuerKeys) -> None:
    assert subject_of(issuer.token("dr-no"), keys, CONFIG) == "dr-no"
    assert subject_of(issuer.token("x", aud=["a", AUDIENCE]), keys, CONFIG) == "x"


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "https://elsewhere.example"},
        {"aud": "another-service"},
        {"aud": None},
        {"iss": None},
        {"sub": None},
        {"exp": None},
        {"exp": timedelta(minutes=-5)},
        {"exp": "soon"},
        {"nbf": timedelta(minutes=5)},
        {"iat": timedelta(minutes=5)},
    ],
)
def test_a_token_of_another_issuer_or_audience_or_time_tells_nothing(
    issuer: Issuer, keys: IssuerKeys, changes: dict[str, object]
) -> None:
    said = {
        claim: datetime.now(UTC) + value if isinstance(value, timedelta) else value
        for claim, value in changes.items()
    }
    assert subject_of(issuer.token("dr-no", **said), keys, CONFIG) is None


def test_clocks_may_differ_by_the_leeway_and_no_more(issuer: Issuer, keys: IssuerKeys) -> None:
    late = issuer.token("dr-no", exp=datetime.now(UTC) - timedelta(seconds=20))
    assert subject_of(late, keys, CONFIG) == "dr-no"
    strict = CONFIG.model_copy(update={"leeway_seconds": 5})
    assert subject_of(late, keys, strict) is None


def test_a_token_signed_by_another_key_tells_nothing(keys: IssuerKeys) -> None:
    assert subject_of(Issuer().token("dr-no"), keys, CONFIG) is None


def test_a_token_without_a_signature_tells_nothing(keys: IssuerKeys) -> None:
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "dr-no", "exp": 2**33}
    for algorithm in ("none", "None", "NONE", "ES256", ""):
        assert subject_of(_bare({"alg": algorithm, "typ": "JWT"}, claims), keys, CONFIG) is None


def test_the_public_key_is_no_secret_to_sign_with(issuer: Issuer, keys: IssuerKeys) -> None:
    """RFC 8725, 2.1: a verifier that let the token choose would take HMAC of the public key."""
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "dr-no", "exp": 2**33}
    secret = base64.b64encode(issuer.pem())  # PyJWT itself refuses to sign with a bare PEM key.
    assert subject_of(jwt.encode(claims, secret, "HS256"), keys, CONFIG) is None


def test_a_signature_that_is_not_in_the_list_tells_nothing(
    issuer: Issuer, keys: IssuerKeys
) -> None:
    only_rsa = CONFIG.model_copy(update={"algorithms": ("RS256",)})
    assert subject_of(issuer.token("dr-no"), keys, only_rsa) is None


@pytest.mark.parametrize("text", ["..", "a.b.c", "é.é.é", "=.=.=", "e30.e30.e30", "\x00.\x00.\x00"])
def test_what_is_no_token_tells_nothing(keys: IssuerKeys, text: str) -> None:
    assert subject_of(text, keys, CONFIG) is None


@pytest.mark.parametrize("bracket", [b"[", b'{"a":'])
def test_json_as_deep_as_a_token_can_hold_is_not_read_at_all(
    issuer: Issuer, keys: IssuerKeys, bracket: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = base64.urlsafe_b64encode(bracket * 6000).decode()
    header, _, signature = issuer.token("dr-no").split(".")
    monkeypatch.setattr(jwt, "get_unverified_header", lambda _: pytest.fail("it was read"))
    for token in (f"{deep}.{deep}.{signature}", f"{header}.{deep}.{signature}"):
        assert subject_of(token, keys, CONFIG) is None


def test_a_subject_that_is_no_text_is_nobody(issuer: Issuer, keys: IssuerKeys) -> None:
    by_roles = CONFIG.model_copy(update={"claim": "roles"})
    assert subject_of(issuer.token("x", roles=["admin"]), keys, by_roles) is None
    assert subject_of(issuer.token("x", roles="admin"), keys, by_roles) == "admin"


def test_keys_are_read_from_pem_and_chosen_by_id_from_a_jwks(
    tmp_path: Path, issuer: Issuer
) -> None:
    (tmp_path / "keys.pem").write_bytes(issuer.pem() + Issuer().pem())
    assert subject_of(issuer.token("a"), read_keys(tmp_path / "keys.pem"), CONFIG) == "a"
    (tmp_path / "keys.json").write_text(issuer.jwks("2026"), "utf-8")
    keys = read_keys(tmp_path / "keys.json")
    assert subject_of(issuer.token("a", key_id="2026"), keys, CONFIG) == "a"
    assert subject_of(issuer.token("a"), keys, CONFIG) == "a"
    assert subject_of(issuer.token("a", key_id="2025"), keys, CONFIG) is None


def test_an_rsa_key_works_too(tmp_path: Path) -> None:
    issuer = Issuer(rsa.generate_private_key(65537, 2048))
    (tmp_path / "keys").write_text(issuer.jwks(), "utf-8")
    assert subject_of(issuer.token("a"), read_keys(tmp_path / "keys"), CONFIG) == "a"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "neither PEM nor a JWKS"),
        (b"{}", "neither PEM nor a JWKS"),
        (b'{"keys": []}', "no public key"),
        (b'{"keys": ["x"]}', "neither PEM nor a JWKS"),
        (b'{"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}', "shared secret"),
        (b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "damaged"),
        (Issuer(rsa.generate_private_key(65537, 1024)).pem(), "1024 bits"),
        (
            ec.generate_private_key(ec.SECP256R1()).private_bytes(
                Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
            ),
            "private key",
        ),
        (b"".join(Issuer().pem() for _ in range(33)), "more than 32"),
    ],
)
def test_a_file_without_good_public_keys_is_refused(
    tmp_path: Path, content: bytes, why: str
) -> None:
    (tmp_path / "keys").write_bytes(content)
    with pytest.raises(ConfigRefused, match=why):
        read_keys(tmp_path / "keys")


@pytest.mark.parametrize("algorithm", ["none", "HS256", "RS1"])
def test_the_configuration_knows_no_signature_without_a_public_key(algorithm: str) -> None:
    with pytest.raises(ValueError, match="algorithms"):
        JwtConfig(issuer="i", audience="a", keys_file="k", algorithms=(algorithm,))  # type: ignore[arg-type]
