"""`salience explain`: one image, one or more methods; a table, JSON, and files."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from salience_client.commands.arguments import (
    FILLS,
    fill_of_word,
    methods_of,
    scores_of,
    side_of_word,
)
from salience_client.commands.connection import (
    COMMAND_TIMEOUT,
    AddressOption,
    ModelsOption,
    TimeoutOption,
    connect,
)
from salience_client.commands.files import write_maps
from salience_client.commands.progress import shown
from salience_client.commands.report import json_report, print_table
from salience_client.explanation import Explanation
from salience_client.image import Dicom
from salience_client.request import RequestOptions

_DICOM_PREAMBLE, _DICOM_MARK = 128, b"DICM"


def explain(
    image: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="The picture.")
    ],
    model: Annotated[str, typer.Option(metavar="NAME", help="The model.")],
    method: Annotated[
        list[str], typer.Option(metavar="M[,M…]", help="Methods, such as score-cam. Repeatable.")
    ],
    option: Annotated[
        list[str] | None,
        typer.Option(metavar="METHOD.KEY=VALUE", help="An option of a method. Repeatable."),
    ] = None,
    tap: Annotated[
        list[str] | None,
        typer.Option(metavar="METHOD=TAP[,TAP]", help="The taps of a method. Repeatable."),
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CLASS",
            help="LABEL, INDEX, not:LABEL, A-B, top:K or above-threshold. Repeatable.",
            show_default="the top class",
        ),
    ] = None,
    scores: Annotated[
        str,
        typer.Option(
            metavar="ad,ai,ag", help="Faithfulness scores of each map.", show_default="none"
        ),
    ] = "",
    fill: Annotated[
        str, typer.Option(metavar="FILL", help=f"What stands behind the masks: {FILLS}.")
    ] = "mean",
    score_fill: Annotated[
        str | None,
        typer.Option(metavar="FILL", help="The same for the scores.", show_default="--fill"),
    ] = None,
    gradient_side: Annotated[
        str,
        typer.Option(
            metavar="SIDE",
            help="Who takes gradients: onnx, torch, or auto (onnx where the model has the graphs).",
        ),
    ] = "auto",
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            file_okay=False,
            help="Write METHOD.npy (float32, 0 to 1; signed maps −1 to 1) and "
            "METHOD.png (overlay) here; METHOD.TARGET for several targets.",
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    model_version: Annotated[
        str, typer.Option(metavar="VERSION", help="The model's version.", show_default="the newest")
    ] = "",
    address: AddressOption = None,
    models: ModelsOption = None,
    timeout: TimeoutOption = COMMAND_TIMEOUT,
) -> None:
    """Explain why a model gives an image its class."""
    options: RequestOptions = {
        "model": model,
        "version": model_version,
        "methods": methods_of(method, option or [], tap or []),
        "targets": target or [],
        "scores": scores_of(scores),
        "fill": fill_of_word(fill),
        "gradient_side": side_of_word(gradient_side),
        "partial_maps": False,
    }
    if score_fill is not None:
        options["score_fill"] = fill_of_word(score_fill)
    data = image.read_bytes()
    is_dicom = data[_DICOM_PREAMBLE:].startswith(_DICOM_MARK)
    with connect(address, models, timeout) as client:
        stream = client.stream(Dicom(data) if is_dicom else data, **options)
        explanation = Explanation.of(shown(stream, Console(stderr=True)))
        written = []
        if out is not None:
            resize = client.describe(model, explanation.started.version).input.resize
            written = write_maps(explanation.maps, data, resize, out)
    if json:
        typer.echo(json_report(explanation, image, written))
        return
    print_table(Console(), explanation, image)
    if out is not None:
        typer.echo(f"{2 * len(written)} files in {out}")
