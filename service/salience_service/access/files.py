"""Files that the configuration names: read whole, bounded, refused by key and file name."""

from pathlib import Path

from salience_service.errors import ConfigRefused

MOST_BYTES = 2**20
"""Of certificates, keys or tokens; a thousand of any of them take less."""


def read_named(path: Path, key: str) -> bytes:
    """The bytes of a file.

    Raises:
        ConfigRefused: it cannot be read, or is larger than `MOST_BYTES`.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as fault:
        raise ConfigRefused(f"{key}: {path.name} cannot be read: {fault.strerror}") from fault
    if len(data) > MOST_BYTES:
        raise ConfigRefused(f"{key}: {path.name} is larger than {MOST_BYTES:,} bytes, the limit")
    return data
