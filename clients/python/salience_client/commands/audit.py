"""`salience audit`: the key of an audit trail, whether a trail is whole, and what it says."""

import json
from pathlib import Path
from typing import Annotated

import typer

from salience_client.extras import require
from salience_client.in_process import translated

_FOR = "audit trails"
app = typer.Typer(no_args_is_help=True, help="Look after the audit trail of a server.")

TrailArgument = Annotated[
    Path, typer.Argument(exists=True, file_okay=False, metavar="DIR", help="The trail's directory.")
]
KeyOption = Annotated[
    Path, typer.Option(exists=True, dir_okay=False, metavar="FILE", help="The trail's key.")
]


@app.command()
def keygen(
    out: Annotated[Path, typer.Option(metavar="FILE", help="Where the key goes.")],
) -> None:
    """Make the key of a trail."""
    keys = require("salience_service.audit.keys", "service", _FOR)
    with translated():
        keys.write_new_key(out)
    typer.echo(f"{out}: the key; whoever has it can forge the trail: keep it from all others")


@app.command()
def verify(
    trail: TrailArgument,
    key: KeyOption,
    anchor: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NUMBER:SEAL",
            help="From the server's log; the trail must hold it. Repeatable.",
        ),
    ] = None,
    archived: Annotated[
        bool, typer.Option("--archived", help="Older files are kept elsewhere: no fault.")
    ] = False,
) -> None:
    """Find what was changed, taken out, put in another order or cut off; exit code 1 if anything.

    The server may run meanwhile.
    """
    keys = require("salience_service.audit.keys", "service", _FOR)
    verifying = require("salience_service.audit.verify", "service", _FOR)
    with translated():
        found = verifying.verify(trail, keys.read_keys(key).chain, anchor or (), archived)
    for line in verifying.told(found):
        typer.echo(line)
    if not found.whole:
        raise typer.Exit(1)


@app.command()
def find(
    trail: TrailArgument,
    key: KeyOption,
    image: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, metavar="FILE", help="As it was sent."),
    ] = None,
    actions: Annotated[
        bool, typer.Option("--actions", help="What administrators did, and were refused.")
    ] = False,
) -> None:
    """Print the records of an image file, a line each: who had it explained, when, and how.

    With --actions, those of the administration instead. On stderr, what `verify` says of the
    trail: exit code 1 where it is not whole, for what is not there is not found.
    """
    if actions is (image is not None):
        raise typer.BadParameter("give either --image FILE or --actions")
    keys = require("salience_service.audit.keys", "service", _FOR)
    finding = require("salience_service.audit.finding", "service", _FOR)
    verifying = require("salience_service.audit.verify", "service", _FOR)
    with translated():
        known = keys.read_keys(key)
        found = (
            finding.actions_of(trail, known)
            if image is None
            else finding.records_of(trail, known, image.read_bytes())
        )
        for fields in found:
            typer.echo(json.dumps(fields))
        report = verifying.verify(trail, known.chain)
    for line in verifying.told(report):
        typer.echo(line, err=True)
    if not report.whole:
        raise typer.Exit(1)
