"""The server's certificate with its key, and the CAs of its callers, checked before use."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from salience_service.access.files import read_named
from salience_service.access.watched import Watched
from salience_service.config.tls import TlsConfig
from salience_service.errors import ConfigRefused


@dataclass(frozen=True)
class Certificates:
    """What a TLS port is made of, in PEM; the pair fits and holds at the time it was read.

    Attributes:
        chain: the server's certificate and what leads to its CA. key: its private key.
        client_ca: the CAs of callers, or None where callers need no certificate.
        expires: when the server's certificate ends.
    """

    chain: bytes
    key: bytes
    client_ca: bytes | None
    expires: datetime


def paths_of(config: TlsConfig) -> tuple[Path, ...]:
    """The files of a TLS section."""
    return tuple(Path(name) for name in (config.certificate, config.key, config.client_ca) if name)


def read_certificates(config: TlsConfig) -> Certificates:
    """The files of a TLS section, checked.

    Raises:
        ConfigRefused: a file cannot be read or is not PEM; the key is not the certificate's;
            the certificate has expired or does not hold yet; no client CA holds.
    """
    chain = read_named(Path(config.certificate), "tls.certificate")
    key = read_named(Path(config.key), "tls.key")
    leaf = _certificates(chain, "tls.certificate")[0]
    if _spoken(leaf.public_key()) != _spoken(_private_key(key).public_key()):
        raise ConfigRefused(
            "tls.key is not the key of the first certificate in tls.certificate: give the pair "
            "that belongs together, the server's own certificate first"
        )
    _refuse_out_of_time(leaf)
    client_ca = read_named(Path(config.client_ca), "tls.client_ca") if config.client_ca else None
    if client_ca is not None:
        _refuse_all_expired(_certificates(client_ca, "tls.client_ca"))
    return Certificates(chain, key, client_ca, leaf.not_valid_after_utc)


def watched_certificates(config: TlsConfig) -> Watched[Certificates]:
    """The same, read again when the files change.

    Raises:
        ConfigRefused: as `read_certificates`, at the start.
    """
    return Watched("the TLS certificate", paths_of(config), lambda: read_certificates(config))


def _certificates(data: bytes, key: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(data)
    except ValueError as fault:
        raise ConfigRefused(f"{key}: there is no certificate in PEM, or a damaged one") from fault


def _private_key(data: bytes) -> PrivateKeyTypes:
    try:
        return load_pem_private_key(data, password=None)
    except TypeError as fault:
        raise ConfigRefused("tls.key has a passphrase: give it without one") from fault
    except (ValueError, UnsupportedAlgorithm) as fault:
        raise ConfigRefused("tls.key: there is no private key in PEM, or a damaged one") from fault


def _spoken(key: PublicKeyTypes) -> bytes:
    """A public key as bytes that can be compared."""
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _refuse_out_of_time(leaf: x509.Certificate) -> None:
    now = datetime.now(UTC)
    if now > leaf.not_valid_after_utc:
        raise ConfigRefused(
            f"tls.certificate expired at {leaf.not_valid_after_utc:%Y-%m-%d %H:%M} UTC: renew it"
        )
    if now < leaf.not_valid_before_utc:
        raise ConfigRefused(
            f"tls.certificate holds only from {leaf.not_valid_before_utc:%Y-%m-%d %H:%M} UTC on: "
            "is this machine's clock right?"
        )


def _refuse_all_expired(authorities: list[x509.Certificate]) -> None:
    now = datetime.now(UTC)
    if all(now > authority.not_valid_after_utc for authority in authorities):
        raise ConfigRefused("tls.client_ca: every certificate in it has expired: renew them")
