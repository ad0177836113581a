"""Whom a server believes: the keys that may sign bundles, and what becomes of the unsigned."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from salience_service.errors import BundleRefused, ConfigRefused
from salience_service.signatures.key_files import key_id, read_public
from salience_service.signatures.signature import Signature

KEY_SUFFIXES = (".pem", ".pub")
"""Files in a directory of keys that are read as keys."""
MOST_KEYS = 256
REMEDY = (
    "sign it (`salience sign BUNDLE --key KEY.pem`) and trust the key ([bundles] trusted_keys), "
    'or serve it as it is: `salience serve --unsigned`, or [bundles] unsigned = "allow"'
)


@dataclass(frozen=True)
class Trust:
    """Decides on a manifest before anything in it is read.

    Attributes:
        keys: public keys that are believed, by id.
        unsigned_allowed: whether a bundle nobody trusted has signed may be used.
    """

    keys: Mapping[str, Ed25519PublicKey] = field(default_factory=dict)
    unsigned_allowed: bool = False

    def signer(self, manifest: bytes, signature: bytes | None) -> str:
        """Who signed a manifest.

        A signature by a key that is not among the trusted can be checked by nobody here, and
        whoever could put it there could as well take it away: it counts as none.

        Args:
            manifest: bytes of manifest.json.
            signature: bytes of manifest.sig, None where there is none.

        Returns:
            The id of a trusted key, or empty where nobody trusted signed and that is allowed.

        Raises:
            BundleRefused: the signature is wrong, whatever is allowed; or there is no trusted one
                and that is not allowed.
        """
        if signature is None:
            return self._unsigned("it is not signed")
        stated = Signature.read(signature)
        key = self.keys.get(stated.key_id)
        if key is None:
            return self._unsigned(f"it is signed by key {stated.key_id[:12]}, which is not trusted")
        stated.check(manifest, key)
        return stated.key_id

    def _unsigned(self, found: str) -> str:
        if not self.unsigned_allowed:
            raise BundleRefused(f"{found}: {REMEDY}")
        return ""


ANYONE = Trust(unsigned_allowed=True)
"""For one's own bundles in one's own process; a server never has it but by its configuration."""


def trust_in(places: Iterable[Path], unsigned_allowed: bool = False) -> Trust:
    """Trust in the public keys that lie in files and directories.

    Args:
        places: PEM files, or directories, of which every file that ends in .pem or .pub is read.
        unsigned_allowed: whether a bundle nobody of them has signed may be used.

    Raises:
        ConfigRefused: a file cannot be read or is no public Ed25519 key, a directory holds none,
            or there are more keys than 256.
    """
    files = [file for place in places for file in _key_files(place)]
    if len(files) > MOST_KEYS:
        raise ConfigRefused(f"{len(files)} trusted keys; at most {MOST_KEYS}")
    keys = [read_public(file) for file in files]
    return Trust({key_id(key): key for key in keys}, unsigned_allowed)


def _key_files(place: Path) -> list[Path]:
    if not place.is_dir():
        return [place]
    try:
        files = sorted(each for each in place.iterdir() if each.suffix in KEY_SUFFIXES)
    except OSError as fault:
        raise ConfigRefused(f"{place.name} cannot be read: {fault.strerror}") from fault
    if not files:
        raise ConfigRefused(f"{place.name} holds no key: put files *.pub or *.pem there")
    return files
