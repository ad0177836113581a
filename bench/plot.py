"""`python -m bench.plot`: draws the ratios to the bare forward over the runs, and the last curves.

Reads bench-out/history.jsonl and bench-out/bench.json (`--out` for another folder), writes
bench.png beside them.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from bench.history import Past, past

RATIO = "÷ bare"
"""Figures whose name ends so are ratios to the bare forward."""
COLUMNS = 2


def main() -> None:
    """Draws what a folder holds."""
    parser = argparse.ArgumentParser(prog="python -m bench.plot", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("bench-out"), help="bench's folder")
    out = parser.parse_args().out
    last = json.loads((out / "bench.json").read_text(encoding="utf-8"))
    curves = [curve for part in last["parts"] for curve in part["curves"]]
    draw(past(out / "history.jsonl"), curves, out / "bench.png")
    print(f"written to {out}/bench.png")


def draw(runs: Sequence[Past], curves: Sequence[dict[str, Any]], file: Path) -> None:
    """A plot of the ratios over the runs, and one for each title of curves.

    Args:
        runs: oldest first.
        curves: as `bench.report.Curve` is written to JSON.
        file: a PNG.
    """
    titles = list(dict.fromkeys(curve["title"] for curve in curves))
    rows = -(-(1 + len(titles)) // COLUMNS)
    figure, grid = plt.subplots(
        rows, COLUMNS, figsize=(6.5 * COLUMNS, 4 * rows), squeeze=False, layout="constrained"
    )
    axes = list(grid.flat)
    _history(axes[0], runs)
    for title, each in zip(titles, axes[1:], strict=False):
        _curves(each, title, [curve for curve in curves if curve["title"] == title])
    for empty in axes[1 + len(titles) :]:
        empty.set_axis_off()
    figure.savefig(file, dpi=110)
    plt.close(figure)


def ratios(runs: Sequence[Past]) -> dict[str, list[tuple[int, float]]]:
    """Every ratio to the bare forward: the number of its run, from 1, and its value."""
    found: dict[str, list[tuple[int, float]]] = {}
    for number, run in enumerate(runs, 1):
        for figures in run.figures.values():
            for name, value in figures.items():
                if name.endswith(RATIO) and "control" not in name:
                    found.setdefault(name, []).append((number, value))
    return found


def _history(axes: Axes, runs: Sequence[Past]) -> None:
    runs = [run for run in runs if ratios([run])]
    for name, points in ratios(runs).items():
        axes.plot(*zip(*points, strict=True), marker="o", label=name.removesuffix(RATIO).strip())
    axes.set_title("Rates ÷ those of the bare device work, by run")
    axes.set_xticks(range(1, len(runs) + 1), [run.facts["commit"] for run in runs], rotation=30)
    axes.axhline(1, color="0.7", linewidth=1)
    if axes.lines[1:]:
        axes.legend(fontsize="xx-small")


def _curves(axes: Axes, title: str, curves: Sequence[dict[str, Any]]) -> None:
    for curve in curves:
        axes.plot(*zip(*curve["points"], strict=True), marker=".", label=curve["line"])
    axes.set_title(title)
    axes.set_xlabel(curves[0]["x"])
    axes.set_ylabel(curves[0]["y"])
    if curves[0]["x"] == "clients":
        axes.set_xscale("log", base=2)
    axes.legend(fontsize="x-small")


if __name__ == "__main__":
    main()
