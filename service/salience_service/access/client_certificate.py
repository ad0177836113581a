"""A caller's certificate: its names and its time, as TLS has already checked its signatures."""

from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from cryptography import x509
from cryptography.x509.oid import NameOID

_KEPT = 1024
"""Certificates remembered as read: more than gateways and people of one hospital have."""


@dataclass(frozen=True)
class ClientCertificate:
    """What a certificate says of its owner.

    Attributes:
        names: such as "CN:gateway", "DNS:gateway.hospital.example", "URI:spiffe://…".
        begins: from when it holds. ends: until when.
    """

    names: frozenset[str]
    begins: datetime
    ends: datetime

    def holds(self, now: datetime) -> bool:
        """Whether it is in force; a connection may last longer than its certificate."""
        return self.begins <= now <= self.ends


@lru_cache(_KEPT)
def client_certificate(pem: bytes) -> ClientCertificate | None:
    """The certificate of a connection; None where it cannot be read."""
    try:
        certificate = x509.load_pem_x509_certificate(pem)
        names = frozenset((*_common_name(certificate), *_alternative_names(certificate)))
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        return None
    return ClientCertificate(
        names, certificate.not_valid_before_utc, certificate.not_valid_after_utc
    )


def _common_name(certificate: x509.Certificate) -> list[str]:
    """One; a subject with several is nobody's name."""
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return [f"CN:{names[0].value!s}"] if len(names) == 1 else []


def _alternative_names(certificate: x509.Certificate) -> list[str]:
    try:
        known = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [
        *(f"DNS:{name}" for name in known.get_values_for_type(x509.DNSName)),
        *(f"URI:{name}" for name in known.get_values_for_type(x509.UniformResourceIdentifier)),
        *(f"EMAIL:{name}" for name in known.get_values_for_type(x509.RFC822Name)),
    ]
