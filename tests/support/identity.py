"""Certificates and signed tokens made on the spot, in the files that a configuration names."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import jwt
import trustme
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from salience_client import Tls
from salience_service.access.tokens import NewToken, new_token

ISSUER, AUDIENCE = "https://login.hospital.example", "salience"
HOST = "127.0.0.1"


@dataclass
class Authority:
    """A CA with a directory for what it issues."""

    directory: Path
    ca: trustme.CA = field(default_factory=trustme.CA)

    def __post_init__(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        self.ca.cert_pem.write_to_path(str(self.file))

    @property
    def file(self) -> Path:
        return self.directory / "ca.pem"

    def tls_section(self, name: str = "server", **more: object) -> dict[str, object]:
        """`[tls]` of a server that has a certificate for `HOST`."""
        certificate, key = self.issue(HOST, name=name)
        return {"certificate": str(certificate), "key": str(key), **more}

    def issue(
        self,
        *names: str,
        name: str,
        common_name: str | None = None,
        days: tuple[int, int] = (-1, 1),
    ) -> tuple[Path, Path]:
        """Writes NAME.pem and NAME.key: a certificate for `names`, in force from day to day."""
        now = datetime.now(UTC)
        made = self.ca.issue_cert(
            *names,
            common_name=common_name,
            not_before=now + timedelta(days=days[0]),
            not_after=now + timedelta(days=days[1]),
        )
        certificate, key = self.directory / f"{name}.pem", self.directory / f"{name}.key"
        certificate.write_bytes(b"".join(blob.bytes() for blob in made.cert_chain_pems))
        key.write_bytes(made.private_key_pem.bytes())
        return certificate, key

    def client(self, *names: str, common_name: str | None = None) -> Tls:
        """A connection that trusts this CA; with a certificate of it, where names are given."""
        if not names and common_name is None:
            return Tls(ca=self.file)
        certificate, key = self.issue(*names, name="client", common_name=common_name)
        return Tls(self.file, certificate, key)


class Issuer:
    """An identity provider with one key."""

    def __init__(self, key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | None = None) -> None:
        self.key = key or ec.generate_private_key(ec.SECP256R1())
        self.algorithm = "RS256" if isinstance(self.key, rsa.RSAPrivateKey) else "ES256"

    def pem(self) -> bytes:
        return self.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def jwks(self, key_id: str = "1") -> str:
        kind = jwt.get_algorithm_by_name(self.algorithm)
        entry = json.loads(kind.to_jwk(self.key.public_key()))  # type: ignore[attr-defined]
        return json.dumps({"keys": [entry | {"kid": key_id, "use": "sig", "alg": self.algorithm}]})

    def token(self, subject: object, key_id: str | None = None, **changes: object) -> str:
        """A good token, but for `changes` of its claims; None takes a claim out."""
        now = datetime.now(UTC)
        claims: Mapping[str, object] = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": subject,
            "exp": now + timedelta(minutes=5),
        } | changes
        stated = {name: value for name, value in claims.items() if value is not None}
        headers = {} if key_id is None else {"kid": key_id}
        return jwt.encode(stated, self.key, self.algorithm, headers)


def token_file(path: Path, *names: str) -> dict[str, str]:
    """Writes a token for each principal; tells them by name."""
    made: dict[str, NewToken] = {name: new_token(name) for name in names}
    path.write_text("\n".join(token.line for token in made.values()), "utf-8")
    return {name: token.secret for name, token in made.items()}
