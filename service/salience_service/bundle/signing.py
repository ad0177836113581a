"""Signs a bundle: only one that is whole, and its signature is put there at once or not at all."""

import os
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from salience_service.bundle.reader import Bundle, manifest_text, open_bundle, open_manifest
from salience_service.errors import BundleRefused
from salience_service.signatures.key_files import key_id
from salience_service.signatures.signature import SIGNATURE_NAME, Signature
from salience_service.signatures.trust import Trust


def sign_bundle(directory: Path, key: Ed25519PrivateKey) -> Bundle:
    """Writes `manifest.sig` into a bundle; an earlier signature is replaced, whoever made it.

    What is signed was checked first: a signature over a manifest whose files differ from it would
    vouch for files that nobody has.

    Returns:
        The bundle, as one who trusts this key alone opens it.

    Raises:
        BundleRefused: the bundle is not whole, or its directory cannot be written.
    """
    text = manifest_text(directory)
    open_manifest(directory, text)
    _put(directory, Signature.of(text, key).text())
    public = key.public_key()
    return open_bundle(directory, Trust({key_id(public): public}))


def _put(directory: Path, text: str) -> None:
    unfinished = directory / f".{SIGNATURE_NAME}.{os.getpid()}"
    try:
        unfinished.write_text(text, "ascii")
        unfinished.replace(directory / SIGNATURE_NAME)
    except OSError as fault:
        raise BundleRefused(f"its signature cannot be written: {fault.strerror}") from fault
    finally:
        unfinished.unlink(missing_ok=True)
