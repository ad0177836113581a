"""The engine cache: what TensorRT has built, kept where nobody else may write."""

import hashlib
import json
import os
import stat
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from salience_service.errors import ConfigRefused
from salience_service.runtime.gpu import Gpu

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


@dataclass(frozen=True)
class EngineKey:
    """All that an engine depends on; where one part differs, another is built.

    Attributes:
        graph: SHA-256 of the graph as it is built, and of its weights.
        shape: sizes of its dimensions, and the ranges of those that are not fixed.
        precision: of its numbers.
        runtime: ONNX Runtime's version.
        tensorrt: TensorRT's versions.
        gpu: the device, with its driver.
    """

    graph: str
    shape: str
    precision: str
    runtime: str
    tensorrt: Sequence[int]
    gpu: Gpu

    @property
    def digest(self) -> str:
        """SHA-256 of all parts in hex."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


def engine_directory(cache: Path, key: EngineKey) -> Path:
    """The key's own directory in a cache, for its engine and its timings; made where missing.

    An engine is code: whoever can write one runs in the server.

    Raises:
        ConfigRefused: the cache is no directory, not of this user, or others may write it.
    """
    _private(cache)
    directory = cache / key.digest
    _private(directory)
    return directory


def _private(directory: Path) -> None:
    """Makes the directory with mode 0700, or checks the one there is."""
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
        found = directory.lstat()
    except OSError as error:
        raise ConfigRefused(f"the engine cache cannot be used: {error.strerror}") from error
    if not stat.S_ISDIR(found.st_mode):
        raise ConfigRefused("the engine cache must be a directory, and no link to one")
    if found.st_uid != os.geteuid():
        raise ConfigRefused("the engine cache belongs to another user: give the server its own")
    if found.st_mode & _OTHERS_WRITE:
        raise ConfigRefused(
            f"others may write the engine cache (mode {found.st_mode & 0o777:o}), and engines are "
            "code: empty it, and give it mode 700"
        )
