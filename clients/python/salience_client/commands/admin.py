"""`salience admin`: loads, retires and rolls back versions of models while a server runs."""

import json as json_format
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from salience_client.admin import DEFAULT_TIMEOUT, AdminClient, ServerStatus, VersionStatus
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

admin = typer.Typer(name="admin", help="Care for the models of a running server.")

ModelArgument = Annotated[str, typer.Argument(help="The model's name.")]
VersionArgument = Annotated[str, typer.Argument(help="Its version.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
MEBIBYTE = 2**20


@admin.callback()
def connection(
    context: typer.Context,
    address: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="The server's admin service.")
    ] = "127.0.0.1:50052",
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.1, help="Time for an answer.")
    ] = DEFAULT_TIMEOUT,
    tls: TlsOption = False,
    tls_ca: TlsCaOption = None,
    tls_cert: TlsCertOption = None,
    tls_key: TlsKeyOption = None,
    tls_server_name: TlsServerNameOption = "",
    token_file: TokenFileOption = None,
) -> None:
    """Care for the models of a running server, whose configuration has a table [admin]."""
    identity = identity_of(tls, tls_ca, tls_cert, tls_key, tls_server_name, token_file)
    context.obj = context.with_resource(
        AdminClient(address, tls=identity.tls, token=identity.token, timeout=timeout)
    )


@admin.command("list")
def list_versions(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="One model.", show_default="all")] = "",
    json: JsonOption = False,
) -> None:
    """List the versions that are held or lie in the models directory, with their states."""
    _print(_client(context).versions(model), json)


@admin.command()
def load(
    context: typer.Context, model: ModelArgument, version: VersionArgument, json: JsonOption = False
) -> None:
    """Load a version, or load it anew; what served before serves on until it is good."""
    _print(_client(context).load(model, version), json)


@admin.command()
def retire(
    context: typer.Context, model: ModelArgument, version: VersionArgument, json: JsonOption = False
) -> None:
    """Retire a version: it ends what it began, answers nothing new, and frees its memory."""
    _print(_client(context).retire(model, version), json)


@admin.command()
def rollback(
    context: typer.Context,
    model: ModelArgument,
    version: Annotated[str, typer.Argument(help="The version that is to answer.")] = "",
    newest: Annotated[
        bool, typer.Option("--newest", help="The newest answers again, whichever that is.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Let a version answer the requests that name none, whatever newer ones come."""
    if bool(version) == newest:
        raise typer.BadParameter("give a version, or --newest")
    client = _client(context)
    _print(client.roll_forward(model) if newest else client.roll_back(model, version), json)


@admin.command()
def status(context: typer.Context, json: JsonOption = False) -> None:
    """Tell how the server fares: lanes, queue, load, memory, time."""
    found = _client(context).status()
    if json:
        typer.echo(json_format.dumps(asdict(found)))
    else:
        table_console().print("\n".join(_lines(found)), highlight=False)


def _client(context: typer.Context) -> AdminClient:
    client: AdminClient = context.obj
    return client


def _print(versions: Sequence[VersionStatus], json: bool) -> None:
    if json:
        typer.echo(json_format.dumps({"versions": [asdict(each) for each in versions]}))
        return
    table = Table(
        "Model", "Version", "State", "", "In use", "Digest", box=None, pad_edge=False,
        header_style="bold",
    )  # fmt: skip
    for each in versions:
        answers = ("pinned" if each.pinned else "default") if each.is_default else ""
        state = escape(f"{each.state}: {each.reason}" if each.reason else each.state)
        in_use = str(each.explanations or "")
        digest = each.bundle_digest[:12]
        table.add_row(escape(each.model), escape(each.version), state, answers, in_use, digest)
    table_console().print(table)


def _lines(found: ServerStatus) -> list[str]:
    load, limit = found.load, found.limit
    return [
        f"salience {found.software_version}, up {found.uptime_seconds:,.0f} s, "
        f"{found.provider or 'no model serves'}",
        f"lanes     {found.busy_lanes} of {found.lanes} busy, {found.waiting_rows:,} rows wait",
        f"running   {load.explanations:,} explanations of {limit.explanations:,}",
        f"rows      {load.rows:,} asked for, of {limit.rows:,}; {found.rows_run:,} run, "
        f"batches {found.batch_fill:.0%} full",
        f"held      {load.bytes / MEBIBYTE:,.0f} MiB of {limit.bytes / MEBIBYTE:,.0f}; "
        f"cache {found.cache_bytes / MEBIBYTE:,.0f} MiB",
        f"memory    {found.resident_bytes / MEBIBYTE:,.0f} MiB in all",
    ]
