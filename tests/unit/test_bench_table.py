"""The README's table of figures: written from bench/figures.json alone, so that it cannot drift."""

import json

import pytest

from bench.parts import PARTS
from bench.table import BEGIN, END, FIGURES, README, with_run, written

FIGURE = {"name": "RISE ÷ bare", "value": 0.961, "unit": "", "target": "≥ 0.95", "met": True}
FACTS = {"date": "today", "commit": "abc", "cpu": "one", "extent": "30 pairs"}
MARKED = f"above\n{BEGIN}\nstale\n{END}\nbelow"


def _run(name: str, figures: list[dict[str, object]], skipped: str = "") -> dict[str, object]:
    return {**FACTS, "parts": [{"name": name, "figures": figures, "skipped": skipped}]}


def test_the_readme_holds_the_figures_on_record() -> None:
    known = json.loads(FIGURES.read_text("utf-8")) if FIGURES.exists() else {}
    readme = README.read_text("utf-8")
    assert readme == written(readme, known), "run python -m bench.table"


def test_a_figure_stands_with_its_target_and_verdict_and_what_is_around_stays() -> None:
    text = written(MARKED, with_run({}, _run("grpc_rate", [FIGURE])))
    assert text.startswith("above\n") and text.endswith("\nbelow")  # noqa: PT018
    assert "stale" not in text
    (line,) = [line for line in text.splitlines() if "RISE" in line]
    assert [cell.strip() for cell in line.split("|")[1:-1]] == [
        "grpc_rate",
        "RISE ÷ bare",
        "0.961",
        "≥ 0.95",
        "met",
    ]
    assert "abc" in text


def test_what_was_missed_skipped_or_never_measured_is_said() -> None:
    known = with_run({}, _run("grpc_rate", [{**FIGURE, "met": False}]))
    text = written(MARKED, with_run(known, _run("gpu_rate", [], "never run: no GPU")))
    assert "**missed**" in text
    assert "**gpu_rate** was skipped: never run: no GPU" in text
    missing = ", ".join(name for name in PARTS if name not in ("grpc_rate", "gpu_rate"))
    assert f"**Not taken since this table is kept**: {missing}" in text


def test_a_later_run_replaces_its_parts_and_a_skipped_one_leaves_the_figures() -> None:
    known = with_run({}, _run("grpc_rate", [FIGURE]))
    known = with_run(known, _run("memory", [FIGURE]))
    later = with_run(known, {**_run("grpc_rate", [{**FIGURE, "value": 0.97}]), "commit": "def"})
    assert later["grpc_rate"]["figures"][0]["value"] == 0.97
    assert (later["grpc_rate"]["commit"], later["memory"]["commit"]) == ("def", "abc")
    assert with_run(known, _run("memory", [], "absent")) == known


def test_a_readme_without_the_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="has no"):
        written("nothing", {})
