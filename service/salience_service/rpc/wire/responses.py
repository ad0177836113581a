"""Events as response messages."""

import math
from collections.abc import Iterator

from salience.v1 import explanation_service_pb2 as pb
from salience.v1 import map_pb2
from salience_service import events
from salience_service.rpc.wire.numbers import PROTOCOL_NUMBERS, SCORE_NUMBERS
from salience_service.rpc.wire.response_map import (
    CHUNK_BYTES,
    fill_message,
    map_messages,
    target_message,
)


def responses_of(event: events.Event) -> Iterator[pb.ExplainResponse]:
    """The messages that carry an event: one, or for a large map a head and its chunks."""
    match event:
        case events.Started():
            yield pb.ExplainResponse(started=_started(event))
        case events.Prediction():
            yield pb.ExplainResponse(prediction=_prediction(event))
        case events.Progress():
            yield pb.ExplainResponse(progress=_progress(event))
        case events.PartialMap():
            yield pb.ExplainResponse(partial_map=_partial_map(event))
        case events.FinishedMap():
            yield from map_messages(event)
        case events.MapScores():
            yield pb.ExplainResponse(scores=_scores(event))
        case events.Finished():
            yield pb.ExplainResponse(finished=_finished(event))


def _started(event: events.Started) -> pb.Started:
    return pb.Started(
        model=event.model,
        version=event.version,
        bundle_digest=event.bundle_digest,
        provider=event.provider,
        explanations_beside=event.explanations_beside,
    )


def _prediction(event: events.Prediction) -> pb.Prediction:
    return pb.Prediction(
        top=[
            pb.ClassScore(
                index=score.index,
                label=score.label,
                logit=score.logit,
                probability=score.probability,
            )
            for score in event.top
        ],
        targets=[target_message(target) for target in event.targets],
        image_height=event.image_height,
        image_width=event.image_width,
    )


def _progress(event: events.Progress) -> pb.Progress:
    return pb.Progress(
        map_id=event.map_id,
        method=event.method,
        rows_done=event.rows_done,
        rows_expected=event.rows_expected,
    )


def _partial_map(event: events.PartialMap) -> map_pb2.PartialMap:
    """One message, whatever the map's size: one beyond a chunk's is thinned out."""
    every = math.ceil(math.sqrt(event.map.nbytes / CHUNK_BYTES))
    shown = event.map[every // 2 :: every, every // 2 :: every]
    height, width = shown.shape
    return map_pb2.PartialMap(
        map_id=event.map_id,
        height=height,
        width=width,
        data=shown.astype("<f4").tobytes(),
        tap=event.tap,
        fraction=event.fraction,
        correlation=event.correlation,
    )


def _scores(event: events.MapScores) -> map_pb2.MapScores:
    return map_pb2.MapScores(
        map_id=event.map_id,
        scores=[
            map_pb2.Score(kind=SCORE_NUMBERS[kind], value=value)
            for kind, value in event.scores.items()
        ],
        fill=fill_message(event.fill),
        clean_probability=event.clean_probability,
        masked_probability=event.masked_probability,
        curves=[
            map_pb2.ScoreCurve(
                kind=SCORE_NUMBERS[curve.kind],
                shares=curve.shares,
                probabilities=curve.probabilities,
            )
            for curve in event.curves
        ],
        curve_protocol=PROTOCOL_NUMBERS[event.curve_protocol] if event.curve_protocol else None,
    )


def _finished(event: events.Finished) -> pb.Finished:
    return pb.Finished(
        rows=event.rows,
        queue_seconds=event.queue_seconds,
        compute_seconds=event.compute_seconds,
        total_seconds=event.total_seconds,
        map_seconds=event.map_seconds,
        map_rows=event.map_rows,
        rows_spared=event.rows_spared,
        from_cache=event.from_cache,
    )
