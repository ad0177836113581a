"""`salience models`: which models there are, or all of one."""

import json as json_format
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from salience_client.commands.connection import (
    COMMAND_TIMEOUT,
    AddressOption,
    ModelsOption,
    TimeoutOption,
    connect,
)
from salience_client.commands.console import table_console
from salience_client.commands.identity import (
    TlsCaOption,
    TlsCertOption,
    TlsKeyOption,
    TlsOption,
    TlsServerNameOption,
    TokenFileOption,
    identity_of,
)
from salience_client.model import MethodDescription, ModelDescription, ModelSummary, Option


def models(
    name: Annotated[
        str | None, typer.Argument(help="Describe this model: input, taps, methods, options.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    address: AddressOption = None,
    models: ModelsOption = None,
    timeout: TimeoutOption = COMMAND_TIMEOUT,
    tls: TlsOption = False,
    tls_ca: TlsCaOption = None,
    tls_cert: TlsCertOption = None,
    tls_key: TlsKeyOption = None,
    tls_server_name: TlsServerNameOption = "",
    token_file: TokenFileOption = None,
) -> None:
    """List the models served, or describe one."""
    identity = identity_of(tls, tls_ca, tls_cert, tls_key, tls_server_name, token_file)
    with connect(address, models, timeout, identity) as client:
        summaries = client.models()
        description = client.describe(name) if name is not None else None
    console = table_console()
    if json and description is not None:
        typer.echo(json_format.dumps(asdict(description)))
    elif json:
        typer.echo(json_format.dumps({"models": [asdict(summary) for summary in summaries]}))
    elif description is not None:
        _print_description(console, description)
    else:
        console.print(_summary_table(summaries))


def _summary_table(summaries: tuple[ModelSummary, ...]) -> Table:
    table = _table("Model", "Version", "", "Provider", "Digest")
    for summary in summaries:
        default = "default" if summary.is_default else ""
        digest = summary.bundle_digest[:12]
        table.add_row(
            escape(summary.name), escape(summary.version), default, summary.provider, digest
        )
    return table


def _print_description(console: Console, model: ModelDescription) -> None:
    summary, image = model.summary, model.input
    lines = [
        f"[bold]{escape(summary.name)}[/] {escape(summary.version)} on {summary.provider}",
        f"input   {image.channels}×{image.height}×{image.width} {image.colour_order}, "
        f"resized by {image.resize}",
        f"output  {model.output}, {model.classes:,} classes",
        f"digest  {summary.bundle_digest}",
        f"batch   {model.batch_size} rows a device call",
        f"numbers {model.precision}, {_tuning(model)}",
        f"scores  {', '.join(model.scores) or 'none'}",
        f"gradients by {' or '.join(model.gradient_sides) or 'no side'}",
    ]
    console.print("\n".join(lines), highlight=False)
    taps = _table("Tap", "Channels", "Size")
    for tap in model.taps:
        taps.add_row(escape(tap.name), f"{tap.channels:,}", f"{tap.height}×{tap.width}")
    console.print()
    console.print(taps)
    for method in model.methods:
        console.print()
        _print_method(console, method)


def _tuning(model: ModelDescription) -> str:
    return f"tuned by {model.tuning_digest[:12]}" if model.tuning_digest else "not tuned"


def _print_method(console: Console, method: MethodDescription) -> None:
    console.print(f"[bold]{escape(method.name)}[/]  {escape(method.summary)}", highlight=False)
    if not method.available:
        console.print(f"  [yellow]not here:[/] {escape(method.unavailable_reason)}")
    if method.fails_sanity_checks:
        console.print("  [yellow]caution:[/] its maps hardly change with the network's weights")
    if method.anytime:
        console.print("  anytime: --stop-at and --stop-after may end it early")
    if method.default_taps:
        console.print(f"  taps: {escape(', '.join(method.default_taps))}", highlight=False)
    options = _table("  Option", "Default", "Allowed", "")
    for option in method.options:
        default = "" if option.default is None else str(option.default)
        if isinstance(option.default, bool):
            default = default.lower()  # as --option takes it
        options.add_row(
            f"  {escape(option.name)}", default, _allowed(option), escape(option.summary)
        )
    if method.options:
        console.print(options)


def _allowed(option: Option) -> str:
    if option.choices:
        return escape(", ".join(option.choices))
    if option.minimum is None and option.maximum is None:
        return option.type
    low = "" if option.minimum is None else f"{option.minimum:g}"
    high = "" if option.maximum is None else f"{option.maximum:g}"
    return f"{option.type} {low} to {high}"


def _table(*columns: str) -> Table:
    return Table(*columns, box=None, pad_edge=False, header_style="bold")
