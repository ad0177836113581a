"""The benchmark's history: a line a run, read back as it was written; figures drawn from it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.history import HISTORY, past, remember
from bench.plot import PANELS, Panel, draw, values_of
from bench.report import Curve

FACTS = {"date": "2026-11-30T10:00:00+00:00", "commit": "abc", "cpu": "one"}
LATER = {**FACTS, "date": "2026-12-01T10:00:00+00:00", "cpu": "another"}
RISE = Panel("rate", "rows", {"RISE": "RISE ÷ bare"}, 0.9)


def _run(facts: Mapping[str, str], *values: float) -> dict[str, Any]:
    figures = [{"name": "RISE ÷ bare", "value": value} for value in values]
    return {**facts, "parts": [{"name": "rate", "figures": figures}]}


def test_runs_are_read_back_in_their_order(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    assert past(path) == []
    remember(path, _run({**FACTS, "commit": "déf"}, 0.9))
    remember(path, _run(LATER))
    runs = past(path)
    assert [run.facts["commit"] for run in runs] == ["déf", "abc"]
    assert [run.figures for run in runs] == [{"rate": {"RISE ÷ bare": 0.9}}, {}]


def test_a_run_is_remembered_once(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    for facts in (FACTS, LATER, FACTS):
        remember(path, _run(facts, 0.9))
    assert [run.facts for run in past(path)] == [FACTS, LATER]


def test_a_panel_has_the_runs_that_took_its_figures(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    remember(path, _run(FACTS, 0.9))
    remember(path, _run({**FACTS, "commit": "none"}))
    remember(path, _run(LATER, 0.95))
    points = values_of(past(path), RISE)["RISE"]
    assert [(run.facts["cpu"], value) for run, value in points] == [("one", 0.9), ("another", 0.95)]


def test_every_panel_has_runs_in_the_history_that_is_kept() -> None:
    runs = past(HISTORY)
    assert all(any(values_of(runs, panel).values()) for panel in PANELS)


def test_a_plot_holds_the_history_and_every_title_of_curves(tmp_path: Path) -> None:
    curve = Curve("Fill", "lite0", "clients", "", ((1, 0.1), (64, 0.9))).__dict__
    draw(past(HISTORY), [curve, {**curve, "title": "Memory", "x": "explanations"}], tmp_path)
    whole = (tmp_path / "bench.png").read_bytes()
    assert whole.startswith(b"\x89PNG")
    draw([], [curve], tmp_path)
    assert len((tmp_path / "bench.png").read_bytes()) < len(whole)
