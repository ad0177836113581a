"""The contract's files: lint clean, generated code not drifted, readable by an old protoc."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.contract.generate import FILES, PROTOS, generate


def _run(*command: str) -> str:
    done = subprocess.run(command, cwd=PROTOS, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _beside_python(name: str) -> str | None:
    """A tool of this environment, activated or not."""
    return shutil.which(name, path=Path(sys.executable).parent) or shutil.which(name)


def test_buf_finds_nothing_to_say() -> None:
    buf = _beside_python("buf")
    if buf is None:
        pytest.skip("buf is not installed (pip install buf-bin)")
    assert _run(buf, "lint") == ""


def test_the_committed_generated_code_is_what_the_compiler_makes(tmp_path: Path) -> None:
    written = generate(tmp_path)
    drifted = [
        name for name in written if (PROTOS / name).read_bytes() != (tmp_path / name).read_bytes()
    ]
    assert not drifted, "run `make protos` and commit what it writes"
    committed = {str(path.relative_to(PROTOS)) for path in PROTOS.rglob("*_pb2*.py*")}
    assert {name for name in committed if "__pycache__" not in name} == written


def test_protoc_3_21_reads_the_contract(tmp_path: Path) -> None:
    protoc = _beside_python("protoc")
    version = _run(protoc, "--version").split()[-1] if protoc else "none"
    if protoc is None or not re.fullmatch(r"(3\.)?21\..*", version):
        pytest.skip(f"needs protoc 3.21 on the path; found {version}")
    _run(protoc, "-I.", f"--descriptor_set_out={tmp_path / 'contract.bin'}", *FILES)


def test_the_contract_uses_nothing_newer_than_proto3_of_3_21() -> None:
    """Where no old protoc is at hand: no editions, and only imports of our own."""
    for name in FILES:
        text = (PROTOS / name).read_text("utf-8")
        assert re.search(r'^syntax = "proto3";$', text, re.MULTILINE), name
        assert not re.search(r"^edition", text, re.MULTILINE), name
        imports = re.findall(r'^import "(.*)";$', text, re.MULTILINE)
        assert all(each.startswith("salience/v1/") for each in imports), name
