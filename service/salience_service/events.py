"""What an explanation says while it runs, as plain values; the wire turns them into messages."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from salience_service.bundle.manifest import GraphRole
from salience_service.image.placement import Rectangle
from salience_service.request import (
    CurveProtocol,
    Encoding,
    Fill,
    Geometry,
    OptionScalar,
    Scale,
    ScoreKind,
    StopWhen,
)
from salience_service.targets.target import Target


class GradientSide(Enum):
    """Which side computed gradients."""

    NONE = "none"
    TORCH = "torch"
    ONNX = "onnx"


class MapFlag(Enum):
    """Cautions about a map."""

    DEGENERATE = "degenerate"
    CLASS_AGNOSTIC = "class_agnostic"
    FAILS_SANITY_CHECKS = "fails_sanity_checks"
    NOT_CONVERGED = "not_converged"


@dataclass(frozen=True)
class Started:
    """The request was accepted; its image was not read yet, and no device work has begun."""

    model: str
    version: str
    bundle_digest: str
    provider: str
    explanations_beside: int


@dataclass(frozen=True)
class ClassScore:
    """A class with its logit and probability (None for a regression)."""

    index: int
    label: str
    logit: float
    probability: float | None


@dataclass(frozen=True)
class TargetScore:
    """A resolved target with its value and probability on the clean image."""

    target: Target
    value: float
    probability: float | None


@dataclass(frozen=True)
class Prediction:
    """What the model says of the image: top classes, best first, and the targets.

    Sizes in pixels of the image as sent, upright.
    """

    top: tuple[ClassScore, ...]
    targets: tuple[TargetScore, ...]
    image_height: int
    image_width: int


@dataclass(frozen=True)
class Progress:
    """Rows really completed for the whole request; never decreases."""

    map_id: int
    method: str
    rows_done: int
    rows_expected: int


@dataclass(frozen=True)
class PartialMap:
    """A map in the making: raw float32 [h, w] on its tap.

    `correlation` is the estimated one with the finished map, where the method tells.
    """

    map_id: int
    map: NDArray[np.float32]
    tap: str
    fraction: float
    correlation: float | None = None


@dataclass(frozen=True)
class GraphUse:
    """A graph, its digest and the fixed shape at which it ran (map sizes 0 where none).

    For a tail, `tap` is where it begins.
    """

    role: GraphRole
    digest: str
    batch_size: int
    map_height: int = 0
    map_width: int = 0
    tap: str = ""


@dataclass(frozen=True)
class Provenance:
    """All that is needed to make a map again.

    Attributes:
        precision: of the numbers on the device: "float32", "tf32" or "float16"; gradients are
            taken in float32 whatever it is, and by CUDA where the provider is TensorRT.
        tuning_digest: SHA-256 of the tune file that fixed batch sizes and threads; empty
            where there was none.
        signed_by: id of the trusted key that signed the bundle; empty where none did.
        stop_when: what let the map end early; None where none was asked for, or the method
            needs all its rows. The request's other targets have a say in where it ends.
    """

    model: str
    version: str
    bundle_digest: str
    graphs: tuple[GraphUse, ...]
    provider: str
    method: str
    options: Mapping[str, OptionScalar]
    taps: tuple[str, ...]
    fill: Fill
    gradient_side: GradientSide
    software_version: str
    precision: str = "float32"
    tuning_digest: str = ""
    signed_by: str = ""
    stop_when: StopWhen | None = None


@dataclass(frozen=True)
class Convergence:
    """How far a map has come that was allowed to end before its last row.

    Attributes:
        rows_skipped: rows that the map was made without.
        correlation: estimated, with the map of all rows, in [−1, 1]; 1 where none was skipped.
        repeatable: False where the clock ended it.
    """

    rows_skipped: int
    correlation: float
    repeatable: bool


@dataclass(frozen=True)
class EncodedMap:
    """A map as it goes out: bytes in an encoding, on a grid, with what it was before scaling.

    Attributes:
        data: the encoded pixels.
        raw_minimum: least value before scaling, of the pixels seen. raw_maximum: greatest.
        degenerate: the map was flat.
        validity: bool [height, width], True where the model saw the pixel; None = all seen.
        seen: the rectangle of the original image that the model saw.
    """

    data: bytes
    encoding: Encoding
    geometry: Geometry
    scale: Scale
    height: int
    width: int
    raw_minimum: float
    raw_maximum: float
    degenerate: bool
    validity: NDArray[np.bool_] | None
    seen: Rectangle


@dataclass(frozen=True)
class FinishedMap:
    """A finished map with its provenance and cautions.

    Attributes:
        box: where one was asked for and the map is not flat: around what it points at, in
            pixels of the original image.
        convergence: where the map was allowed to end early.
    """

    map_id: int
    provenance: Provenance
    target: TargetScore
    encoded: EncodedMap
    signed: bool
    flags: tuple[MapFlag, ...]
    iterations: int | None
    box: Rectangle | None = None
    convergence: Convergence | None = None


@dataclass(frozen=True)
class ScoreCurve:
    """The target's probability while pixels are shown or hidden, most salient first.

    Attributes:
        kind: INSERTION or DELETION.
        shares: of the pixels, rising from 0 to 1. probabilities: at each.
    """

    kind: ScoreKind
    shares: tuple[float, ...]
    probabilities: tuple[float, ...]


@dataclass(frozen=True)
class MapScores:
    """Scores of one map, with the probabilities and curves behind them."""

    map_id: int
    scores: Mapping[ScoreKind, float]
    fill: Fill
    clean_probability: float
    masked_probability: float
    curves: tuple[ScoreCurve, ...] = ()
    curve_protocol: CurveProtocol | None = None


@dataclass(frozen=True)
class Finished:
    """The end: rows run, seconds waited, computed and in all; seconds and rows per map.

    Attributes:
        rows_spared: rows and gradients that need not run: they are like others, or of a channel
            that is zero everywhere.
        from_cache: the whole answer was kept from an earlier request that asked the same.
    """

    rows: int
    queue_seconds: float
    compute_seconds: float
    total_seconds: float
    map_seconds: tuple[float, ...]
    map_rows: tuple[int, ...]
    rows_spared: int = 0
    from_cache: bool = False


Event = Started | Prediction | Progress | PartialMap | FinishedMap | MapScores | Finished
