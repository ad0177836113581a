"""`salience export torch` and `salience export onnx`: a model becomes a bundle, on the terminal."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from salience_export import export_onnx, export_torch
from salience_export.contract import ModelContract
from salience_export.contract_toml import read_contract
from salience_export.destination import Destination
from salience_export.errors import ExportError
from salience_export.factory import made_by
from salience_export.report import ExportReport, as_json, as_text
from salience_service.errors import ConfigRefused
from salience_service.signatures.key_files import read_private

app = typer.Typer(no_args_is_help=True, help="Turn a classifier into a bundle to serve.")

Name = Annotated[str, typer.Option(help="The model's name: a-z, 0-9, '.', '_', '-'.")]
Version = Annotated[str, typer.Option(help="Its version, in the same alphabet.")]
Out = Annotated[Path, typer.Option(help="Where models lie; NAME/VERSION is added.")]
SignKey = Annotated[
    Path | None, typer.Option(metavar="FILE.pem", help="Sign the bundle with this private key.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@app.command("torch")
def torch_command(
    factory: Annotated[str, typer.Argument(help="PACKAGE.MODULE:FACTORY, returns the module.")],
    name: Name,
    contract: Annotated[
        Path | None,
        typer.Option("--input", help="TOML contract; replaces what the factory states."),
    ] = None,
    tap: Annotated[
        list[str] | None,
        typer.Option(help="A module's name, or NAME#0 … for one call of several; repeatable."),
    ] = None,
    out: Out = Path("models"),
    version: Version = "1",
    sign_key: SignKey = None,
    as_json_object: AsJson = False,
) -> None:
    """Export a classifier written in torch."""

    def export() -> ExportReport:
        key = _key(sign_key)
        stated = None if contract is None else read_contract(contract)
        network, own = made_by(factory)
        return export_torch(
            network, _stated(stated or own), Destination(out, name, version), tap or (), key
        )

    _tell(export, as_json_object)


@app.command("onnx")
def onnx_command(
    file: Annotated[Path, typer.Argument(help="The ONNX file.")],
    contract: Annotated[Path, typer.Option("--input", help="TOML contract of the file.")],
    name: Name,
    tap: Annotated[list[str] | None, typer.Option(help="A tensor's name; repeatable.")] = None,
    out: Out = Path("models"),
    version: Version = "1",
    sign_key: SignKey = None,
    as_json_object: AsJson = False,
) -> None:
    """Export a classifier from an ONNX file; torch is not needed."""

    def export() -> ExportReport:
        key = _key(sign_key)
        return export_onnx(
            file, read_contract(contract), Destination(out, name, version), tap or (), key
        )

    _tell(export, as_json_object)


def _key(path: Path | None) -> Ed25519PrivateKey | None:
    """The private key in a file; read first, so that nobody waits long to be asked for it."""
    if path is None:
        return None
    try:
        return read_private(path, partial(typer.prompt, "Passphrase", hide_input=True))
    except ConfigRefused as error:
        raise ExportError(str(error)) from error


def _stated(contract: ModelContract | None) -> ModelContract:
    if contract is None:
        raise ExportError("the factory states no contract: give one with --input FILE.toml")
    return contract


def _tell(export: Callable[[], ExportReport], as_json_object: bool) -> None:
    """Prints the report, or the error on the error stream with exit status 1."""
    try:
        report = export()
    except ExportError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error
    typer.echo(as_json(report) if as_json_object else as_text(report))
