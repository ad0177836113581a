"""Each message of an answer as a typed value."""

import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from salience.v1 import explanation_service_pb2 as wire
from salience.v1 import manifest_pb2, map_pb2, target_pb2
from salience_client import events
from salience_client.errors import BrokenAnswer
from salience_client.fill import fill_of
from salience_client.method import options_of
from salience_client.request import StopWhen
from salience_client.saliency_map import (
    Convergence,
    GraphUse,
    Provenance,
    Rectangle,
    ResolvedTarget,
    SaliencyMap,
    ScoreCurve,
    Scores,
)
from salience_client.words import score_word, word_of

_ELEMENT_BYTES = {map_pb2.MAP_ENCODING_FLOAT32: 4, map_pb2.MAP_ENCODING_FLOAT16: 2}


def started_of(message: wire.Started) -> events.Started:
    """The request was accepted."""
    return events.Started(
        message.model,
        message.version,
        message.bundle_digest,
        message.provider,
        message.explanations_beside,
    )


def prediction_of(message: wire.Prediction) -> events.Prediction:
    """What the model says of the image."""
    top = [
        events.ClassScore(
            score.index,
            score.label,
            score.logit,
            score.probability if score.HasField("probability") else None,
        )
        for score in message.top
    ]
    targets = tuple(target_of(target) for target in message.targets)
    return events.Prediction(tuple(top), targets, message.image_height, message.image_width)


def progress_of(message: wire.Progress) -> events.Progress:
    """Rows completed so far."""
    return events.Progress(message.map_id, message.method, message.rows_done, message.rows_expected)


def partial_map_of(message: map_pb2.PartialMap) -> events.PartialMap:
    """A map in the making.

    Raises:
        BrokenAnswer: its bytes do not fill its grid.
    """
    if len(message.data) != 4 * message.height * message.width:
        raise BrokenAnswer(f"a partial map of map {message.map_id} does not fill its grid")
    array = np.frombuffer(message.data, "<f4").reshape(message.height, message.width)
    return events.PartialMap(
        message.map_id,
        array,
        message.tap,
        message.fraction,
        message.skipped,
        message.correlation if message.HasField("correlation") else None,
    )


def saliency_map_of(head: map_pb2.SaliencyMap, data: bytes) -> SaliencyMap:
    """A finished map; `data` holds all its bytes.

    Raises:
        BrokenAnswer: its bytes do not fill its grid.
    """
    size = _ELEMENT_BYTES.get(head.encoding)
    if size is not None and len(data) != size * head.height * head.width:
        raise BrokenAnswer(f"map {head.map_id} does not fill its grid")
    return SaliencyMap(
        map_id=head.map_id,
        provenance=_provenance(head.provenance),
        target=target_of(head.target),
        encoding=word_of(map_pb2.MapEncoding, head.encoding),
        geometry=word_of(map_pb2.MapGeometry, head.geometry),
        scale=word_of(map_pb2.MapScale, head.scale),
        height=head.height,
        width=head.width,
        data=data,
        raw_minimum=head.raw_minimum,
        raw_maximum=head.raw_maximum,
        is_signed=head.is_signed,
        flags=frozenset(word_of(map_pb2.MapFlag, flag) for flag in head.flags),
        audit=word_of(map_pb2.AuditVerdict, head.audit),
        validity=_validity(head),
        seen=_rectangle(head.seen),
        iterations=head.iterations if head.HasField("iterations") else None,
        box=_rectangle(head.box) if head.HasField("box") else None,
        convergence=_convergence(head.convergence) if head.HasField("convergence") else None,
    )


def scores_of(message: map_pb2.MapScores) -> Scores:
    """Scores of a map.

    Raises:
        BrokenAnswer: a curve has not as many probabilities as shares.
    """
    protocol = word_of(map_pb2.CurveProtocol, message.curve_protocol)
    return Scores(
        message.map_id,
        {score_word(score.kind): score.value for score in message.scores},
        fill_of(message.fill),
        message.clean_probability,
        message.masked_probability,
        {score_word(curve.kind): _curve(curve) for curve in message.curves},
        protocol if message.curves else None,
    )


def finished_of(message: wire.Finished) -> events.Finished:
    """The end."""
    return events.Finished(
        message.rows,
        message.queue_seconds,
        message.compute_seconds,
        message.total_seconds,
        tuple(message.map_seconds),
        message.partial_maps_skipped,
        tuple(message.map_rows),
        message.rows_spared,
        message.from_cache,
    )


def target_of(message: target_pb2.ResolvedTarget) -> ResolvedTarget:
    """A target with the clean image's figures."""
    return ResolvedTarget(
        message.name,
        word_of(target_pb2.TargetKind, message.kind),
        message.index,
        message.against if message.HasField("against") else None,
        message.value,
        message.probability if message.HasField("probability") else None,
    )


def _provenance(message: map_pb2.Provenance) -> Provenance:
    return Provenance(
        model=message.model,
        version=message.version,
        bundle_digest=message.bundle_digest,
        graphs=tuple(_graph(graph) for graph in message.graphs),
        provider=message.provider,
        method=message.method,
        options=options_of(message.options),
        taps=tuple(message.taps),
        fill=fill_of(message.fill),
        gradient_side=word_of(map_pb2.GradientSide, message.gradient_side),
        software_version=message.software_version,
        precision=message.precision,
        tuning_digest=message.tuning_digest,
        signed_by=message.signed_by,
        stop_when=_stop_when(message),
    )


def _stop_when(message: map_pb2.Provenance) -> StopWhen | None:
    stop = StopWhen(
        message.stop_correlation if message.HasField("stop_correlation") else None,
        message.stop_seconds if message.HasField("stop_seconds") else None,
    )
    return None if stop == StopWhen() else stop


def _graph(message: map_pb2.GraphUse) -> GraphUse:
    role = word_of(manifest_pb2.GraphRole, message.role)
    return GraphUse(
        role,
        message.digest,
        message.batch_size,
        message.map_height,
        message.map_width,
        message.tap,
    )


def _rectangle(message: map_pb2.Rectangle) -> Rectangle:
    return Rectangle(message.left, message.top, message.width, message.height)


def _convergence(message: map_pb2.Convergence) -> Convergence:
    return Convergence(message.rows_skipped, message.correlation, message.repeatable)


def _curve(message: map_pb2.ScoreCurve) -> ScoreCurve:
    if len(message.shares) != len(message.probabilities):
        raise BrokenAnswer("a curve has not as many probabilities as shares")
    return ScoreCurve(_fixed(message.shares), _fixed(message.probabilities))


def _fixed(numbers: Sequence[float]) -> NDArray[np.float64]:
    array = np.array(numbers, np.float64)
    array.flags.writeable = False
    return array


def _validity(head: map_pb2.SaliencyMap) -> NDArray[np.bool_] | None:
    """Unpacks 1 bit a pixel, rows padded to whole bytes; never more than the grid needs."""
    if not head.validity:
        return None
    stride = -(-head.width // 8)
    try:
        packed = zlib.decompressobj().decompress(head.validity, stride * head.height + 1)
    except zlib.error as error:
        raise BrokenAnswer(f"the validity mask of map {head.map_id} is damaged") from error
    if len(packed) != stride * head.height:
        raise BrokenAnswer(f"the validity mask of map {head.map_id} does not fill its grid")
    bits = np.frombuffer(packed, np.uint8).reshape(head.height, stride)
    return np.unpackbits(bits, axis=1, count=head.width).astype(np.bool_)
