"""The keys of a trail: one secret in a file, and a key for each purpose made of it."""

import hashlib
import hmac
import os
import re
import secrets
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from salience_service.errors import ConfigRefused

_SECRET = re.compile(rb"[0-9a-f]{64}\s*")
_SECRET_BYTES = 32


@dataclass(frozen=True)
class AuditKeys:
    """Keys for HMAC-SHA256, each for one thing: no digest of one kind is ever one of another.

    Attributes:
        chain: of the lines. images: of what was sent. results: of the maps that were answered.
    """

    chain: bytes
    images: bytes
    results: bytes

    @classmethod
    def of(cls, secret: bytes) -> "AuditKeys":
        """Makes the keys of a secret: HMAC-SHA256 of their names."""
        return cls(*(digest(secret, [b"salience audit ", name]) for name in _NAMES))


_NAMES = (b"chain 1", b"images 1", b"results 1")


def digest(key: bytes, parts: Iterable[bytes | memoryview]) -> bytes:
    """HMAC-SHA256 of the parts, one after the other."""
    code = hmac.new(key, digestmod=hashlib.sha256)
    for part in parts:
        code.update(part)
    return code.digest()


def read_keys(path: Path) -> AuditKeys:
    """The keys of the secret in a file: 64 hexadecimal digits.

    Raises:
        ConfigRefused: it cannot be read, is none, or may be read by anyone on this machine.
    """
    try:
        with path.open("rb") as stream:
            mode = os.fstat(stream.fileno()).st_mode
            content = stream.read(1024)
    except OSError as fault:
        raise ConfigRefused(f"audit key {path.name} cannot be read: {fault.strerror}") from fault
    if stat.S_IMODE(mode) & stat.S_IRWXO:
        raise ConfigRefused(f"audit key {path.name} is open to everyone here: chmod o= it")
    if not _SECRET.fullmatch(content):
        raise ConfigRefused(
            f"audit key {path.name} is not 64 hexadecimal digits: make one with "
            "`salience audit keygen`"
        )
    return AuditKeys.of(bytes.fromhex(content.decode()))


def write_new_key(path: Path) -> None:
    """Makes a secret and writes it into a file of mode 0600, which may not exist yet.

    Raises:
        ConfigRefused: it exists, or cannot be written.
    """
    try:
        made = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as fault:
        raise ConfigRefused(f"audit key {path.name} is not written: {fault.strerror}") from fault
    with os.fdopen(made, "w", encoding="ascii") as stream:
        stream.write(secrets.token_hex(_SECRET_BYTES) + "\n")
