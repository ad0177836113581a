"""A bar of rows done on the terminal, fed by the events that pass; silent elsewhere."""

from collections.abc import Iterable, Iterator

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
)

from salience_client import events
from salience_client.saliency_map import SaliencyMap


def shown(passing: Iterable[events.Event], console: Console) -> Iterator[events.Event]:
    """The same events; while they pass, a bar on `console` where that is a terminal."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("rows"),
        TextColumn("{task.fields[estimate]}"),
        TimeElapsedColumn(),
    )
    bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    with bar:
        task = bar.add_task("waiting", total=None, estimate="")
        for event in passing:
            if isinstance(event, events.Progress):
                total = max(event.rows_expected, event.rows_done)
                bar.update(task, description=event.method, completed=event.rows_done, total=total)
            if isinstance(event, events.Restarted):
                bar.update(task, description="begun anew", completed=0, estimate="")
            if isinstance(event, events.PartialMap | SaliencyMap):
                bar.update(task, estimate=_estimate(event))
            yield event


def _estimate(event: events.PartialMap | SaliencyMap) -> str:
    """How near the map in the making is to the finished one, where its method tells."""
    if isinstance(event, SaliencyMap) or event.correlation is None:
        return ""
    return f"correlation ≈ {event.correlation:.2f}"
