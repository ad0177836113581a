"""Tokens that an identity provider signs (JWT, RFC 7519), as RFC 8725 wants them checked."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from jwt.utils import base64url_decode

from salience_service.access.files import read_named
from salience_service.config.access import JwtConfig
from salience_service.errors import ConfigRefused
from salience_service.nesting import not_deep

PublicKey = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey
LEAST_RSA_BITS = 2048
"""NIST SP 800-131A: shorter keys no longer protect."""
MOST_KEYS = 32
_UNREADABLE = (jwt.PyJWTError, TypeError, ValueError, OverflowError)
"""What PyJWT raises; beside its own errors, Python's of what is in a token."""


@dataclass(frozen=True)
class IssuerKeys:
    """An issuer's public keys.

    Attributes:
        named: by their key id. unnamed: without one.
    """

    named: Mapping[str, PublicKey]
    unnamed: Sequence[PublicKey]

    def candidates(self, key_id: str | None) -> Sequence[PublicKey]:
        """The keys that may have signed a token; at most `MOST_KEYS`."""
        if key_id is not None and key_id in self.named:
            return [self.named[key_id]]
        if key_id is None and len(self.named) == 1:
            return [*self.named.values(), *self.unnamed]
        return self.unnamed


def subject_of(token: str, keys: IssuerKeys, config: JwtConfig) -> str | None:
    """Who a token says calls; None unless it is signed, for us, in force, and says it in text."""
    try:
        for part in token.split(".")[:2]:  # The third is the signature.
            not_deep(base64url_decode(part))
        candidates = keys.candidates(_key_id(token))
    except _UNREADABLE:
        return None
    for key in candidates:
        try:
            claims = jwt.decode(
                token,
                key,
                algorithms=list(config.algorithms),
                issuer=config.issuer,
                audience=config.audience,
                leeway=config.leeway_seconds,
                options={"require": ["exp", "iss", "aud", config.claim]},
            )
        except _UNREADABLE:
            continue
        subject = claims[config.claim]
        return subject if isinstance(subject, str) else None
    return None


def read_keys(path: Path) -> IssuerKeys:
    """The keys of a JWKS or PEM file.

    Raises:
        ConfigRefused: it holds none, too many, a private one, a secret, or one too short.
    """
    data = read_named(path, "access.jwt.keys_file")
    keys = _of_pem(data) if b"-----BEGIN" in data else _of_jwks(data)
    if not keys.named and not keys.unnamed:
        raise _refused("there is no public key for signatures in it")
    if len(keys.named) + len(keys.unnamed) > MOST_KEYS:
        raise _refused(f"there are more than {MOST_KEYS} keys in it")
    for key in (*keys.named.values(), *keys.unnamed):
        if isinstance(key, RSAPublicKey) and key.key_size < LEAST_RSA_BITS:
            raise _refused(f"an RSA key of {key.key_size} bits: at least {LEAST_RSA_BITS}")
    return keys


def _key_id(token: str) -> str | None:
    key_id = jwt.get_unverified_header(token).get("kid")
    return key_id if isinstance(key_id, str) else None


def _of_pem(data: bytes) -> IssuerKeys:
    blocks = [b"-----BEGIN" + block for block in data.split(b"-----BEGIN")[1:]]
    if any(b"PRIVATE" in block.splitlines()[0] for block in blocks):
        raise _refused("there is a private key in it: the server needs the public half alone")
    try:
        return IssuerKeys({}, [_public(load_pem_public_key(block)) for block in blocks])
    except (ValueError, UnsupportedAlgorithm) as fault:
        raise _refused("a public key in PEM is damaged or of an unknown kind") from fault


def _of_jwks(data: bytes) -> IssuerKeys:
    try:
        listed = json.loads(not_deep(data))["keys"]
        entries = [entry for entry in listed if entry.get("use", "sig") == "sig"]
        if any("d" in entry or entry["kty"] == "oct" for entry in entries):
            raise _refused("there is a private key or a shared secret in it: give public keys")
        keys = [(entry.get("kid"), _public(jwt.PyJWK(entry).key)) for entry in entries]
    except (ValueError, KeyError, TypeError, AttributeError, jwt.PyJWTError) as fault:
        raise _refused("it is neither PEM nor a JWKS of public keys") from fault
    named = {key_id: key for key_id, key in keys if isinstance(key_id, str)}
    return IssuerKeys(named, [key for key_id, key in keys if not isinstance(key_id, str)])


def _public(key: object) -> PublicKey:
    if not isinstance(key, RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey):
        raise ValueError("not a public key for the signatures accepted")
    return key


def _refused(why: str) -> ConfigRefused:
    return ConfigRefused(f"access.jwt.keys_file: {why}")
