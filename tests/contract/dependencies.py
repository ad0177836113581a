"""What a server needs of others, with licences: `python -m tests.contract.dependencies`.

Prints the table of docs/dependencies.md, as the installed distributions declare it.
"""

import re
from collections.abc import Iterator, Mapping
from importlib.metadata import Distribution, PackageNotFoundError, distribution

from packaging.markers import default_environment
from packaging.requirements import Requirement

NEEDS: Mapping[str, tuple[str, ...]] = {
    "the client": (),
    "the command": ("cli",),
    "the server": ("service",),
    "the server with traces": ("service", "telemetry"),
}
"""What is installed, by its extras; each holds those before it."""


def table() -> str:
    """A row a distribution: its name, its licence, and the least that needs it."""
    rows, told = ["| package | licence | needed by |", "|---|---|---|"], set[str]()
    for what, extras in NEEDS.items():
        for name in sorted(closure(extras) - told):
            rows.append(f"| {name} | {licence(distribution(name))} | {what} |")
            told.add(name)
    return "\n".join(rows)


def closure(extras: tuple[str, ...]) -> set[str]:
    """Every distribution that salience with these extras needs here, itself left out."""
    found = dict[str, set[str]]()
    waiting = [("salience", set(extras))]
    while waiting:
        name, wanted = waiting.pop()
        if name in found and wanted <= found[name]:
            continue
        found[name] = found.get(name, set()) | wanted
        waiting.extend(_needed(name, found[name]))
    return found.keys() - {"salience"}


def licence(of: Distribution) -> str:
    """As it declares it: an SPDX expression, or else its classifiers, or else its own words."""
    told = of.metadata
    if "License-Expression" in told:
        return str(told["License-Expression"])
    classifiers = [str(each) for each in told.get_all("Classifier") or ()]
    named = [each.rpartition(" :: ")[2] for each in classifiers if each.startswith("License ::")]
    return ", ".join(named) or str(told["License"]).splitlines()[0]


def _needed(name: str, extras: set[str]) -> Iterator[tuple[str, set[str]]]:
    for text in distribution(name).requires or ():
        requirement = Requirement(text)
        marker = requirement.marker
        worlds = [{**default_environment(), "extra": extra} for extra in ("", *extras)]
        if marker is None or any(marker.evaluate(world) for world in worlds):
            yield _normal(requirement.name), set(requirement.extras)


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    try:
        print(table())
    except PackageNotFoundError as missing:
        raise SystemExit(f"install .[dev] first: {missing} is not here") from missing
