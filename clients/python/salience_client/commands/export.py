"""`salience export`: hands over to the exporter, which is imported only here."""

import typer

from salience_client.extras import require

# Every argument, --help included, is the exporter's own to read.
FORWARDED = {
    "allow_extra_args": True,
    "allow_interspersed_args": False,
    "ignore_unknown_options": True,
}


def export(context: typer.Context) -> None:
    """Export a model, from torch or from an ONNX file, into a bundle."""
    commands = require("salience_export.command", "export", "exporting a model")
    typer.main.get_command(commands.app)(args=context.args, prog_name="salience export")
