"""A finished map as messages: a head with its provenance, and chunks where it is large."""

import zlib
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from salience.v1 import explanation_service_pb2 as pb
from salience.v1 import image_pb2, map_pb2, method_pb2, target_pb2
from salience_service import events
from salience_service.image.placement import Rectangle
from salience_service.request import (
    BlackFill,
    BlurFill,
    ColourFill,
    Fill,
    MeanFill,
    OptionScalar,
    StopWhen,
)
from salience_service.rpc.wire.numbers import (
    ENCODING_NUMBERS,
    FLAG_NUMBERS,
    GEOMETRY_NUMBERS,
    ROLE_NUMBERS,
    SCALE_NUMBERS,
    SIDE_NUMBERS,
    TARGET_NUMBERS,
)

CHUNK_BYTES = 2**20


def map_messages(event: events.FinishedMap) -> Iterator[pb.ExplainResponse]:
    """The messages of one map: a head that holds it whole, or a head and chunks."""
    head, data = pb.ExplainResponse(map=_map_head(event)), event.encoded.data
    if len(data) <= CHUNK_BYTES:
        head.map.data = data  # Only now: a message that is put into another is copied.
    yield head
    if len(data) > CHUNK_BYTES:
        yield from _chunks(event.map_id, data)


def option_message(value: OptionScalar) -> method_pb2.OptionValue:
    """An option's value on the wire; bool before int, which it is in Python."""
    match value:
        case bool():
            return method_pb2.OptionValue(flag=value)
        case int():
            return method_pb2.OptionValue(integer=value)
        case float():
            return method_pb2.OptionValue(number=value)
        case str():
            return method_pb2.OptionValue(text=value)


def fill_message(fill: Fill) -> image_pb2.Fill:
    """A fill on the wire."""
    match fill:
        case MeanFill():
            return image_pb2.Fill(mean=image_pb2.MeanFill())
        case BlackFill():
            return image_pb2.Fill(black=image_pb2.BlackFill())
        case BlurFill():
            return image_pb2.Fill(blur=image_pb2.BlurFill(kernel=fill.kernel, sigma=fill.sigma))
        case ColourFill():
            return image_pb2.Fill(colour=image_pb2.ColourFill(intensity=fill.intensity))


def packed_validity(validity: NDArray[np.bool_] | None) -> bytes:
    """1 bit a pixel, rows padded to bytes, highest bit first, zlib; empty where all was seen."""
    if validity is None or validity.all():
        return b""
    return zlib.compress(np.packbits(validity, axis=1).tobytes())


def target_message(score: events.TargetScore) -> target_pb2.ResolvedTarget:
    """A resolved target on the wire."""
    return target_pb2.ResolvedTarget(
        name=score.target.name,
        kind=TARGET_NUMBERS[score.target.kind],
        index=score.target.index,
        against=score.target.against,
        value=score.value,
        probability=score.probability,
    )


def _chunks(map_id: int, data: bytes) -> Iterator[pb.ExplainResponse]:
    for offset in range(0, len(data), CHUNK_BYTES):
        piece = data[offset : offset + CHUNK_BYTES]
        chunk = map_pb2.MapChunk(map_id=map_id, offset=offset, data=piece)
        yield pb.ExplainResponse(map_chunk=chunk)


def _map_head(event: events.FinishedMap) -> map_pb2.SaliencyMap:
    encoded = event.encoded
    return map_pb2.SaliencyMap(
        map_id=event.map_id,
        provenance=_provenance(event.provenance),
        target=target_message(event.target),
        encoding=ENCODING_NUMBERS[encoded.encoding],
        geometry=GEOMETRY_NUMBERS[encoded.geometry],
        scale=SCALE_NUMBERS[encoded.scale],
        height=encoded.height,
        width=encoded.width,
        raw_minimum=encoded.raw_minimum,
        raw_maximum=encoded.raw_maximum,
        is_signed=event.signed,
        flags=[FLAG_NUMBERS[flag] for flag in event.flags],
        audit=map_pb2.AUDIT_VERDICT_UNAUDITED,
        total_bytes=len(encoded.data),
        validity=packed_validity(encoded.validity),
        seen=_rectangle(encoded.seen),
        iterations=event.iterations,
        box=None if event.box is None else _rectangle(event.box),
        convergence=None if event.convergence is None else _convergence(event.convergence),
    )


def _convergence(come: events.Convergence) -> map_pb2.Convergence:
    return map_pb2.Convergence(
        rows_skipped=come.rows_skipped, correlation=come.correlation, repeatable=come.repeatable
    )


def _rectangle(edges: Rectangle) -> map_pb2.Rectangle:
    return map_pb2.Rectangle(left=edges.left, top=edges.top, width=edges.width, height=edges.height)


def _provenance(made: events.Provenance) -> map_pb2.Provenance:
    stop = made.stop_when or StopWhen()
    return map_pb2.Provenance(
        model=made.model,
        version=made.version,
        bundle_digest=made.bundle_digest,
        graphs=[
            map_pb2.GraphUse(
                role=ROLE_NUMBERS[use.role],
                digest=use.digest,
                batch_size=use.batch_size,
                map_height=use.map_height,
                map_width=use.map_width,
                tap=use.tap,
            )
            for use in made.graphs
        ],
        provider=made.provider,
        method=made.method,
        options={name: option_message(value) for name, value in made.options.items()},
        taps=made.taps,
        fill=fill_message(made.fill),
        gradient_side=SIDE_NUMBERS[made.gradient_side],
        software_version=made.software_version,
        precision=made.precision,
        tuning_digest=made.tuning_digest,
        signed_by=made.signed_by,
        stop_correlation=stop.correlation,
        stop_seconds=stop.seconds,
    )
