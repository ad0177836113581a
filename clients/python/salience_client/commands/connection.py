"""Which server answers a command: one at an address, or an engine in this process."""

import math
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from salience_client.client import Client
from salience_client.commands.identity import Identity
from salience_client.in_process import open_in_process

DEFAULT_MODELS = Path("models")
COMMAND_TIMEOUT = 600.0
"""Seconds; more than the library's, because whoever waits sees a bar and can interrupt."""

NO_IDENTITY = Identity()

AddressOption = Annotated[
    str | None,
    typer.Option("--address", metavar="HOST:PORT", help="Ask this server."),
]
ModelsOption = Annotated[
    Path | None,
    typer.Option(
        "--models",
        metavar="DIR",
        help="Run the bundles of this directory in this process.",
        show_default=str(DEFAULT_MODELS),
    ),
]
TimeoutOption = Annotated[
    float,
    typer.Option(
        "--timeout", metavar="SECONDS", min=0, help="Time for the answer; 0 = no deadline."
    ),
]


def connect(
    address: str | None, models: Path | None, timeout: float, identity: Identity = NO_IDENTITY
) -> Client:
    """A client of the server at an address, or else of an engine over a models directory.

    Raises:
        BadParameter: both are given, or the directory is not there.
        SalienceError: no bundle can be opened.
    """
    seconds = timeout or math.inf
    if address is not None and models is not None:
        raise typer.BadParameter("give --address or --models, not both")
    if address is not None:
        return Client(address, timeout=seconds, tls=identity.tls, token=identity.token)
    directory = models or DEFAULT_MODELS
    if not directory.is_dir():
        raise typer.BadParameter(f"{directory} is no directory; give --models or --address")
    with Console(stderr=True).status("opening the models"):  # shown on a terminal alone
        return Client(open_in_process(directory), timeout=seconds)
