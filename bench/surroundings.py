"""What figures depend on: commit, processor, system and versions."""

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = (
    "salience",
    "onnxruntime",
    "torch",
    "numpy",
    "grpcio",
    "protobuf",
    "grad-cam",
    "torchcam",
    "captum",
    "dianna",
)


def surroundings() -> dict[str, str]:
    """Facts by name, as words."""
    return {
        "commit": _commit(),
        "cpu": f"{_cpu()}, {len(os.sched_getaffinity(0))} cores",
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "versions": ", ".join(f"{name} {_version(name)}" for name in PACKAGES),
    }


def _commit() -> str:
    """The commit of this working tree; `-dirty` where files differ from it."""
    words = ["git", "--no-optional-locks", "describe", "--always", "--dirty", "--exclude", "*"]
    here = Path(__file__).parent
    try:
        told = subprocess.run(words, capture_output=True, text=True, check=False, cwd=here)
    except OSError:
        return "unknown"
    return told.stdout.strip() or "unknown"


def _cpu() -> str:
    """The processor's name, with family and model, since some names say little."""
    facts = {}
    for line in Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines():
        key, _, value = line.partition(":")
        facts[key.strip()] = value.strip()
    family, model = facts.get("cpu family", "?"), facts.get("model", "?")
    return f"{facts.get('model name', platform.machine())} (family {family}, model {model})"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"
