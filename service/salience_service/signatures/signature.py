"""A signature over a manifest, and the small JSON file that carries it beside the manifest."""

import base64
import binascii
from typing import Annotated, Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from salience_service.errors import BundleRefused
from salience_service.signatures.key_files import key_id

SIGNATURE_NAME = "manifest.sig"
MAX_SIGNATURE_BYTES = 4096
"""The file has 250."""
PURPOSE = b"salience-bundle-manifest-v1\n"
"""Goes before the manifest into what is signed, so that no signature that a key made for another
purpose is ever one of a manifest's."""
_SIGNATURE_BYTES = 64
"""Of Ed25519 (RFC 8032, section 5.1.6)."""


class Signature(BaseModel):
    """What the file says. Valid once constructed, which proves nothing yet."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True
    )

    schema_version: Literal[1] = 1
    algorithm: Literal["ed25519"] = "ed25519"
    key_id: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """Of the key that made it, as `key_id` has it."""
    signature: Annotated[str, Field(max_length=128)]
    """Base64 of 64 bytes."""

    @classmethod
    def of(cls, manifest: bytes, key: Ed25519PrivateKey) -> "Signature":
        """Signs the bytes of a manifest.json."""
        value = base64.b64encode(key.sign(PURPOSE + manifest)).decode()
        return cls(key_id=key_id(key.public_key()), signature=value)

    @classmethod
    def read(cls, content: bytes) -> "Signature":
        """The signature in a file's bytes.

        Raises:
            BundleRefused: they are not what such a file holds.
        """
        try:
            return cls.model_validate_json(content)
        except ValidationError as fault:
            raise BundleRefused(f"{SIGNATURE_NAME} is not a signature: sign it again") from fault

    def text(self) -> str:
        """What the file holds."""
        return self.model_dump_json(indent=2) + "\n"

    def check(self, manifest: bytes, key: Ed25519PublicKey) -> None:
        """Holds the manifest against the signature.

        Args:
            manifest: bytes of manifest.json as they lie there.
            key: whose it claims to be.

        Raises:
            BundleRefused: the key did not sign these bytes.
        """
        try:
            value = base64.b64decode(self.signature, validate=True)
        except (binascii.Error, ValueError) as fault:
            raise BundleRefused(f"{SIGNATURE_NAME} is not a signature: sign it again") from fault
        try:
            if len(value) != _SIGNATURE_BYTES:
                raise InvalidSignature
            key.verify(value, PURPOSE + manifest)
        except InvalidSignature as fault:
            raise BundleRefused(
                f"its signature by key {self.key_id[:12]} is wrong: the manifest is not the one "
                "that was signed; copy the bundle again from where it was signed"
            ) from fault
