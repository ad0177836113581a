"""`salience serve`: the gRPC server over a directory of bundles."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from salience_client.extras import require
from salience_client.in_process import translated


def serve(
    models: Annotated[
        Path,
        typer.Argument(exists=True, file_okay=False, metavar="DIR", help="The models directory."),
    ],
    address: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="Where to listen; port 0 = any free port.",
            show_default="127.0.0.1:50051",
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, metavar="FILE.toml", help="The configuration."),
    ] = None,
) -> None:
    """Serve models over gRPC until SIGTERM or SIGINT."""
    configs = require("salience_service.config", "service", "serving models")
    server = require("salience_service.rpc.server", "service", "serving models")
    with translated():
        server.serve(configs.read_config(config, address=address), models, _announce)


def _announce(address: str, models: Sequence[Any]) -> None:
    """On stdout, at once: scripts wait for this line to learn the port."""
    names = ", ".join(f"{model.name} {model.version}" for model in models)
    typer.echo(f"serving {names} on {address}")
