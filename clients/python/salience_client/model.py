"""What a server says of its models, as typed values."""

from dataclasses import dataclass

from salience.v1 import explanation_service_pb2 as wire
from salience.v1 import manifest_pb2, map_pb2, method_pb2
from salience_client.method import OptionScalar, option_of
from salience_client.words import score_word, word_of


@dataclass(frozen=True)
class ModelSummary:
    """One version of one model; `is_default` where it answers when no version is named."""

    name: str
    version: str
    bundle_digest: str
    provider: str
    is_default: bool


@dataclass(frozen=True)
class Input:
    """What a model takes: one image [channels, height, width].

    Attributes:
        channels: 1 or 3.
        height: rows.
        width: columns.
        colour_order: "rgb", "bgr" or "grey".
        resize: "short-side", "stretch" or "pad".
        short_side: for "short-side", its length before the centre crop, in pixels.
    """

    channels: int
    height: int
    width: int
    colour_order: str
    resize: str
    short_side: int


@dataclass(frozen=True)
class Tap:
    """A feature tensor [channels, height, width] that methods may use."""

    name: str
    channels: int
    height: int
    width: int


@dataclass(frozen=True)
class Option:
    """One option of a method, with its default and limits.

    Its type is "number", "integer", "flag", "choice" or "text".
    """

    name: str
    summary: str
    type: str
    default: OptionScalar | None
    minimum: float | None
    maximum: float | None
    choices: tuple[str, ...]


@dataclass(frozen=True)
class MethodDescription:
    """A method as a model offers it; `unavailable_reason` is empty where it can be answered.

    One that `fails_sanity_checks` makes maps that hardly change with the network's weights;
    one that is `anytime` draws its map from ever more rows, and `stop_when` may end it early.
    """

    name: str
    summary: str
    source: str
    options: tuple[Option, ...]
    class_agnostic: bool
    fails_sanity_checks: bool
    needs_gradient: bool
    default_taps: tuple[str, ...]
    available: bool
    unavailable_reason: str
    anytime: bool = False


@dataclass(frozen=True)
class ModelDescription:
    """All of one model.

    Attributes:
        summary: which version this is.
        input: what it takes.
        output: "softmax", "sigmoid", "regression" or "log-probability".
        classes: how many numbers an image gets.
        labels: one a class, or none.
        thresholds: one probability a class, or none.
        taps: its feature tensors.
        methods: every method the server knows.
        scores: the scores it can be given, such as "ad" or "insertion".
        gradient_sides: "onnx", "torch": which can take gradients; the first does by default.
        batch_size: rows per device call of the masked graph, where the tuning names no other.
        tuning_digest: SHA-256 of the tune file beside the bundle, in hex; empty without one.
        precision: of its numbers on the device: "float32", "tf32" or "float16".
    """

    summary: ModelSummary
    input: Input
    output: str
    classes: int
    labels: tuple[str, ...]
    thresholds: tuple[float, ...]
    taps: tuple[Tap, ...]
    methods: tuple[MethodDescription, ...]
    scores: tuple[str, ...]
    gradient_sides: tuple[str, ...]
    batch_size: int
    tuning_digest: str = ""
    precision: str = "float32"


def summary_of(message: wire.ModelSummary) -> ModelSummary:
    """One version of one model."""
    return ModelSummary(
        message.name, message.version, message.bundle_digest, message.provider, message.is_default
    )


def summaries_of(message: wire.ListModelsResponse) -> tuple[ModelSummary, ...]:
    """Every version of every model, in the server's order."""
    return tuple(summary_of(model) for model in message.models)


def description_of(message: wire.DescribeModelResponse) -> ModelDescription:
    """All of one model."""
    return ModelDescription(
        summary=summary_of(message.summary),
        input=_input(message.input),
        output=word_of(manifest_pb2.OutputKind, message.head.kind),
        classes=message.head.classes,
        labels=tuple(message.head.labels),
        thresholds=tuple(message.head.thresholds),
        taps=tuple(Tap(tap.name, tap.channels, tap.height, tap.width) for tap in message.taps),
        methods=tuple(_method(method) for method in message.methods),
        scores=tuple(score_word(score) for score in message.scores),
        gradient_sides=tuple(word_of(map_pb2.GradientSide, s) for s in message.gradient_sides),
        batch_size=message.batch_size,
        tuning_digest=message.tuning_digest,
        precision=message.precision,
    )


def _input(message: manifest_pb2.InputContract) -> Input:
    return Input(
        message.channels,
        message.height,
        message.width,
        word_of(manifest_pb2.ColourOrder, message.colour_order),
        word_of(manifest_pb2.ResizeRule, message.resize.rule),
        message.resize.short_side,
    )


def _method(message: method_pb2.MethodDescription) -> MethodDescription:
    return MethodDescription(
        name=message.name,
        summary=message.summary,
        source=message.source,
        options=tuple(_option(option) for option in message.options),
        class_agnostic=message.class_agnostic,
        fails_sanity_checks=message.fails_sanity_checks,
        needs_gradient=message.needs_gradient,
        default_taps=tuple(message.default_taps),
        available=message.available,
        unavailable_reason=message.unavailable_reason,
        anytime=message.anytime,
    )


def _option(message: method_pb2.OptionDescription) -> Option:
    return Option(
        message.name,
        message.summary,
        word_of(method_pb2.OptionType, message.type),
        option_of(message.default_value),
        message.minimum if message.HasField("minimum") else None,
        message.maximum if message.HasField("maximum") else None,
        tuple(message.choices),
    )
