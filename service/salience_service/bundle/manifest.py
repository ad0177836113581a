"""What a bundle says of itself, as plain values. `manifest_json.py` reads and writes the file."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from salience_service.errors import BundleRefused

SCHEMA_VERSION = 2
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
"""Names of models and versions; also keeps them inside their directory."""
TUNE_FILE_SUFFIX = ".tune.json"
"""What follows a version in the name of its tune file, beside it; no version ends so."""


class ColourOrder(Enum):
    """Order of a model's input channels."""

    RGB = "RGB"
    BGR = "BGR"
    GREY = "GREY"


class ResizeRule(Enum):
    """How an image of any size comes to the model's height and width."""

    SHORT_SIDE = "short_side"
    STRETCH = "stretch"
    PAD = "pad"


class Interpolation(Enum):
    """The interpolation of a resize, antialiased as Pillow does it."""

    BILINEAR = "bilinear"
    BICUBIC = "bicubic"
    LANCZOS = "lanczos"


@dataclass(frozen=True)
class Resize:
    """The resize rule; `short_side` in pixels, only for SHORT_SIDE."""

    rule: ResizeRule
    interpolation: Interpolation
    short_side: int = 0


@dataclass(frozen=True)
class InputContract:
    """What a model takes: x = (intensity · white − mean) / std, intensity in [0, 1].

    Attributes:
        channels: 1 or 3.
        height: rows. width: columns.
        white: value of a pixel of full intensity before normalisation (1 or 255, say).
        mean: per channel in the model's channel order, in units of `white`.
        std: per channel in the model's channel order, in units of `white`, > 0.
    """

    channels: int
    height: int
    width: int
    colour_order: ColourOrder
    white: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resize: Resize

    def normalise(self, intensity: NDArray[np.floating]) -> NDArray[np.float32]:
        """Intensities [C, ...] in [0, 1], model's channel order, to the model's numbers."""
        shape = (self.channels,) + (1,) * (intensity.ndim - 1)
        mean = np.asarray(self.mean).reshape(shape)
        std = np.asarray(self.std).reshape(shape)
        return np.asarray((intensity * self.white - mean) / std, np.float32)


class OutputKind(Enum):
    """What a model's numbers mean."""

    SOFTMAX = "softmax"
    SIGMOID = "sigmoid"
    REGRESSION = "regression"
    LOG_PROBABILITY = "log_probability"


@dataclass(frozen=True)
class Head:
    """What a model puts out: `classes` numbers an image, with labels and thresholds or none."""

    kind: OutputKind
    classes: int
    labels: tuple[str, ...] = ()
    thresholds: tuple[float, ...] = ()


class TokenLayout(Enum):
    """How a tap's elements lie."""

    SPATIAL = "spatial"
    TOKENS = "tokens"
    CLASS_AND_TOKENS = "class_and_tokens"


@dataclass(frozen=True)
class Tap:
    """A feature tensor of the forward graph: per image [channels, height, width].

    Attributes:
        output: the forward graph's output that holds it.
        layout: how its elements lie there.
        linear_head: nothing but global average pooling and one linear layer brings it to
            the logits.
    """

    name: str
    channels: int
    height: int
    width: int
    output: str
    layout: TokenLayout = TokenLayout.SPATIAL
    linear_head: bool = False


class GraphRole(Enum):
    """What a graph computes."""

    FORWARD = "forward"
    MASKED = "masked"
    PIXEL_MASKED = "pixel_masked"
    TAIL = "tail"
    GRADIENT = "gradient"
    MASKED_GRADIENT = "masked_gradient"
    TAIL_GRADIENT = "tail_gradient"


FROM_A_TAP = (GraphRole.TAIL, GraphRole.TAIL_GRADIENT)
"""Roles of which a bundle has a graph for each tap."""


@dataclass(frozen=True)
class Graph:
    """One ONNX graph: its role, file and opset; from a tap, the tap and other live tensors."""

    role: GraphRole
    path: str
    opset: int
    tap: str = ""
    live: tuple[str, ...] = ()


@dataclass(frozen=True)
class BundleFile:
    """A file of the bundle: plain name, SHA-256 in hex, size in bytes."""

    path: str
    sha256: str
    size: int


@dataclass(frozen=True)
class Golden:
    """The golden example's file and the largest relative difference allowed."""

    path: str
    tolerance: float


@dataclass(frozen=True)
class PrecisionCost:
    """What the numbers of a lower precision cost.

    Attributes:
        precision: "tf32" or "float16".
        parity: largest difference from float32's, relative, emulated on the exporter's CPU.
        tolerance: largest difference from the golden example that is allowed.
    """

    precision: str
    parity: float
    tolerance: float


@dataclass(frozen=True)
class Source:
    """Where a model came from: kind ("torch" or "onnx"), digest, parity, changes in words."""

    kind: str
    digest: str
    parity: float
    changes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Manifest:
    """One version of one model. Valid once constructed."""

    name: str
    version: str
    input: InputContract
    head: Head
    taps: tuple[Tap, ...]
    graphs: tuple[Graph, ...]
    files: tuple[BundleFile, ...]
    golden: Golden
    source: Source
    torch_program: str = ""
    written_by: Mapping[str, str] = field(default_factory=dict)
    precisions: tuple[PrecisionCost, ...] = ()

    def __post_init__(self) -> None:
        for name in (self.name, self.version):
            if not NAME.fullmatch(name):
                raise BundleRefused(
                    f"{name!r} is not a name: use a-z, 0-9, '.', '_', '-', at most 64"
                )
        if self.version.endswith(TUNE_FILE_SUFFIX):
            raise BundleRefused(f"version {self.version!r} ends as tune files do: name it anew")

    def tap(self, name: str) -> Tap | None:
        """The tap of that name, or None."""
        return next((tap for tap in self.taps if tap.name == name), None)

    def tolerance(self, precision: str) -> float:
        """Largest difference from the golden example that is allowed at a precision.

        Raises:
            BundleRefused: what it costs was not measured, or is too much.
        """
        if precision == "float32":
            return self.golden.tolerance
        for cost in self.precisions:
            if cost.precision == precision:
                return cost.tolerance
        raise BundleRefused(
            f"model {self.name} {self.version} does not say what {precision} costs: export it "
            "again, and read in the report whether it can be had; or use precision = 'float32'"
        )

    def graph(self, role: GraphRole, tap: str = "") -> Graph | None:
        """The graph of that role (from that tap, where it begins at one), or None."""
        return next((g for g in self.graphs if g.role is role and g.tap == tap), None)

    def live(self, tap: Tap) -> tuple[str, ...]:
        """Outputs of the forward graph that graphs from this tap take besides it."""
        return next((g.live for g in self.graphs if g.tap == tap.name), ())
