"""What a caller asks for, as plain values: the wire turns messages into these and back."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

import numpy as np
from numpy.typing import NDArray

OptionScalar = float | int | bool | str


@dataclass(frozen=True)
class EncodedImage:
    """A whole image file: PNG, JPEG, TIFF, BMP or WebP."""

    data: bytes


@dataclass(frozen=True)
class PixelImage:
    """Pixels of any size.

    Attributes:
        pixels: [H, W] or [H, W, C] with C 1 or 3 (red, green, blue); uint8, uint16 or float32.
        full_scale: the value that means full intensity, > 0.
    """

    pixels: NDArray[np.generic]
    full_scale: float


@dataclass(frozen=True)
class PreparedImage:
    """The model's own input: [C, H, W], float32, exactly the input contract's shape."""

    tensor: NDArray[np.float32]


@dataclass(frozen=True)
class DicomImage:
    """A DICOM file."""

    data: bytes


ImageInput = EncodedImage | PixelImage | PreparedImage | DicomImage


@dataclass(frozen=True)
class MeanFill:
    """Zero in normalised space."""


@dataclass(frozen=True)
class BlackFill:
    """Pixels of intensity zero, normalised."""


@dataclass(frozen=True)
class BlurFill:
    """The image, Gaussian-blurred in normalised space; kernel and sigma in input pixels."""

    kernel: int = 51
    sigma: float = 20.0


@dataclass(frozen=True)
class ColourFill:
    """One colour: intensity per channel in [0, 1], red, green, blue or one grey."""

    intensity: tuple[float, ...]


Fill = MeanFill | BlackFill | BlurFill | ColourFill


@dataclass(frozen=True)
class ClassRef:
    """A class by index (int) or by label (str)."""

    name: int | str


@dataclass(frozen=True)
class PresentTarget:
    """The logit of one class."""

    ref: ClassRef


@dataclass(frozen=True)
class AbsentTarget:
    """Minus the logit of one class: an absent finding."""

    ref: ClassRef


@dataclass(frozen=True)
class DifferenceTarget:
    """The logit of one class less that of another."""

    this: ClassRef
    that: ClassRef


@dataclass(frozen=True)
class TopKTargets:
    """The k classes with the highest logits."""

    k: int


@dataclass(frozen=True)
class AboveThresholdTargets:
    """Every class whose probability exceeds its threshold."""


@dataclass(frozen=True)
class TextTarget:
    """Any of the above in words: LABEL, INDEX, not:LABEL, A-B, top:K, above-threshold."""

    text: str


TargetSpec = (
    PresentTarget
    | AbsentTarget
    | DifferenceTarget
    | TopKTargets
    | AboveThresholdTargets
    | TextTarget
)


@dataclass(frozen=True)
class MethodCall:
    """One method with the options and taps that differ from its defaults."""

    name: str
    options: Mapping[str, OptionScalar] = field(default_factory=dict)
    taps: tuple[str, ...] = ()


class Encoding(Enum):
    """How a map's pixels are written."""

    FLOAT32 = "float32"
    FLOAT16 = "float16"
    PNG_GREY = "png-grey"
    PNG_OVERLAY = "png-overlay"
    PNG_MASKED = "png-masked"


class Geometry(Enum):
    """The pixel grid of a map."""

    FEATURE = "feature"
    INPUT = "input"
    ORIGINAL = "original"


class Scale(Enum):
    """The scale of a map's values."""

    UNIT = "unit"
    RAW = "raw"


@dataclass(frozen=True)
class MapFormat:
    """How maps are sent; `overlay_alpha` in (0, 1]."""

    encoding: Encoding = Encoding.FLOAT32
    geometry: Geometry = Geometry.INPUT
    scale: Scale = Scale.UNIT
    overlay_alpha: float = 0.5


class ScoreKind(Enum):
    """The scores of a map on one image, each the summand of a mean over images."""

    AVERAGE_DROP = "ad"
    AVERAGE_INCREASE = "ai"
    AVERAGE_GAIN = "ag"
    INSERTION = "insertion"
    DELETION = "deletion"
    INSERTION_DELETION = "insertion-deletion"


class CurveProtocol(Enum):
    """How insertion and deletion are taken (see `scores.curves`)."""

    RISE = "rise"
    POLYCAM = "polycam"


@dataclass(frozen=True)
class BoxOrder:
    """A box around what a map points at.

    Attributes:
        threshold: what its pixels exceed, as a share of the way from the map's least value to
            its greatest, in [0, 1); None = the map's mean.
    """

    threshold: float | None = None


class GradientChoice(Enum):
    """Which side takes gradients; AUTO: ONNX where the model has gradient graphs, else torch."""

    AUTO = "auto"
    ONNX = "onnx"
    TORCH = "torch"


class Priority(Enum):
    """How device time is shared where many explanations wait; the value is the weight."""

    INTERACTIVE = 16
    NORMAL = 4
    BULK = 1


@dataclass(frozen=True)
class StopWhen:
    """When a map that is drawn from ever more rows is good enough; at the first that is set.

    Attributes:
        correlation: estimated, with the map of all rows; in (0, 1).
        seconds: since the method began, > 0.
    """

    correlation: float | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class ExplainOrder:
    """Everything one request asks for."""

    model: str
    image: ImageInput
    methods: tuple[MethodCall, ...]
    version: str = ""
    targets: tuple[TargetSpec, ...] = ()
    fill: Fill = field(default_factory=MeanFill)
    scores: tuple[ScoreKind, ...] = ()
    score_fill: Fill | None = None
    format: MapFormat = field(default_factory=MapFormat)
    partial_maps: bool = True
    gradient_side: GradientChoice = GradientChoice.AUTO
    curve_protocol: CurveProtocol = CurveProtocol.RISE
    box: BoxOrder | None = None
    priority: Priority = Priority.NORMAL
    stop_when: StopWhen | None = None
