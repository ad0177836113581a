"""The `salience` command: one small module per subcommand."""

from importlib.metadata import version as installed_version
from typing import Annotated

import typer

from salience_client.commands import audit
from salience_client.commands.admin import admin
from salience_client.commands.bench import bench
from salience_client.commands.explain import explain
from salience_client.commands.export import FORWARDED, export
from salience_client.commands.health import health
from salience_client.commands.models import models
from salience_client.commands.serve import serve
from salience_client.commands.signing import keygen, sign, verify
from salience_client.commands.token import token

app = typer.Typer(
    name="salience",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(explain)
app.command()(models)
app.command()(serve)
app.command()(health)
app.command()(bench)
app.command()(keygen)
app.command()(sign)
app.command()(verify)
app.add_typer(audit.app, name="audit")
app.add_typer(token)
app.add_typer(admin)
app.command(add_help_option=False, context_settings=FORWARDED)(export)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"salience {installed_version('salience')}")
        raise typer.Exit


@app.callback()
def salience(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print it."),
    ] = False,
) -> None:
    """Why this class? Saliency maps of image classifiers, with scores."""
