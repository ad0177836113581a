"""The manifest as the file manifest.json: the one place where protobuf meets it."""

from collections.abc import Mapping
from enum import Enum
from typing import Any, TypeVar

from google.protobuf import json_format

from salience.v1 import manifest_pb2 as pb
from salience_service.bundle.consistency import check_manifest
from salience_service.bundle.manifest import (
    SCHEMA_VERSION,
    BundleFile,
    ColourOrder,
    Golden,
    Graph,
    GraphRole,
    Head,
    InputContract,
    Interpolation,
    Manifest,
    OutputKind,
    PrecisionCost,
    Resize,
    ResizeRule,
    Source,
    Tap,
    TokenLayout,
)
from salience_service.errors import BundleRefused
from salience_service.nesting import not_deep

_Kind = TypeVar("_Kind", bound=Enum)

# Each enum of ours with the wire's; members carry the wire's names after the prefix.
_ENUMS: Mapping[type[Enum], tuple[Any, str]] = {
    ColourOrder: (pb.ColourOrder, "COLOUR_ORDER_"),
    ResizeRule: (pb.ResizeRule, "RESIZE_RULE_"),
    Interpolation: (pb.Interpolation, "INTERPOLATION_"),
    OutputKind: (pb.OutputKind, "OUTPUT_KIND_"),
    TokenLayout: (pb.TokenLayout, "TOKEN_LAYOUT_"),
    GraphRole: (pb.GraphRole, "GRAPH_ROLE_"),
}
_SAID_OF_A_FAULT = 200


def to_json(manifest: Manifest) -> str:
    """The text of manifest.json.

    Raises:
        BundleRefused: the manifest contradicts itself.
    """
    check_manifest(manifest)
    message = to_message(manifest)
    return json_format.MessageToJson(message, preserving_proto_field_name=True) + "\n"


def from_json(text: str | bytes) -> Manifest:
    """The manifest in the text of manifest.json; fields it does not know are ignored.

    Raises:
        BundleRefused: not JSON, not a manifest, another schema version, an enum left
            unstated, or a manifest that contradicts itself.
    """
    try:
        message = json_format.Parse(not_deep(text), pb.Manifest(), ignore_unknown_fields=True)
    except (json_format.ParseError, ValueError) as fault:
        raise BundleRefused(
            f"manifest.json is not a manifest: {str(fault)[:_SAID_OF_A_FAULT]}"
        ) from fault
    if message.schema_version != SCHEMA_VERSION:
        raise BundleRefused(
            f"manifest.json has schema version {message.schema_version}; this reader knows "
            f"{SCHEMA_VERSION}: export the model again, or update the reader"
        )
    manifest = _from_message(message)
    check_manifest(manifest)
    return manifest


def to_message(manifest: Manifest) -> pb.Manifest:
    """The manifest as the message that manifest.json and DescribeModel are made of."""
    return pb.Manifest(
        schema_version=SCHEMA_VERSION,
        name=manifest.name,
        version=manifest.version,
        input=_input_message(manifest.input),
        head=pb.Head(
            kind=_said(manifest.head.kind),
            classes=manifest.head.classes,
            labels=manifest.head.labels,
            thresholds=manifest.head.thresholds,
        ),
        taps=[_tap_message(tap) for tap in manifest.taps],
        graphs=[_graph_message(graph) for graph in manifest.graphs],
        files=[
            pb.BundleFile(path=file.path, sha256=file.sha256, size=file.size)
            for file in manifest.files
        ],
        golden=pb.Golden(path=manifest.golden.path, tolerance=manifest.golden.tolerance),
        torch_program=manifest.torch_program,
        source=pb.Source(
            kind=manifest.source.kind,
            digest=manifest.source.digest,
            parity=manifest.source.parity,
            changes=manifest.source.changes,
        ),
        written_by=manifest.written_by,
        precisions=[
            pb.PrecisionCost(precision=e.precision, parity=e.parity, tolerance=e.tolerance)
            for e in manifest.precisions
        ],
    )


def _input_message(contract: InputContract) -> pb.InputContract:
    return pb.InputContract(
        channels=contract.channels,
        height=contract.height,
        width=contract.width,
        colour_order=_said(contract.colour_order),
        white=contract.white,
        mean=contract.mean,
        std=contract.std,
        resize=pb.Resize(
            rule=_said(contract.resize.rule),
            short_side=contract.resize.short_side,
            interpolation=_said(contract.resize.interpolation),
        ),
    )


def _tap_message(tap: Tap) -> pb.Tap:
    return pb.Tap(
        name=tap.name,
        channels=tap.channels,
        height=tap.height,
        width=tap.width,
        layout=_said(tap.layout),
        output=tap.output,
        linear_head=tap.linear_head,
    )


def _graph_message(graph: Graph) -> pb.Graph:
    return pb.Graph(
        role=_said(graph.role),
        path=graph.path,
        opset=graph.opset,
        tap=graph.tap,
        live=graph.live,
    )


def _from_message(message: pb.Manifest) -> Manifest:
    head, source = message.head, message.source
    return Manifest(
        name=message.name,
        version=message.version,
        input=_input(message.input),
        head=Head(
            _meant(OutputKind, head.kind),
            head.classes,
            labels=tuple(head.labels),
            thresholds=tuple(head.thresholds),
        ),
        taps=tuple(map(_tap, message.taps)),
        # A role that is not stated, or that a later writer added, serves nothing here.
        graphs=tuple(_graph(graph) for graph in message.graphs if _known(graph.role)),
        files=tuple(BundleFile(file.path, file.sha256, file.size) for file in message.files),
        golden=Golden(message.golden.path, message.golden.tolerance),
        source=Source(source.kind, source.digest, source.parity, tuple(source.changes)),
        torch_program=message.torch_program,
        written_by=dict(message.written_by),
        precisions=tuple(
            PrecisionCost(each.precision, each.parity, each.tolerance)
            for each in message.precisions
        ),
    )


def _input(message: pb.InputContract) -> InputContract:
    return InputContract(
        channels=message.channels,
        height=message.height,
        width=message.width,
        colour_order=_meant(ColourOrder, message.colour_order),
        white=message.white,
        mean=tuple(message.mean),
        std=tuple(message.std),
        resize=Resize(
            _meant(ResizeRule, message.resize.rule),
            _meant(Interpolation, message.resize.interpolation),
            message.resize.short_side,
        ),
    )


def _tap(message: pb.Tap) -> Tap:
    return Tap(
        name=message.name,
        channels=message.channels,
        height=message.height,
        width=message.width,
        output=message.output,
        layout=_meant(TokenLayout, message.layout),
        linear_head=message.linear_head,
    )


def _graph(message: pb.Graph) -> Graph:
    return Graph(
        role=_meant(GraphRole, message.role),
        path=message.path,
        opset=message.opset,
        tap=message.tap,
        live=tuple(message.live),
    )


def _known(role: int) -> bool:
    return role != pb.GRAPH_ROLE_UNSPECIFIED and role in pb.GraphRole.values()


def _said(member: Enum) -> Any:
    """The wire's number of one of our enum members."""
    wire, prefix = _ENUMS[type(member)]
    return wire.Value(prefix + member.name)


def _meant(kind: type[_Kind], number: int) -> _Kind:
    """Our enum member of the wire's number; unstated and unknown numbers are refused."""
    wire, prefix = _ENUMS[kind]
    stated = number != 0 and number in wire.values()
    name = wire.Name(number).removeprefix(prefix) if stated else ""
    if name not in kind.__members__:
        choices = ", ".join(kind.__members__)
        raise BundleRefused(
            f"the manifest states no {kind.__name__} that this reader knows; use one of {choices}"
        )
    return kind[name]
