"""`salience bench --tune`: finds the best threads and batch sizes of models on this machine."""

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from salience_client.commands.arguments import listed
from salience_client.commands.connection import DEFAULT_MODELS, ModelsOption
from salience_client.commands.console import table_console
from salience_client.extras import require
from salience_client.in_process import translated

_WITHOUT_TUNE = (
    "give --tune: it measures batch sizes and threads for the models of a directory, and keeps "
    "the best beside them. (The figures of this project are made by `make bench` in its "
    "repository.)"
)
_PURPOSE = "tuning models"
_LARGEST = 1024


def bench(
    tune: Annotated[
        bool, typer.Option("--tune", help="Measure, and write VERSION.tune.json beside bundles.")
    ] = False,
    models: ModelsOption = None,
    model: Annotated[
        str, typer.Option(metavar="NAME", help="This model alone.", show_default="all")
    ] = "",
    provider: Annotated[str, typer.Option(metavar="NAME", help="cpu, cuda or tensorrt.")] = "cpu",
    precision: Annotated[
        str, typer.Option(metavar="NAME", help="float32, tf32 or float16.")
    ] = "float32",
    calls: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=0,
            help="Calls in flight, as in the server's configuration.",
            show_default="as a server has",
        ),
    ] = 0,
    sizes: Annotated[
        str,
        typer.Option(metavar="N,…", help="Batch sizes to try.", show_default="by provider"),
    ] = "",
    threads: Annotated[
        str,
        typer.Option(metavar="N,…", help="CPU threads to try.", show_default="1 … cores"),
    ] = "",
    rounds: Annotated[
        int, typer.Option(min=1, max=100, help="Times that each is timed; the median counts.")
    ] = 5,
) -> None:
    """Measure how fast the graphs of models run here, and keep the best settings."""
    if not tune:
        raise typer.BadParameter(_WITHOUT_TUNE)
    directory = models or DEFAULT_MODELS
    if not directory.is_dir():
        raise typer.BadParameter(f"{directory} is no directory; give --models")
    service = require("salience_service.tune.measure", "service", _PURPOSE)
    config = require("salience_service.config", "service", _PURPOSE)
    with translated():
        asked = config.read_config(provider=provider, precision=precision, calls_in_flight=calls)
        device = asked.device
        candidates = service.Candidates(
            _counts(sizes, "--sizes") or service.SIZES[device.provider],
            _counts(threads, "--threads") or service.threads_to_try(device.provider),
            rounds,
        )
        for bundle in service.bundles_of(directory, model):
            _tune(service, bundle, device, candidates)


def _tune(service: ModuleType, bundle: Any, device: Any, candidates: Any) -> None:
    """Tunes one bundle, writes its file, and says what was chosen and why."""
    terminal = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(
        *columns, console=terminal, transient=True, disable=not terminal.is_terminal
    ) as bar:
        task = bar.add_task(f"tuning {bundle.manifest.name}", total=None)
        rates = service.measured(
            bundle,
            device,
            candidates,
            lambda done, total: bar.update(task, completed=done, total=total),
        )
    choice = require("salience_service.tune.choice", "service", _PURPOSE)
    files = require("salience_service.tune.file", "service", _PURPOSE)
    tuning = choice.chosen(rates)
    _print(choice, rates, tuning, bundle, device)  # First: a full disk loses none of it.
    path = files.write_tuning(bundle, tuning, device)
    typer.echo(f"wrote {path}; servers read it when they start")


def _print(choice: ModuleType, rates: Any, tuning: Any, bundle: Any, device: Any) -> None:
    console = table_console()
    manifest, speeds = bundle.manifest, choice.speeds(rates)
    console.print(
        f"[bold]{escape(manifest.name)}[/] {escape(manifest.version)} on {device.provider} in "
        f"{device.precision}, {device.calls} at a time: rows a second, by rows a call",
        highlight=False,
    )
    console.print(_table(choice, rates, tuning))
    if len(speeds) > 1:
        means = ", ".join(f"{threads}: {speed:,.0f}" for threads, speed in speeds.items())
        console.print(f"mean of all graphs' best by threads: {means}", highlight=False)
    nearly = f"{100 * (1 - choice.NEARLY):.0f} %"
    console.print(
        f"chosen: {_threads(tuning.threads)}, the fewest within {nearly} of the best, and of each "
        f"graph the smallest batch within {nearly} of its best: less to wait for, less memory",
        highlight=False,
    )


def _table(choice: ModuleType, rates: Mapping[Any, float], tuning: Any) -> Table:
    """A line a graph, a column a batch size, at the threads chosen; what was chosen is marked."""
    sizes = sorted({trial.batch_size for trial in rates})
    table = Table("Graph", "Maps", box=None, pad_edge=False, header_style="bold")
    for size in sizes:
        table.add_column(f"{size:,}", justify="right", no_wrap=True)
    for graph in sorted({trial.graph for trial in rates}):
        of_size = choice.of_graph(rates, graph, tuning.threads)
        best = choice.smallest(of_size)
        cells = [_cell(of_size.get(size), len(of_size) > 1 and size == best) for size in sizes]
        table.add_row(graph.role, escape(_place(graph)), *cells)
    return table


def _place(graph: Any) -> str:
    return graph.tap or "×".join(map(str, graph.shape))


def _cell(rate: float | None, is_chosen: bool) -> str:
    if rate is None:
        return ""
    word = f"{rate:,.0f}" if rate else "failed"
    return f"[bold]{word}*[/]" if is_chosen else word


def _threads(count: int) -> str:
    if not count:
        return "threads as the runtime has them"
    return f"{count} thread" + "s" * (count > 1)


def _counts(words: str, option: str) -> tuple[int, ...]:
    """Numbers from "4,8,16", rising, each once.

    Raises:
        BadParameter: one is no number from 1 to 1,024.
    """
    parts: Sequence[str] = listed([words])
    wrong = [part for part in parts if not (part.isdecimal() and 1 <= int(part) <= _LARGEST)]
    if wrong:
        raise typer.BadParameter(f"{option} {wrong[0]!r} is no number from 1 to {_LARGEST:,}")
    return tuple(sorted({int(part) for part in parts}))
