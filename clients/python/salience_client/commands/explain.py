"""`salience explain`: one image, one or more methods; a table, JSON, and files."""

from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from salience_client.commands.arguments import (
    ALL,
    FILLS,
    box_of_word,
    curves_of_word,
    fill_of_word,
    listed,
    methods_of,
    priority_of_word,
    scores_of,
    side_of_word,
    stop_of,
)
from salience_client.commands.connection import (
    COMMAND_TIMEOUT,
    AddressOption,
    ModelsOption,
    TimeoutOption,
    connect,
)
from salience_client.commands.console import table_console
from salience_client.commands.files import WrittenMap, make_writable, write_maps
from salience_client.commands.identity import (
    TlsCaOption,
    TlsCertOption,
    TlsKeyOption,
    TlsOption,
    TlsServerNameOption,
    TokenFileOption,
    identity_of,
)
from salience_client.commands.montage import write_montage
from salience_client.commands.progress import shown
from salience_client.commands.report import json_report, print_table
from salience_client.explanation import Explanation
from salience_client.image import Dicom
from salience_client.method import Method
from salience_client.model import ModelDescription
from salience_client.request import RequestOptions, StopWhen

_DICOM_PREAMBLE, _DICOM_MARK = 128, b"DICM"


def explain(
    image: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="The picture.")
    ],
    model: Annotated[str, typer.Option(metavar="NAME", help="The model.")],
    method: Annotated[
        list[str],
        typer.Option(
            metavar="M[,M…]",
            help=f"Methods, such as score-cam, or {ALL} that the model can answer. Repeatable.",
        ),
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
            metavar="S[,S…]",
            help="Faithfulness scores of each map: ad, ai, ag, insertion, deletion, "
            "insertion-deletion.",
            show_default="none",
        ),
    ] = "",
    curves: Annotated[
        str,
        typer.Option(
            metavar="PROTOCOL", help="How insertion and deletion are taken: rise, polycam."
        ),
    ] = "rise",
    box: Annotated[
        str | None,
        typer.Option(
            metavar="mean|SHARE",
            help="Give the box around the largest part of each map above its mean, or above a "
            "share (such as 0.5) of the way from its least value to its greatest.",
            show_default="none",
        ),
    ] = None,
    fill: Annotated[
        str, typer.Option(metavar="FILL", help=f"What stands behind the masks: {FILLS}.")
    ] = "mean",
    score_fill: Annotated[
        str | None,
        typer.Option(metavar="FILL", help="The same for ad, ai, ag.", show_default="--fill"),
    ] = None,
    gradient_side: Annotated[
        str,
        typer.Option(
            metavar="SIDE",
            help="Who takes gradients: onnx, torch, or auto (onnx where the model has the graphs).",
        ),
    ] = "auto",
    priority: Annotated[
        str,
        typer.Option(metavar="PRIORITY", help="Whose rows go first: interactive, normal or bulk."),
    ] = "normal",
    stop_at: Annotated[
        float | None,
        typer.Option(
            metavar="CORRELATION",
            help="Let anytime methods end when their map is estimated to correlate so well with "
            "the one of all rows, such as 0.95. Repeatable maps.",
            show_default="never",
        ),
    ] = None,
    stop_after: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            help="Let anytime methods end after so long. Maps that are not repeatable.",
            show_default="never",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            file_okay=False,
            help="Write METHOD.npy (float32, 0 to 1; signed maps −1 to 1) and "
            "METHOD.png (overlay) here; METHOD.TARGET for several targets.",
        ),
    ] = None,
    montage: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.png", dir_okay=False, help="Draw all maps in one picture, in rows."
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    model_version: Annotated[
        str,
        typer.Option(
            metavar="VERSION",
            help="The model's version.",
            show_default="the one that the server answers with",
        ),
    ] = "",
    address: AddressOption = None,
    models: ModelsOption = None,
    timeout: TimeoutOption = COMMAND_TIMEOUT,
    tls: TlsOption = False,
    tls_ca: TlsCaOption = None,
    tls_cert: TlsCertOption = None,
    tls_key: TlsKeyOption = None,
    tls_server_name: TlsServerNameOption = "",
    token_file: TokenFileOption = None,
) -> None:
    """Explain why a model gives an image its class."""
    progress = Console(stderr=True)
    asked = partial(methods_of, options=option or [], taps=tap or [])
    named = [] if listed(method) == [ALL] else asked(method)
    options = _options(
        model=model,
        version=model_version,
        methods=named,
        targets=target or [],
        scores=scores,
        curves=curves,
        box=box,
        fill=fill,
        score_fill=score_fill,
        gradient_side=gradient_side,
        priority=priority,
        stop=stop_of(stop_at, stop_after),
        partial_maps=progress.is_terminal,  # They tell how near the map is.
    )
    data = image.read_bytes()
    identity = identity_of(tls, tls_ca, tls_cert, tls_key, tls_server_name, token_file)
    drawn = _made_writable(out, montage)
    with connect(address, models, timeout, identity) as client:
        # Before the work, and of one version: a newer one may come meanwhile.
        described = client.describe(model, model_version) if drawn or not named else None
        if described is not None:
            options["version"] = described.summary.version
            options["methods"] = named or asked(_answerable(described))
        explanation = Explanation.of(shown(client.stream(_picture(data), **options), progress))
    resize = described.input.resize if described else ""
    _report(explanation, image, data, resize, out, montage, json)


def _options(
    *,
    model: str,
    version: str,
    methods: list[Method],
    targets: list[str],
    scores: str,
    curves: str,
    box: str | None,
    fill: str,
    score_fill: str | None,
    gradient_side: str,
    priority: str,
    stop: StopWhen | None,
    partial_maps: bool,
) -> RequestOptions:
    """The command's words as a request has them.

    Raises:
        BadParameter: a word that means nothing.
    """
    options: RequestOptions = {
        "model": model,
        "version": version,
        "methods": methods,
        "targets": targets,
        "scores": scores_of(scores),
        "curve_protocol": curves_of_word(curves),
        "fill": fill_of_word(fill),
        "gradient_side": side_of_word(gradient_side),
        "priority": priority_of_word(priority),
        "partial_maps": partial_maps,
    }
    if score_fill is not None:
        options["score_fill"] = fill_of_word(score_fill)
    if box is not None:
        options["box"] = box_of_word(box)
    if stop is not None:
        options["stop_when"] = stop
    return options


def _picture(data: bytes) -> bytes | Dicom:
    return Dicom(data) if data[_DICOM_PREAMBLE:].startswith(_DICOM_MARK) else data


def _made_writable(out: Path | None, montage: Path | None) -> bool:
    """Makes the directories of what is to be written; tells whether anything is.

    Raises:
        OSError: nothing can be written there.
    """
    directories = [*([out] if out else []), *([montage.parent] if montage else [])]
    for directory in directories:
        make_writable(directory)
    return bool(directories)


def _answerable(model: ModelDescription) -> list[str]:
    """Every method that the model can answer, in the order of the server."""
    return [method.name for method in model.methods if method.available]


def _report(
    explanation: Explanation,
    image: Path,
    data: bytes,
    resize: str,
    out: Path | None,
    montage: Path | None,
    json: bool,
) -> None:
    """Writes what was asked for, then tells the answer and the files that are there.

    Raises:
        OSError: a file cannot be written; the answer is told all the same.
    """
    written: dict[int, WrittenMap] = {}
    try:
        for map_id, files in _written(explanation, data, image.name, resize, out, montage):
            written[map_id] = files
    finally:  # A full disk loses none of the answer, and none of what was written before.
        if json:
            typer.echo(json_report(explanation, image, written))
        else:
            print_table(table_console(), explanation, image)
            _tell_files(written.values(), out)
    if montage is not None and not json:
        typer.echo(f"a montage in {montage}")


def _written(
    explanation: Explanation,
    image: bytes,
    name: str,
    resize: str,
    out: Path | None,
    montage: Path | None,
) -> Iterator[tuple[int, WrittenMap]]:
    """Writes what was asked for; tells the files of each map as they come."""
    if out is not None:
        yield from write_maps(explanation.maps, image, resize, out)
    if montage is not None:
        write_montage(explanation, image, name, resize, montage)


def _tell_files(written: Iterable[WrittenMap], out: Path | None) -> None:
    number = sum(1 if files.picture is None else 2 for files in written)
    if number:
        typer.echo(f"{number} files in {out}")
