"""The benchmark's history: a line a run, read back as it was written; ratios drawn from it."""

from pathlib import Path

from bench.history import past, remember
from bench.plot import draw, ratios
from bench.report import Curve, Figure, Part

FACTS = {"commit": "abc", "cpu": "one"}


def _part(value: float) -> Part:
    return Part(
        "rate", "", (Figure("RISE ÷ bare", value, ""), Figure("control: bare ÷ bare", 1, ""))
    )


def test_runs_are_read_back_in_their_order(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    assert past(path) == []
    remember(path, FACTS, [_part(0.9)])
    remember(path, {**FACTS, "commit": "déf"}, [_part(0.95), Part("memory", "", skipped="absent")])
    runs = past(path)
    assert [run.facts["commit"] for run in runs] == ["abc", "déf"]
    assert runs[1].figures == {
        "rate": {"RISE ÷ bare": 0.95, "control: bare ÷ bare": 1},
        "memory": {},
    }


def test_ratios_to_the_bare_device_are_drawn_and_controls_are_not(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    remember(path, FACTS, [_part(0.9)])
    remember(path, FACTS, [])
    remember(path, FACTS, [_part(0.95)])
    assert ratios(past(path)) == {"RISE ÷ bare": [(1, 0.9), (3, 0.95)]}


def test_a_plot_holds_the_history_and_every_title_of_curves(tmp_path: Path) -> None:
    curve = Curve("Fill", "lite0", "clients", "", ((1, 0.1), (64, 0.9))).__dict__
    file = tmp_path / "bench.png"
    draw([], [curve, {**curve, "title": "Memory", "x": "explanations"}], file)
    assert file.read_bytes().startswith(b"\x89PNG")
