"""A finished saliency map: its pixels, what they mean, and all that is needed to make it again."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from salience_client.extras import require
from salience_client.fill import Fill
from salience_client.method import OptionScalar
from salience_client.request import StopWhen

_DATA_TYPES: dict[str, np.dtype[Any]] = {"float32": np.dtype("<f4"), "float16": np.dtype("<f2")}


@dataclass(frozen=True)
class ResolvedTarget:
    """A target as the server resolved it, with the clean image's figures.

    Attributes:
        name: the label, "not:LABEL" or "A-B".
        kind: "class", "absent" or "difference".
        index: the class; for a difference, the class explained.
        against: for a difference, the class it is compared with.
        value: logit, −logit or difference of logits.
        probability: in [0, 1]; None for a regression.
    """

    name: str
    kind: str
    index: int
    against: int | None
    value: float
    probability: float | None


@dataclass(frozen=True, eq=False)
class ScoreCurve:
    """The target's probability while pixels are shown or hidden, most salient first.

    Attributes:
        shares: float64 [n], of the pixels, rising from 0 to 1; read-only.
        probabilities: float64 [n], at each; read-only.
    """

    shares: NDArray[np.float64]
    probabilities: NDArray[np.float64]


@dataclass(frozen=True)
class Scores:
    """Scores of one map on one image: the summands of means over images.

    Attributes:
        map_id: the map scored.
        values: by word: "ad" and "ag" in percent, [0, 100], "ai" 0 or 100; "insertion" and
            "deletion" areas in [0, 1], "insertion-deletion" their difference.
        fill: what stood behind the mask of AD, AI and AG.
        clean_probability: of the target on the clean image.
        masked_probability: of the target on the image masked by the map.
        curves: "insertion", "deletion", as far as the scores are taken of them.
        curve_protocol: "rise" or "polycam"; None where there are no curves.
    """

    map_id: int
    values: Mapping[str, float]
    fill: Fill
    clean_probability: float
    masked_probability: float
    curves: Mapping[str, ScoreCurve] = field(default_factory=dict)
    curve_protocol: str | None = None

    def __getitem__(self, score: str) -> float:
        return self.values[score]


@dataclass(frozen=True)
class GraphUse:
    """A graph and the fixed shape at which it ran; map sizes are 0 where it takes no maps.

    For role "tail", `tap` is where it begins.
    """

    role: str
    digest: str
    batch_size: int
    map_height: int
    map_width: int
    tap: str = ""


@dataclass(frozen=True)
class Provenance:
    """All that is needed to make a map again; digests are SHA-256 in hex.

    `precision` is that of the numbers on the device, "float32", "tf32" or "float16";
    `tuning_digest` is empty where no tune file fixed batch sizes and threads; `signed_by` is the
    id of the key that signed the bundle, empty where none did that the server trusts;
    `stop_when` is what let the map end early, None where none was asked for or the method needs
    all its rows. The request's other targets have a say in where a map ends.
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
    gradient_side: str
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
        correlation: estimated, with the map of all rows; 1 where none was skipped.
        repeatable: False where the clock ended it: asked again, the map may be another.
    """

    rows_skipped: int
    correlation: float
    repeatable: bool


@dataclass(frozen=True)
class Rectangle:
    """A rectangle in pixels of the image as sent; edges may lie between pixels."""

    left: float
    top: float
    width: float
    height: float


@dataclass(frozen=True, eq=False)
class SaliencyMap:
    """A finished map.

    Attributes:
        map_id: its number within the answer, from 0.
        provenance: how it was made.
        target: what it explains.
        encoding: "float32", "float16", "png-grey", "png-overlay" or "png-masked".
        geometry: "feature", "input" or "original".
        scale: "unit" or "raw".
        height: rows of its grid.
        width: columns of its grid.
        data: the pixels in their encoding, as sent.
        raw_minimum: least value before scaling, of the pixels that the model saw.
        raw_maximum: greatest value before scaling, of the same.
        is_signed: True where negative values mean evidence against; zero stays zero.
        flags: cautions: "degenerate", "class-agnostic", "fails-sanity-checks", "not-converged".
        audit: "unaudited", "passed" or "failed".
        validity: bool [height, width], True where the model saw the pixel; None = all seen.
        seen: the part of the image as sent that the model saw.
        iterations: steps taken, where the method iterates.
        box: around what the map points at, in whole pixels of the image as sent; None where
            none was asked for, or where the map is flat.
        convergence: how far the map has come, where it was allowed to end early; else None.
        scores: its scores; None until they are known, or where none were asked for.
        rows: device rows run for it and its scores; rows that several maps are made of
            count for each. None until the answer is complete.
        seconds: seconds it took, scores included; maps made together share theirs evenly.
            None until the answer is complete.
    """

    map_id: int
    provenance: Provenance
    target: ResolvedTarget
    encoding: str
    geometry: str
    scale: str
    height: int
    width: int
    data: bytes
    raw_minimum: float
    raw_maximum: float
    is_signed: bool
    flags: frozenset[str]
    audit: str
    validity: NDArray[np.bool_] | None
    seen: Rectangle
    iterations: int | None
    box: Rectangle | None = None
    convergence: Convergence | None = None
    scores: Scores | None = None
    rows: int | None = None
    seconds: float | None = None

    @property
    def method(self) -> str:
        """The method's name."""
        return self.provenance.method

    @property
    def is_degenerate(self) -> bool:
        """True where the map is flat: it says nothing. Zeros; in the raw scale its one value."""
        return "degenerate" in self.flags

    @property
    def is_png(self) -> bool:
        """True where `data` is a PNG file."""
        return self.encoding.startswith("png")

    @cached_property
    def array(self) -> NDArray[Any]:
        """The pixels, read-only: float32 or float16 [height, width], or uint8 from a PNG.

        A grey PNG gives [height, width], an overlay or a masked image [height, width, 3].

        Raises:
            MissingExtra: the map is a PNG and Pillow is not installed.
        """
        if not self.is_png:
            flat = np.frombuffer(self.data, _DATA_TYPES[self.encoding])
            return flat.reshape(self.height, self.width)
        pictures = require("PIL.Image", "cli", "reading a PNG map")
        with pictures.open(BytesIO(self.data)) as picture:
            pixels: NDArray[Any] = np.array(picture)
        pixels.flags.writeable = False
        return pixels
