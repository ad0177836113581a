"""A virtual environment that holds what an installation of one requirement holds, and no more."""

import sys
import sysconfig
import venv
from collections.abc import Iterator, Sequence
from importlib.metadata import Distribution, distributions
from importlib.util import find_spec
from pathlib import Path

from packaging.requirements import Requirement


def environment_of(requirement: str, own: Sequence[str], directory: Path) -> Path:
    """Makes the environment and returns its interpreter.

    Every distribution that the requirement asks for, and those that these ask for, is
    linked into it from the environment that runs this: nothing is downloaded, and what
    nobody asked for is as absent as on a machine that never had it.

    Args:
        requirement: such as "salience[service]"; installed here, with all it asks for.
        own: packages of this project, linked from wherever they are imported here.
        directory: where the environment goes.
    """
    venv.create(directory, with_pip=False, symlinks=True)
    python = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = directory / "lib" / python / "site-packages"
    sources = {name: _folder(name) for name in own}
    for found in _asked_for(Requirement(requirement), set()):
        sources |= {name: Path(str(found.locate_file(name))) for name in _top_names(found)}
    for name, source in sources.items():
        (packages / name).symlink_to(source)
    return directory / "bin" / "python"


def _folder(package: str) -> Path:
    spec = find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


def _asked_for(requirement: Requirement, seen: set[tuple[str, str]]) -> Iterator[Distribution]:
    """The distribution of a requirement, and those that it and its extras ask for."""
    # Not by any other path: the project's own folder may hold the traces of a build.
    places = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    found = next(iter(distributions(name=requirement.name, path=places)))
    for extra in {"", *requirement.extras}:
        if (requirement.name, extra) in seen:
            continue
        seen.add((requirement.name, extra))
        yield found
        for line in found.requires or ():
            needed = Requirement(line)
            if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                yield from _asked_for(needed, seen)


def _top_names(found: Distribution) -> set[str]:
    """The files and folders that it has beside others'; none that reach into other folders."""
    names = {file.parts[0] for file in found.files or ()}
    return {name for name in names - {"..", "__pycache__"} if not name.startswith("__editable__")}
