"""What a request message asks for, as an `ExplainOrder`; what is unstated or odd is refused."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import TypeVar

from salience.v1 import explanation_service_pb2 as pb
from salience.v1 import map_pb2, method_pb2
from salience_service.errors import InvalidRequest
from salience_service.request import (
    BoxOrder,
    ExplainOrder,
    MapFormat,
    MethodCall,
    OptionScalar,
    ScoreKind,
    StopWhen,
)
from salience_service.rpc.numbers import (
    CURVE_PROTOCOLS,
    ENCODINGS,
    GEOMETRIES,
    GRADIENT_CHOICES,
    PRIORITIES,
    SCALES,
    SCORES,
)
from salience_service.rpc.request_image import fill_of, image_of
from salience_service.rpc.request_target import target_of
from salience_service.rpc.wording import MAX_LABEL, at_most_long, stated

_Item = TypeVar("_Item")
_Number = TypeVar("_Number", bound=int)
_Member = TypeVar("_Member", bound=Enum)

MOST_METHODS = 64
MOST_TARGETS = 64
MOST_OPTIONS = 64
MOST_TAPS = 64


def order_of(message: pb.ExplainRequest) -> ExplainOrder:
    """What the message asks for.

    Raises:
        InvalidRequest: something is missing, contradictory or beyond its limits.
        Unsupported: the image is a volume.
    """
    has_score_fill = message.HasField("score_fill")
    return ExplainOrder(
        model=stated(message.model, "the model's name"),
        version=at_most_long(message.version, "the model's version"),
        image=image_of(message.image),
        methods=_methods(message.methods),
        targets=tuple(map(target_of, _at_most(message.targets, MOST_TARGETS, "targets"))),
        fill=fill_of(message.fill),
        scores=_scores(message.scores),
        score_fill=fill_of(message.score_fill) if has_score_fill else None,
        format=_format(message.format),
        partial_maps=not message.no_partial_maps,
        gradient_side=_known(message.gradient_side, GRADIENT_CHOICES, "gradient side"),
        curve_protocol=_known(
            message.curve_protocol or map_pb2.CURVE_PROTOCOL_RISE, CURVE_PROTOCOLS, "curve protocol"
        ),
        box=_box(message.box) if message.HasField("box") else None,
        priority=_known(message.priority or pb.PRIORITY_NORMAL, PRIORITIES, "priority"),
        stop_when=_stop_when(message.stop_when) if message.HasField("stop_when") else None,
    )


def _methods(messages: Iterable[method_pb2.MethodCall]) -> tuple[MethodCall, ...]:
    methods = tuple(map(_method, _at_most(messages, MOST_METHODS, "methods")))
    if not methods:
        raise InvalidRequest("no method: name at least one; DescribeModel lists them")
    return methods


def _method(message: method_pb2.MethodCall) -> MethodCall:
    name = stated(message.name, "a method's name")
    options = _at_most(message.options.items(), MOST_OPTIONS, "options")
    taps = _at_most(message.taps, MOST_TAPS, "taps")
    return MethodCall(
        name,
        {stated(key, "an option's name"): _option(key, value) for key, value in options},
        tuple(stated(tap, "a tap's name", MAX_LABEL) for tap in taps),
    )


def _option(key: str, message: method_pb2.OptionValue) -> OptionScalar:
    match message.WhichOneof("value"):
        case "number":
            if not math.isfinite(message.number):
                raise InvalidRequest(f"option {key!r} is {message.number}: state a finite number")
            return message.number
        case "integer":
            return message.integer
        case "flag":
            return message.flag
        case "text":
            return stated(message.text, f"option {key!r}")
    raise InvalidRequest(f"option {key!r} has no value: state one, or leave the option out")


def _scores(numbers: Iterable[map_pb2.ScoreKind]) -> tuple[ScoreKind, ...]:
    kinds = tuple(_known(number, SCORES, "score") for number in _at_most(numbers, 64, "scores"))
    doubled = [kind.value for kind, count in Counter(kinds).items() if count > 1]
    if doubled:
        raise InvalidRequest(f"scores named twice: {', '.join(doubled)}; name each once")
    return kinds


def _format(message: map_pb2.MapFormat) -> MapFormat:
    alpha = message.overlay_alpha or 0.5
    if not 0 < alpha <= 1:
        raise InvalidRequest(f"overlay_alpha lies above 0 and at most at 1, not at {alpha}")
    return MapFormat(
        _known(message.encoding or map_pb2.MAP_ENCODING_FLOAT32, ENCODINGS, "map encoding"),
        _known(message.geometry or map_pb2.MAP_GEOMETRY_INPUT, GEOMETRIES, "map geometry"),
        _known(message.scale or map_pb2.MAP_SCALE_UNIT, SCALES, "map scale"),
        alpha,
    )


def _box(message: map_pb2.BoxRequest) -> BoxOrder:
    return BoxOrder(message.threshold if message.HasField("threshold") else None)


def _stop_when(message: pb.StopWhen) -> StopWhen:
    return StopWhen(
        message.correlation if message.HasField("correlation") else None,
        message.seconds if message.HasField("seconds") else None,
    )


def _known(number: _Number, table: Mapping[_Number, _Member], what: str) -> _Member:
    if number not in table:
        names = ", ".join(member.name for member in table.values())
        raise InvalidRequest(f"{what} {number} is unknown or not stated: state one of {names}")
    return table[number]


def _at_most(items: Iterable[_Item], most: int, what: str) -> tuple[_Item, ...]:
    stated_items = tuple(items)
    if len(stated_items) > most:
        raise InvalidRequest(f"{len(stated_items)} {what}: at most {most} are allowed")
    return stated_items
