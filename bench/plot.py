"""`python -m bench.plot`: draws the figures that have targets over the runs, and the last curves.

Reads bench/history.jsonl (`--history` for another) and, where there is one, OUT/bench.json for the
curves; writes OUT/bench.png. `--out bench` draws the one in the README.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from bench.history import HISTORY, Past, past
from bench.networks import NETWORKS

COLUMNS = 3
MARKERS = "osD^v"
"""A processor each, in the order they come."""


@dataclass(frozen=True)
class Panel:
    """Figures of a part that are drawn together.

    Attributes:
        part: theirs.
        title: above them, with their unit.
        lines: their names, by what the plot calls them.
        target: of them; None where they have several.
    """

    part: str
    title: str
    lines: Mapping[str, str]
    target: float | None = None


_ROWS = ("Score-CAM", "PCAM±", "RISE", "insertion and deletion")
_SET = {
    "set for many": "",
    "as it comes": ", as it comes",
    "a replica a core": ", a replica a core",
}
PANELS = (
    *(
        Panel(
            "grpc_rate",
            f"{network}: rows through gRPC ÷ bare",
            {what: f"{network}: {what} through gRPC ÷ bare" for what in _ROWS},
        )
        for network in NETWORKS
    ),
    *(
        Panel(
            "concurrency",
            f"{network}: 64 clients ÷ bare",
            {
                how: f"{network}, 64 clients{words}: total rate ÷ bare"
                for how, words in _SET.items()
            },
            0.9,
        )
        for network in NETWORKS
    ),
    Panel(
        "overhead",
        "gRPC less the engine, ms",
        {method: f"{method}: gRPC − engine, median" for method in ("fake-cam", "grad-cam")},
        5,
    ),
    Panel(
        "cold_start",
        "process start to SERVING, s",
        {"median": "process start to SERVING, median", "longest of 15": "the longest of 15"},
        4,
    ),
    Panel(
        "memory",
        "greatest memory of a server, MB",
        {
            "Score-CAM, 1,280 rows": "VmHWM after Score-CAM, 1,280 rows",
            "RISE, 6,000 masks": "VmHWM after RISE, 6000 masks",
        },
        600,
    ),
)


def main() -> None:
    """Draws a history, and what a folder holds."""
    parser = argparse.ArgumentParser(prog="python -m bench.plot", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("bench-out"), help="bench's folder")
    parser.add_argument("--history", type=Path, default=HISTORY, help="the runs, a line each")
    asked = parser.parse_args()
    last = asked.out / "bench.json"
    parts = json.loads(last.read_text(encoding="utf-8"))["parts"] if last.exists() else ()
    draw(past(asked.history), [curve for part in parts for curve in part["curves"]], asked.out)
    print(f"written to {asked.out}/bench.png")


def draw(runs: Sequence[Past], curves: Sequence[dict[str, Any]], out: Path) -> None:
    """A plot for each panel that has runs, and one for each title of curves.

    Args:
        runs: oldest first.
        curves: as `bench.report.Curve` is written to JSON.
        out: the folder for bench.png.
    """
    panels = [panel for panel in PANELS if any(values_of(runs, panel).values())]
    titles = list(dict.fromkeys(curve["title"] for curve in curves))
    rows = max(1, -(-(len(panels) + len(titles)) // COLUMNS))
    figure, grid = plt.subplots(
        rows, COLUMNS, figsize=(5.2 * COLUMNS, 3.4 * rows), squeeze=False, layout="constrained"
    )
    for empty in list(grid.flat)[len(panels) + len(titles) :]:
        empty.set_axis_off()
    cpus = dict.fromkeys(run.facts["cpu"] for run in runs)
    markers = dict(zip(cpus, cycle(MARKERS), strict=False))
    for panel, axes in zip(panels, grid.flat, strict=False):
        _over_runs(axes, panel, runs, markers)
    for title, axes in zip(titles, list(grid.flat)[len(panels) :], strict=False):
        _curves(axes, title, [curve for curve in curves if curve["title"] == title])
    processors = [Line2D([], [], marker=markers[cpu], color="0.4", label=cpu) for cpu in cpus]
    if processors:
        figure.legend(handles=processors, loc="outside lower center", ncols=2, fontsize="x-small")
    figure.savefig(out / "bench.png", dpi=90)
    plt.close(figure)


def values_of(runs: Sequence[Past], panel: Panel) -> dict[str, list[tuple[Past, float]]]:
    """The runs that took each of a panel's figures, with its value there, by the line's name."""
    return {
        line: [
            (run, run.figures[panel.part][name])
            for run in runs
            if name in run.figures.get(panel.part, ())
        ]
        for line, name in panel.lines.items()
    }


def _over_runs(axes: Axes, panel: Panel, runs: Sequence[Past], markers: Mapping[str, str]) -> None:
    """Evenly spaced, for runs come in bursts."""
    series = values_of(runs, panel)
    took = sorted({run.facts["date"] for points in series.values() for run, _ in points})
    for line, points in series.items():
        x, y = [took.index(run.facts["date"]) for run, _ in points], [value for _, value in points]
        (drawn,) = axes.plot(x, y, linewidth=1, label=line if points else None)
        for at, (run, value) in zip(x, points, strict=True):
            axes.plot(at, value, markers[run.facts["cpu"]], color=drawn.get_color(), markersize=5)
    if panel.target is not None:
        axes.axhline(panel.target, color="0.6", linewidth=1, linestyle="--")
    axes.set_title(panel.title, fontsize="medium")
    axes.set_xticks(range(len(took)), [date[5:10] for date in took], rotation=45, fontsize="small")
    axes.set_ylim(bottom=0)
    axes.legend(fontsize="x-small", loc="lower left")


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
