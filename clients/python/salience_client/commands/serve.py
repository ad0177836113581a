"""`salience serve`: the gRPC server over a directory of bundles."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from salience_client.extras import require
from salience_client.in_process import translated


# Neither path is looked at here: where its volume is late, that is no wrong usage (2), after which
# systemd starts nothing again, but a start that is refused (1).
def serve(
    models: Annotated[
        Path, typer.Argument(readable=False, metavar="DIR", help="The models directory.")
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
        typer.Option(readable=False, metavar="FILE.toml", help="The configuration."),
    ] = None,
    unsigned: Annotated[
        bool, typer.Option("--unsigned", help="Serve bundles that no trusted key has signed.")
    ] = False,
    supervised: Annotated[
        bool | None,
        typer.Option(
            "--supervised/--no-supervised",
            help="Start the server again when it crashes.",
            show_default="whether the configuration has [supervisor]",
        ),
    ] = None,
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Say what would be served, and serve nothing; exit code 1 = not all is good.",
        ),
    ] = False,
) -> None:
    """Serve models over gRPC until SIGTERM or SIGINT.

    Exit codes: 0 stopped as told, 1 refused to start, 2 wrong usage or a package is missing, 69 the
    supervisor gave up, 70 failed while serving, 75 a call on a device did not return, 130
    interrupted before it served, 143 told twice to stop.
    """
    configs = require("salience_service.config", "service", "serving models")
    with translated():
        settings = configs.read_config(
            config, address=address, **{"bundles.unsigned": "allow" if unsigned else None}
        )
        if check:
            raise typer.Exit(_checked(settings, models))
        if supervised or (supervised is None and settings.supervisor):
            _supervise(settings)
        process = require("salience_service.rpc.server.process", "service", "serving models")
        process.serve(settings, models, _announce)


def _checked(settings: Any, models: Path) -> int:
    """Says on stdout what was found. Returns the exit code."""
    checking = require("salience_service.checking", "service", "serving models")
    effective = require("salience_service.config.effective", "service", "serving models")
    logs = require("salience_service.telemetry.log_format", "service", "serving models")
    logs.write_logs(settings.logging)
    for line in effective.effective(settings):
        typer.echo(line)
    code = 0
    for finding in checking.check(settings, models):
        typer.echo(f"{'ok' if finding.good else 'NOT GOOD'}: {finding.what}: {finding.words}")
        code = code if finding.good else 1
    return code


def _supervise(settings: Any) -> NoReturn:
    """Becomes the supervisor of this same command, which is then told not to."""
    become = require("salience_service.life.become", "service", "serving models")
    command = [sys.executable, "-m", "salience_client.cli", *sys.argv[1:], "--no-supervised"]
    become.become_supervisor(command, settings.restart_policy, settings.drain_seconds)
    raise AssertionError("another program took this process over")


def _announce(address: str, models: Sequence[Any]) -> None:
    """On stdout, at once: scripts wait for this line to learn the port."""
    names = ", ".join(f"{model.name} {model.version}" for model in models)
    typer.echo(f"serving {names} on {address}")
