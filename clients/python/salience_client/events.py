"""What an explanation says while it runs, as typed values."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from salience_client.errors import SalienceError
from salience_client.saliency_map import ResolvedTarget, SaliencyMap, Scores


@dataclass(frozen=True)
class Started:
    """The request was accepted; its image was not read yet, and no device work has begun.

    Attributes:
        model: the model's name.
        version: the version that answers.
        bundle_digest: SHA-256 of the bundle's manifest, in hex.
        provider: the ONNX Runtime execution provider.
        explanations_beside: explanations ahead of or beside this one on the server.
    """

    model: str
    version: str
    bundle_digest: str
    provider: str
    explanations_beside: int


@dataclass(frozen=True)
class ClassScore:
    """A class with its logit and probability in [0, 1] (None for a regression)."""

    index: int
    label: str
    logit: float
    probability: float | None

    @property
    def name(self) -> str:
        """The label, or the index where the model has no labels."""
        return self.label or str(self.index)


@dataclass(frozen=True)
class Prediction:
    """What the model says of the image.

    Attributes:
        top: at most five classes, best first.
        targets: what the targets asked for came to.
        image_height: rows of the image as sent, after EXIF orientation.
        image_width: columns of the image as sent, after EXIF orientation.
    """

    top: tuple[ClassScore, ...]
    targets: tuple[ResolvedTarget, ...]
    image_height: int
    image_width: int


@dataclass(frozen=True)
class Progress:
    """Rows really completed for the whole request; `rows_done` never decreases.

    `rows_expected` may shrink when a method converges early, or rows need not run.
    """

    map_id: int
    method: str
    rows_done: int
    rows_expected: int


@dataclass(frozen=True, eq=False)
class PartialMap:
    """A map in the making.

    Attributes:
        map_id: the number that the finished map will have.
        array: float32 [h, w], raw scale, at the resolution of its tap; read-only.
        tap: the tap it lives on; empty where it lives on the model's input.
        fraction: share of the method's expected work behind it, in [0, 1].
        skipped: partial maps, of any map, left out since the request began because the reader
            was slow.
        correlation: the estimated one with the finished map, in [-1, 1]; None where the
            method does not tell.
    """

    map_id: int
    array: NDArray[np.float32]
    tap: str
    fraction: float
    skipped: int
    correlation: float | None = None


@dataclass(frozen=True)
class Finished:
    """The end.

    Attributes:
        rows: rows run for this request.
        queue_seconds: seconds its rows waited for the device.
        compute_seconds: seconds of device time, shared batches counted by share.
        total_seconds: seconds from arrival to this event.
        map_seconds: seconds per map, in the order of map ids, scores included.
        partial_maps_skipped: partial maps left out because the reader was slow.
        map_rows: rows per map, in the order of map ids, scores included.
        rows_spared: rows and gradients that need not run: they are like others, or of a channel
            that is zero everywhere.
        from_cache: whether the whole answer was kept from an earlier request that asked the
            same; rows and seconds on the device are then those of that request.
    """

    rows: int
    queue_seconds: float
    compute_seconds: float
    total_seconds: float
    map_seconds: tuple[float, ...]
    partial_maps_skipped: int
    map_rows: tuple[int, ...]
    rows_spared: int = 0
    from_cache: bool = False


@dataclass(frozen=True)
class Failed:
    """One of many requests ended with an error; the others go on."""

    error: SalienceError


@dataclass(frozen=True)
class Restarted:
    """The answer broke off and begins anew: what came of it before is void.

    The server was killed, or lost on the way; the client asks again. What follows is a whole
    answer, from its `Started` on; the same request brings the same maps.

    Attributes:
        why: the error that broke the answer off.
    """

    why: SalienceError


Event = Started | Prediction | Progress | PartialMap | SaliencyMap | Scores | Finished | Restarted
"""One event of an answer."""
