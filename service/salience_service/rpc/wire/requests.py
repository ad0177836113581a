"""What a request message asks for, as an `ExplainOrder`; what is unstated or odd is refused."""

import math
from collections import Counter
from collections.abc import Collection, Mapping
from enum import Enum
from typing import TypeVar

from salience.v1 import explanation_service_pb2 as pb
from salience.v1 import map_pb2, method_pb2
from salience_service.errors import InvalidRequest
from salience_service.explanation.plan import MOST_METHODS
from salience_service.field_path import at, each, keyed, read
from salience_service.request import (
    BoxOrder,
    ExplainOrder,
    MapFormat,
    MethodCall,
    OptionScalar,
    ScoreKind,
    StopWhen,
)
from salience_service.rpc.wire.numbers import (
    CURVE_PROTOCOLS,
    ENCODINGS,
    GEOMETRIES,
    GRADIENT_CHOICES,
    PRIORITIES,
    SCALES,
    SCORES,
)
from salience_service.rpc.wire.request_image import fill_of, image_of
from salience_service.rpc.wire.request_target import target_of
from salience_service.rpc.wire.wording import MAX_PATH, at_most, at_most_long, stated, unlisted
from salience_service.targets.resolve import MOST_TARGETS

_Number = TypeVar("_Number", bound=int)
_Member = TypeVar("_Member", bound=Enum)

MOST_OPTIONS = 64
MOST_SCORES = 64
MOST_TAPS = 64


def order_of(message: pb.ExplainRequest) -> ExplainOrder:
    """What the message asks for.

    Raises:
        InvalidRequest: something is missing, contradictory or beyond its limits.
        Unsupported: the image is a volume.
    """
    has_score_fill = message.HasField("score_fill")
    return ExplainOrder(
        model=read("model", stated, message.model, "the model's name"),
        version=read("version", at_most_long, message.version, "the model's version"),
        image=read("image", image_of, message.image),
        methods=_methods(message.methods),
        targets=each("targets", target_of, at_most(message.targets, MOST_TARGETS, "targets")),
        fill=read("fill", fill_of, message.fill),
        scores=_scores(message.scores),
        score_fill=read("score_fill", fill_of, message.score_fill) if has_score_fill else None,
        format=read("format", _format, message.format),
        partial_maps=not (message.no_partial_maps or message.gather),
        gradient_side=_known("gradient_side", message.gradient_side, GRADIENT_CHOICES),
        curve_protocol=_known(
            "curve_protocol", message.curve_protocol or map_pb2.CURVE_PROTOCOL_RISE, CURVE_PROTOCOLS
        ),
        box=_box(message.box) if message.HasField("box") else None,
        priority=_known("priority", message.priority or pb.PRIORITY_NORMAL, PRIORITIES),
        stop_when=_stop_when(message.stop_when) if message.HasField("stop_when") else None,
    )


def _methods(messages: Collection[method_pb2.MethodCall]) -> tuple[MethodCall, ...]:
    methods = each("methods", _method, at_most(messages, MOST_METHODS, "methods"))
    if not methods:
        raise InvalidRequest(
            "no method: name at least one; DescribeModel lists them", field="methods"
        )
    return methods


def _method(message: method_pb2.MethodCall) -> MethodCall:
    name = read("name", stated, message.name, "a method's name")
    options = at_most(message.options.items(), MOST_OPTIONS, "options")
    taps = at_most(message.taps, MOST_TAPS, "taps")
    return MethodCall(
        name,
        dict(_option(key, value) for key, value in options),
        each("taps", _tap, taps),
    )


def _tap(name: str) -> str:
    return stated(name, "a tap's name", MAX_PATH)


def _option(key: str, message: method_pb2.OptionValue) -> tuple[str, OptionScalar]:
    with at(keyed("options", key)):
        return stated(key, "an option's name"), _option_value(key, message)


def _option_value(key: str, message: method_pb2.OptionValue) -> OptionScalar:
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


def _scores(numbers: Collection[map_pb2.ScoreKind]) -> tuple[ScoreKind, ...]:
    kinds = each("scores", _score, at_most(numbers, MOST_SCORES, "scores"))
    doubled = [kind.value for kind, count in Counter(kinds).items() if count > 1]
    if doubled:
        raise InvalidRequest(
            f"scores named twice: {', '.join(doubled)}; name each once", field="scores"
        )
    return kinds


def _score(number: map_pb2.ScoreKind) -> ScoreKind:
    return _known("", number, SCORES, "score")


def _format(message: map_pb2.MapFormat) -> MapFormat:
    return MapFormat(
        _known("encoding", message.encoding or map_pb2.MAP_ENCODING_FLOAT32, ENCODINGS),
        _known("geometry", message.geometry or map_pb2.MAP_GEOMETRY_INPUT, GEOMETRIES),
        _known("scale", message.scale or map_pb2.MAP_SCALE_UNIT, SCALES),
        message.overlay_alpha or MapFormat.overlay_alpha,
    )


def _box(message: map_pb2.BoxRequest) -> BoxOrder:
    return BoxOrder(message.threshold if message.HasField("threshold") else None)


def _stop_when(message: pb.StopWhen) -> StopWhen:
    return StopWhen(
        message.correlation if message.HasField("correlation") else None,
        message.seconds if message.HasField("seconds") else None,
    )


def _known(
    field: str, number: _Number, table: Mapping[_Number, _Member], what: str = ""
) -> _Member:
    if number not in table:
        # Without one for 0: the contract has no word for what is not stated.
        names = (member.name for known, member in table.items() if known)
        raise unlisted(what or field, number, names, field)
    return table[number]
