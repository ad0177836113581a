"""What a part of the benchmark found: figures beside their targets, tables, curves; Markdown."""

from collections.abc import Sequence
from dataclasses import dataclass


class Skipped(Exception):
    """A part cannot be measured here; the message says why."""


@dataclass(frozen=True)
class Figure:
    """One number, beside its target where it has one.

    Attributes:
        met: whether the target is met; None where there is none, or no verdict.
    """

    name: str
    value: float
    unit: str
    target: str = ""
    met: bool | None = None

    @property
    def row(self) -> tuple[str, ...]:
        """Its line in the table of figures."""
        unjudged = "no verdict: too noisy, or too few" if self.target else ""
        verdict = {True: "met", False: "**missed**", None: unjudged}[self.met]
        return (self.name, f"{self.value:.4g} {self.unit}".strip(), self.target, verdict)


@dataclass(frozen=True)
class Table:
    """Words in rows, with a title."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Curve:
    """Points to be plotted.

    Attributes:
        line: what the points are of; curves of one title share a plot.
    """

    title: str
    line: str
    x: str
    y: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Part:
    """One part's findings.

    Attributes:
        name: as `--only` takes it.
        about: exactly what was compared.
    """

    name: str
    about: str
    figures: tuple[Figure, ...] = ()
    tables: tuple[Table, ...] = ()
    curves: tuple[Curve, ...] = ()
    skipped: str = ""
    seconds: float = 0.0


def markdown_of(part: Part) -> str:
    """A part as a section."""
    lines = [f"## {part.name}", "", part.about.strip(), ""]
    if part.skipped:
        lines += [f"**Skipped:** {part.skipped}", ""]
    if part.figures:
        lines += table_lines(("figure", "value", "target", ""), [f.row for f in part.figures])
    for table in part.tables:
        lines += [f"**{table.title}**", "", *table_lines(table.columns, table.rows)]
    return "\n".join(lines)


def table_lines(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table's lines in Markdown, an empty one behind."""
    widths = [max(len(str(each)) for each in column) for column in zip(columns, *rows, strict=True)]
    drawn = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in (columns, *rows)
    ]
    return [drawn[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *drawn[1:], ""]
