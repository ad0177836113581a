"""`salience token`: makes tokens, of which a server keeps only the digest."""

import os
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from salience_client.extras import require
from salience_client.in_process import translated

token = typer.Typer(name="token", help="Make tokens by which a server knows its callers.")


@token.callback()
def _about() -> None:
    """Make tokens by which a server knows its callers."""


@token.command()
def new(
    name: Annotated[
        str, typer.Argument(help="The principal, as the server's configuration has it.")
    ],
    until: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%d"], metavar="YYYY-MM-DD", help="The last day it holds (UTC)."
        ),
    ] = None,
    add_to: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", dir_okay=False, help="Append the line here instead of telling it."
        ),
    ] = None,
) -> None:
    """Make a token: stdout gets it, this once; stderr the line for the server's token file."""
    tokens = require("salience_service.access.tokens", "service", "making tokens")
    with translated():
        made = tokens.new_token(name, until.date() if until else None)
    if add_to is None:
        typer.echo(f"The line for the server's access.tokens_file:\n\n{made.line}\n", err=True)
        typer.echo("The token itself is on stdout, this once; it is stored nowhere.", err=True)
    else:
        _append(made.line, add_to)
    typer.echo(made.secret)


def _append(line: str, file: Path) -> None:
    """In one write, so that a server that looks meanwhile reads whole lines."""
    held = file.read_bytes() if file.is_file() else b""
    between = b"\n" if held and not held.endswith(b"\n") else b""
    descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
    with open(descriptor, "ab", buffering=0) as out:  # noqa: PTH123
        out.write(between + line.encode() + b"\n")
