"""Generates the Python code of the contract: `python -m tests.contract.generate DIRECTORY`."""

import subprocess
import sys
from pathlib import Path

PROTOS = Path(__file__).parents[2] / "protos"
FILES = sorted(str(path.relative_to(PROTOS)) for path in PROTOS.rglob("*.proto"))


def generate(into: Path) -> set[str]:
    """Writes messages, their types, and services; returns what belongs into the repository."""
    protoc = [sys.executable, "-m", "grpc_tools.protoc", "-I."]
    messages = [f"--python_out={into}", f"--pyi_out={into}", *FILES]
    services = [name for name in FILES if "\nservice " in (PROTOS / name).read_text("utf-8")]
    for arguments in (messages, [f"--grpc_python_out={into}", *services]):
        subprocess.run([*protoc, *arguments], cwd=PROTOS, check=True)
    stems = {name.removesuffix(".proto") for name in FILES}
    written = {f"{stem}_pb2{end}" for stem in stems for end in (".py", ".pyi")}
    return written | {f"{name.removesuffix('.proto')}_pb2_grpc.py" for name in services}


if __name__ == "__main__":
    generate(Path(sys.argv[1]).resolve())
