"""Foreign clients of the Open Inference Protocol: what they are given, and what they were told."""

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np

from salience_service.engine import Engine
from tests.support.serving import serving


def with_tensors(directory: Path) -> Path:
    """The directory, with what is sent in it: `images.npy` and `pixels.npy`."""
    random = np.random.default_rng(0)
    np.save(directory / "images.npy", random.normal(size=(3, 3, 32, 32)).astype(np.float32))
    np.save(directory / "pixels.npy", random.integers(0, 256, (2, 50, 40, 3), dtype=np.uint8))
    return directory


def told_by(python: Path, calls: Path, engine: Engine, folder: Path) -> dict[str, Any]:
    """What a client was told by a server over this engine.

    Args:
        python: the interpreter that has the client. calls: the script that makes its calls.
        folder: of the tensors; answers come to lie there too.
    """
    with serving(engine) as server:
        command = [python, calls, server.address, "softmax", folder]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found
