"""Ed25519 keys in PEM files, as openssl reads and writes them: private PKCS #8, public SPKI."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from salience_service.errors import ConfigRefused

PUBLIC_SUFFIX = ".pub"
PASSPHRASE_VARIABLE = "SALIENCE_KEY_PASSPHRASE"
MAX_KEY_FILE_BYTES = 16 * 1024
"""A key takes 120 bytes, an encrypted one 300."""


def key_id(key: Ed25519PublicKey) -> str:
    """What a key is called: SHA-256, in hex, of its SubjectPublicKeyInfo in DER.

    `openssl pkey -pubin -in KEY.pub -outform DER | sha256sum` says the same.
    """
    form = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(form).hexdigest()


def write_new_pair(path: Path, passphrase: str = "") -> tuple[Path, str]:
    """Makes a key and writes both its files; neither may exist yet.

    Args:
        path: of the private key; its mode is 0600.
        passphrase: it is encrypted with; empty: not encrypted.

    Returns:
        Where the public key lies, `path` with the suffix `.pub`, and its id.

    Raises:
        ConfigRefused: a file exists already, or cannot be written.
    """
    public_path = path.with_suffix(PUBLIC_SUFFIX)
    if public_path == path:
        raise ConfigRefused(f"{path.name} is what the public key is called: use another ending")
    key = Ed25519PrivateKey.generate()
    sealed = BestAvailableEncryption(passphrase.encode()) if passphrase else NoEncryption()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, sealed)
    public = key.public_key()
    if os.path.lexists(public_path):
        raise ConfigRefused(f"{public_path.name} exists already: choose another name")
    _write_new(path, private, 0o600)
    _write_new(
        public_path, public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo), 0o644
    )
    return public_path, key_id(public)


def read_private(path: Path, ask: Callable[[], str]) -> Ed25519PrivateKey:
    """The private key in a file.

    Args:
        path: where it lies.
        ask: says the passphrase of an encrypted one, where the environment variable
            `SALIENCE_KEY_PASSPHRASE` does not.

    Raises:
        ConfigRefused: it cannot be read, is no Ed25519 key, or the passphrase is wrong.
    """
    content = _content(path)
    secret = passphrase_or(ask) if b"ENCRYPTED" in content else ""
    try:
        key = load_pem_private_key(content, secret.encode() or None)
    except (TypeError, ValueError, UnsupportedAlgorithm) as fault:
        raise ConfigRefused(
            f"{path.name} is no private key in PEM, or the passphrase is wrong"
        ) from fault
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigRefused(f"{path.name} is no Ed25519 key: make one with `salience keygen`")
    return key


def passphrase_or(ask: Callable[[], str]) -> str:
    """The passphrase in the environment, or else the one that is said when asked."""
    return os.environ.get(PASSPHRASE_VARIABLE, "") or ask()


def read_public(path: Path) -> Ed25519PublicKey:
    """The public key in a file.

    Raises:
        ConfigRefused: it cannot be read, is a private key, or none of Ed25519.
    """
    content = _content(path)
    if b"PRIVATE KEY" in content:
        raise ConfigRefused(
            f"{path.name} is a private key: whoever checks signatures needs the public one, "
            f"the file that ends in {PUBLIC_SUFFIX}"
        )
    try:
        key = load_pem_public_key(content)
    except (ValueError, UnsupportedAlgorithm) as fault:
        raise ConfigRefused(f"{path.name} is no public key in PEM") from fault
    if not isinstance(key, Ed25519PublicKey):
        raise ConfigRefused(f"{path.name} is no Ed25519 key: make one with `salience keygen`")
    return key


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_KEY_FILE_BYTES + 1)
    except OSError as fault:
        raise ConfigRefused(f"key {path.name} cannot be read: {fault.strerror}") from fault
    if len(content) > MAX_KEY_FILE_BYTES:
        raise ConfigRefused(f"key {path.name} has more than {MAX_KEY_FILE_BYTES} bytes")
    return content


def _write_new(path: Path, content: bytes, mode: int) -> None:
    try:
        made = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError as fault:
        raise ConfigRefused(f"{path.name} exists already: choose another name") from fault
    except OSError as fault:
        raise ConfigRefused(f"{path.name} cannot be written: {fault.strerror}") from fault
    with os.fdopen(made, "wb") as stream:
        stream.write(content)
