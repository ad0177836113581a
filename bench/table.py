"""`python -m bench.table RUN.json…`: takes runs into bench/figures.json, and writes the README's.

bench/figures.json holds, for each part, the figures of the latest run given here, and where it was
taken; bench/history.jsonl all that ever were. The table in bench/README.md is written from the
former alone, and a test holds the two together. Without a run it is only written anew.
"""

import argparse
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from bench.history import HISTORY, remember
from bench.parts import PARTS
from bench.report import Figure, table_lines

HERE = Path(__file__).parent
FIGURES, README = HERE / "figures.json", HERE / "README.md"
BEGIN, END = "<!-- figures: written by python -m bench.table -->", "<!-- end of figures -->"
FACTS = ("date", "commit", "cpu", "extent")

Known = dict[str, dict[str, Any]]
"""Parts by name: their figures, the reason why they were skipped, and the facts of their run."""


def main() -> None:
    """Takes the runs in the order given, later ones over earlier ones."""
    parser = argparse.ArgumentParser(prog="python -m bench.table", description=__doc__)
    parser.add_argument("runs", nargs="*", type=Path, help="bench.json files")
    known: Known = json.loads(FIGURES.read_text(encoding="utf-8")) if FIGURES.exists() else {}
    for run in parser.parse_args().runs:
        told = json.loads(run.read_text(encoding="utf-8"))
        known = with_run(known, told)
        remember(HISTORY, told)
    FIGURES.write_text(json.dumps(known, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    README.write_text(written(README.read_text(encoding="utf-8"), known), encoding="utf-8")


def with_run(known: Known, run: Mapping[str, Any]) -> Known:
    """The parts with those of a run over them; what a run skipped leaves figures of before."""
    facts = {name: run.get(name, "unknown") for name in FACTS}
    taken = {
        part["name"]: {
            "figures": part["figures"],
            "skipped": part["skipped"],
            **facts,
        }
        for part in run["parts"]
        if part["figures"] or not known.get(part["name"], {}).get("figures")
    }
    return {**known, **taken}


def written(readme: str, known: Known) -> str:
    """The README with its figures between the two marks.

    Raises:
        ValueError: it lacks the marks.
    """
    before, _, rest = readme.partition(BEGIN)
    _, mark, after = rest.partition(END)
    if not mark:
        raise ValueError(f"the README has no {BEGIN} … {END}")
    return f"{before}{BEGIN}\n{_block(known)}\n{mark}{after}"


def _block(known: Known) -> str:
    """A table of all figures that were taken, where they were, and what was not."""
    parts = [name for name in PARTS if known.get(name, {}).get("figures")]
    rows = [row for name in parts for row in _rows(name, known[name]["figures"])]
    lines = table_lines(("part", "figure", "value", "target", ""), rows) if rows else []
    runs = [(name, *(known[name][fact] for fact in FACTS)) for name in parts]
    lines += table_lines(("part", *FACTS), runs) if runs else []
    skipped = {name: each["skipped"] for name, each in known.items() if each["skipped"]}
    lines += [f"- **{name}** was skipped: {reason}" for name, reason in skipped.items()]
    if missing := [name for name in PARTS if name not in known]:
        lines.append(f"- **Not taken since this table is kept**: {', '.join(missing)}")
    return "\n".join(lines)


def _rows(part: str, figures: Iterable[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    return [(part, *Figure(**figure).row) for figure in figures]


if __name__ == "__main__":
    main()
