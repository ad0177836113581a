"""Nobody is told of what runs here: ONNX Runtime would tell its makers, unless it is told not to.

It keeps an identifier and what it has not sent yet among the user's files, which shows.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import onnxruntime
import pytest

from salience_service.bundle.reader import Bundle

WORD = "ORT_DISABLE_TELEMETRY"
QUIET_ANYWAY = ("CI", "ORT_RUNNING_UNIT_TESTS", WORD)
"""Where one of them is set it tells nothing, whatever we do."""
SERVICE = """
import sys
from pathlib import Path
from salience_service.config import read_config
from salience_service.engine import Engine
Engine.open(Path(sys.argv[1]), read_config(None, **{"bundles.unsigned": "allow"})).close()
"""
EXPORTER = """
import onnx, sys
from salience_export.sources.runtime import Run
Run(onnx.load(sys.argv[1] + "/softmax/1/forward.onnx"), ())
"""


@pytest.mark.parametrize("program", [SERVICE, EXPORTER], ids=["service", "exporter"])
def test_sessions_leave_no_trace_among_the_users_files(
    program: str, tiny_bundle: Bundle, tmp_path: Path
) -> None:
    models = tmp_path / "models"
    shutil.copytree(tiny_bundle.directory, models / "softmax" / "1")
    (home := tmp_path / "home").mkdir()
    spared = {name: value for name, value in os.environ.items() if name not in QUIET_ANYWAY}
    done = subprocess.run(
        [sys.executable, "-c", program, models],
        env=spared | {"HOME": str(home), "XDG_CACHE_HOME": str(home / ".cache")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not [*home.rglob("*")]


def test_the_runtime_still_knows_the_word_that_silences_it() -> None:
    libraries = [*(Path(onnxruntime.__file__).parent / "capi").glob("*.so*")]
    assert libraries
    telling = [each.read_bytes() for each in libraries]
    telling = [code for code in telling if b"OneCollector" in code]
    assert all(WORD.encode() in code for code in telling)
