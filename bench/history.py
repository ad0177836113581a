"""The history of runs: a JSON line each, with where they were taken and every figure."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HISTORY = Path(__file__).with_name("history.jsonl")
"""Of the runs that the README's table took in."""


@dataclass(frozen=True)
class Past:
    """A run of before.

    Attributes:
        facts: date, commit, processor, versions and extent.
        figures: values by part and name.
    """

    facts: Mapping[str, str]
    figures: Mapping[str, Mapping[str, float]]


def remember(path: Path, run: Mapping[str, Any]) -> None:
    """Adds a run behind those of before; one that stands there already is not added again.

    Args:
        path: the history.
        run: as it stands in a bench.json.
    """
    facts = {name: told for name, told in run.items() if name != "parts"}
    if any(before.facts == facts for before in past(path)):
        return
    figures = {
        part["name"]: {figure["name"]: figure["value"] for figure in part["figures"]}
        for part in run["parts"]
        if part["figures"]
    }
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
