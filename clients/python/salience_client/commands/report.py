"""What `salience explain` says at the end: a table for people, or one JSON object."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from salience_client.commands.files import WrittenMap
from salience_client.explanation import Explanation
from salience_client.saliency_map import SaliencyMap, Scores

_COLUMNS = {
    "ad": ("AD %", 1),
    "ai": ("AI %", 1),
    "ag": ("AG %", 1),
    "insertion": ("Ins", 3),
    "deletion": ("Del", 3),
    "insertion-deletion": ("Ins−Del", 3),
}
"""Heads and decimals of the scores' columns."""


def json_report(explanation: Explanation, image: Path, written: Mapping[int, WrittenMap]) -> str:
    """One JSON object in ASCII; what is not finite becomes null. `written` is by the map's id."""
    started, finished = explanation.started, explanation.finished
    targets = [asdict(target) for target in explanation.prediction.targets]
    report = {
        "image": str(image),
        "model": started.model,
        "version": started.version,
        "digest": started.bundle_digest,
        "provider": started.provider,
        "prediction": [asdict(score) for score in explanation.prediction.top],
        "target": targets[0]["name"] if len(targets) == 1 else None,
        "targets": targets,
        "methods": [_map_entry(m, written.get(m.map_id)) for m in explanation.maps],
        "rows": finished.rows,
        "seconds": finished.total_seconds,
        "queue_seconds": finished.queue_seconds,
        "compute_seconds": finished.compute_seconds,
        "rows_spared": finished.rows_spared,
        "from_cache": finished.from_cache,
    }
    return json.dumps(_finite(report), allow_nan=False)


def print_table(console: Console, explanation: Explanation, image: Path) -> None:
    """Class and probability, then a line per map."""
    started, prediction = explanation.started, explanation.prediction
    top = prediction.top[0]
    size = f"{prediction.image_width}×{prediction.image_height}"
    console.print(
        f"{escape(image.name)} ({size}) · {escape(started.model)} {escape(started.version)} "
        f"on {escape(started.provider)}",
        highlight=False,
        style="dim",
    )
    console.print(f"[bold]{escape(top.name)}[/]  {_certainty(top.probability, top.logit)}")
    console.print(_table(explanation.maps))


def _table(maps: Sequence[SaliencyMap]) -> Table:
    scored = [word for word in _COLUMNS if any(_score(m, word) for m in maps)]
    boxed = ["Box"] if any(map_.box for map_ in maps) else []
    table = Table("Method", "Target", box=None, pad_edge=False, header_style="bold")
    for column in [*(_COLUMNS[word][0] for word in scored), *boxed, "Rows", "Seconds"]:
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("Notes")
    for map_ in maps:
        table.add_row(
            escape(map_.method),
            escape(map_.target.name),
            *(_score(map_, word) for word in scored),
            *(_box(map_) for _ in boxed),
            "" if map_.rows is None else f"{map_.rows:,}",
            "" if map_.seconds is None else f"{map_.seconds:.2f}",
            escape(", ".join(_notes(map_))),
        )
    return table


def _score(map_: SaliencyMap, word: str) -> str:
    if map_.scores is None or word not in map_.scores.values:
        return ""
    return f"{map_.scores[word]:.{_COLUMNS[word][1]}f}"


def _box(map_: SaliencyMap) -> str:
    """Size and offset in pixels, as X11 writes them."""
    box = map_.box
    return "" if box is None else f"{box.width:g}×{box.height:g}+{box.left:g}+{box.top:g}"


def _notes(map_: SaliencyMap) -> list[str]:
    side = map_.provenance.gradient_side
    gradient = [] if side in ("none", "unspecified") else [f"gradient by {side}"]
    steps = [] if map_.iterations is None else [f"{map_.iterations} steps"]
    return [*gradient, *steps, *_ended(map_), *sorted(map_.flags)]


def _ended(map_: SaliencyMap) -> list[str]:
    """Where a map ended before its last row."""
    come = map_.convergence
    if come is None or not come.rows_skipped:
        return []
    clock = "" if come.repeatable else ", by the clock"
    return [f"{come.rows_skipped:,} rows skipped at correlation ≈ {come.correlation:.3f}{clock}"]


def _certainty(probability: float | None, value: float) -> str:
    return f"value {value:.4g}" if probability is None else f"p {probability:.4f}"


def _map_entry(map_: SaliencyMap, written: WrittenMap | None) -> dict[str, Any]:
    return {
        "method": map_.method,
        "target": map_.target.name,
        "map": str(written.array) if written else None,
        "overlay": str(written.picture) if written and written.picture else None,
        "scores": dict(map_.scores.values) if map_.scores else {},
        "curve_protocol": map_.scores.curve_protocol if map_.scores else None,
        "curves": _curves(map_.scores) if map_.scores else {},
        "box": asdict(map_.box) if map_.box else None,
        "rows": map_.rows,
        "seconds": map_.seconds,
        "gradient_side": map_.provenance.gradient_side,
        "degenerate": map_.is_degenerate,
        "signed": map_.is_signed,
        "flags": sorted(map_.flags),
        "taps": list(map_.provenance.taps),
        "options": dict(map_.provenance.options),
        "iterations": map_.iterations,
        "convergence": asdict(map_.convergence) if map_.convergence else None,
        "precision": map_.provenance.precision,
        "tuning_digest": map_.provenance.tuning_digest,
        "signed_by": map_.provenance.signed_by,
        "raw_minimum": map_.raw_minimum,
        "raw_maximum": map_.raw_maximum,
    }


def _curves(scores: Scores) -> dict[str, dict[str, list[float]]]:
    return {
        kind: {"shares": curve.shares.tolist(), "probabilities": curve.probabilities.tolist()}
        for kind, curve in scores.curves.items()
    }


def _finite(value: Any) -> Any:
    """JSON has no infinity; the logarithm of a probability may be one."""
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
