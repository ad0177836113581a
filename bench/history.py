"""The history of runs: a JSON line each, with where they were taken and every figure."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.report import Part


@dataclass(frozen=True)
class Past:
    """A run of before.

    Attributes:
        facts: date, commit, processor, versions and extent.
        figures: values by part and name.
    """

    facts: Mapping[str, str]
    figures: Mapping[str, Mapping[str, float]]


def remember(path: Path, facts: Mapping[str, str], parts: Sequence[Part]) -> None:
    """Adds a run behind those of before."""
    figures = {part.name: {each.name: each.value for each in part.figures} for part in parts}
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps({"facts": facts, "figures": figures}, ensure_ascii=False) + "\n")


def past(path: Path) -> list[Past]:
    """The runs so far, oldest first; none where there is no file."""
    if not path.exists():
        return []
    lines: list[dict[str, Any]] = [
        json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()
    ]
    return [Past(line["facts"], line["figures"]) for line in lines]
