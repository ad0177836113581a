"""A request in the caller's words, and the message it becomes."""

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from numbers import Real
from typing import Any, Literal, Required, TypedDict, Unpack

from salience.v1 import explanation_service_pb2 as wire
from salience.v1 import map_pb2
from salience_client.errors import InvalidRequest
from salience_client.fill import Fill, fill_message
from salience_client.image import ImageLike, image_message
from salience_client.method import Method, method_message
from salience_client.target import Target, target_message
from salience_client.words import number_of, score_number

Encoding = Literal["float32", "float16", "png-grey", "png-overlay", "png-masked"]
Geometry = Literal["feature", "input", "original"]
Scale = Literal["unit", "raw"]
Score = Literal["ad", "ai", "ag", "insertion", "deletion", "insertion-deletion"]
CurveProtocol = Literal["rise", "polycam"]
Box = float | Literal["mean"]
GradientSide = Literal["auto", "onnx", "torch"]
Priority = Literal["interactive", "normal", "bulk"]


_SIDES = {
    "auto": map_pb2.GRADIENT_SIDE_UNSPECIFIED,
    "onnx": map_pb2.GRADIENT_SIDE_ONNX,
    "torch": map_pb2.GRADIENT_SIDE_TORCH,
}


@dataclass(frozen=True)
class StopWhen:
    """When a map that is drawn from ever more rows is good enough; at the first that is set.

    Attributes:
        correlation: the estimated one with the map of all rows, in (0, 1). Looked at after
            fixed numbers of rows: the same request gives the same map.
        seconds: since the method began, > 0. Where it ends depends on the server's load.
    """

    correlation: float | None = None
    seconds: float | None = None


class RequestOptions(TypedDict, total=False):
    """Everything a request says besides its image; only `model` and `methods` must be there."""

    model: Required[str]
    """The model's name."""
    methods: Required[str | Method | Iterable[str | Method]]
    """One or more methods, run in this order."""
    version: str
    """The model's version; not given = the newest, unless the server was told that another
    answers then."""
    targets: Target | Iterable[Target]
    """One or more targets; none = the class with the highest logit."""
    fill: Fill
    """What stands behind the masks; not given = "mean"."""
    scores: Iterable[Score]
    """Scores of each map."""
    score_fill: Fill
    """The fill of AD, AI and AG; not given = `fill`."""
    curve_protocol: CurveProtocol
    """How insertion and deletion are taken, fills included; not given = "rise"."""
    box: Box
    """Asks for a box around what each map points at: "mean", or what its pixels must exceed as a
    share of the way from the map's least value to its greatest, from 0 to less than 1."""
    encoding: Encoding
    """How pixels are written; not given = "float32"."""
    geometry: Geometry
    """Which pixel grid; not given = "input"."""
    scale: Scale
    """Which scale of values; not given = "unit": [0, 1], or [−1, 1] for signed maps."""
    overlay_alpha: float
    """How strongly a "png-overlay" is mixed over the image, in (0, 1]; not given = 0.5."""
    gradient_side: GradientSide
    """Which side takes gradients; not given = "auto": "onnx" where the model has the graphs,
    else "torch"."""
    partial_maps: bool
    """Whether maps in the making are sent too; not given = True for `stream`."""
    priority: Priority
    """Whose rows go first where many wait; not given = "normal"."""
    stop_when: StopWhen
    """Lets anytime methods end before their last row; not given = never."""


def explain_request(image: ImageLike, **options: Unpack[RequestOptions]) -> wire.ExplainRequest:
    """The message for one image; `Client.stream` and `Client.explain` take the same arguments.

    Raises:
        InvalidRequest: something cannot be said, an option is unknown, or `model` or `methods`
            is missing; nothing was sent.
        OSError: the image's path cannot be read.
    """
    _check_names(options)
    request = wire.ExplainRequest(
        model=options["model"],
        version=options.get("version", ""),
        image=image_message(image),
        methods=[method_message(method) for method in _several(options["methods"])],
        targets=[target_message(target) for target in _several(options.get("targets", ()))],
        scores=[score_number(score) for score in _several(options.get("scores", ()))],
        format=_format(options),
        no_partial_maps=not options.get("partial_maps", True),
        gradient_side=_side(options.get("gradient_side", "auto")),
    )
    if "fill" in options:
        request.fill.CopyFrom(fill_message(options["fill"]))
    if "score_fill" in options:
        request.score_fill.CopyFrom(fill_message(options["score_fill"]))
    if "curve_protocol" in options:
        request.curve_protocol = number_of(map_pb2.CurveProtocol, options["curve_protocol"])
    if "box" in options:
        request.box.CopyFrom(_box(options["box"]))
    if "priority" in options:
        request.priority = number_of(wire.Priority, options["priority"])
    if "stop_when" in options:
        request.stop_when.CopyFrom(_stop(options["stop_when"]))
    return request


def _check_names(options: RequestOptions) -> None:
    """Python itself checks no names of a TypedDict, and one misspelt would ask for something else.

    Raises:
        InvalidRequest: an option that is none, or one that must be there and is not.
    """
    known = RequestOptions.__annotations__
    for name in options:
        if name not in known:
            use = get_close_matches(name, known, n=1) or known
            raise InvalidRequest(f"{name!r} is no option of a request: use {', '.join(use)}")
    for name in sorted(RequestOptions.__required_keys__ - options.keys()):
        raise InvalidRequest(f"a request needs {name}=…")


def _format(options: RequestOptions) -> map_pb2.MapFormat:
    if options.get("overlay_alpha") == 0:  # Which on the wire stands for the default.
        raise InvalidRequest("overlay_alpha lies above 0 and at most at 1, not at 0")
    return map_pb2.MapFormat(
        encoding=number_of(map_pb2.MapEncoding, options.get("encoding", "float32")),
        geometry=number_of(map_pb2.MapGeometry, options.get("geometry", "input")),
        scale=number_of(map_pb2.MapScale, options.get("scale", "unit")),
        overlay_alpha=options.get("overlay_alpha", 0.0),
    )


def _side(word: str) -> map_pb2.GradientSide:
    if word not in _SIDES:
        raise InvalidRequest(f"{word!r} is no gradient side: use one of {', '.join(_SIDES)}")
    return _SIDES[word]


def _box(asked: object) -> map_pb2.BoxRequest:
    match asked:
        case "mean":
            return map_pb2.BoxRequest()
        case bool():
            pass
        case Real():
            return map_pb2.BoxRequest(threshold=float(asked))
    raise InvalidRequest(f"box is {asked!r}: give 'mean' or a share from 0 to less than 1")


def _stop(asked: object) -> wire.StopWhen:
    if not isinstance(asked, StopWhen):
        raise InvalidRequest(f"stop_when is {asked!r}: give StopWhen(correlation=…, seconds=…)")
    return wire.StopWhen(correlation=asked.correlation, seconds=asked.seconds)


def _several(given: Any) -> Iterable[Any]:
    """One thing alone, words included, stands for a list of one."""
    if isinstance(given, Iterable) and not isinstance(given, str):
        return given
    return (given,)
