"""Occlusion: what the target loses where a window hides the image."""

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from salience_service.methods.asking import Scores, finite, scored
from salience_service.methods.method import Extent
from salience_service.methods.options import Options
from salience_service.methods.probe import Base, MethodRun, Outcome, Partial, PixelRows
from salience_service.methods.rows.target_score import Score, score_of
from salience_service.methods.rows.windows import Windows

LARGEST = 8192


class OcclusionOptions(Options):
    """The window, its stride, and what an image is scored by."""

    window: int = Field(
        0,
        ge=0,
        le=LARGEST,
        description="Side of the window in pixels of the model's input; "
        "0: two sevenths of the shorter side (64 of 224).",
    )
    stride: int = Field(
        0,
        ge=0,
        le=LARGEST,
        description="Pixels from one window to the next; 0: an eighth of the window.",
    )
    score: Score = Field(
        "logit", description="What an image is scored by: the target's logit or probability."
    )


def occlusion(base: Base, options: OcclusionOptions) -> MethodRun:
    """The mean over the windows on a pixel of f(x) − f(x with the window filled), signed.

    float32 [H, W] of the input. Zeiler and Fergus 2014, "Visualizing and understanding
    convolutional networks", §4.2; the mean over windows, and windows cut off at the far
    edges, are captum's `Occlusion`. Departures: a square window over all channels, the
    request's fill inside it; by default the window grows with the input.
    """
    windows = _windows(base.height, base.width, options)
    (clean,) = score_of(base.target, base.logits[None], options.score)

    def lost(logits: NDArray[np.float32]) -> Scores:
        losses: Scores = clean - score_of(base.target, logits, options.score)
        return losses

    def drawn(logits: NDArray[np.float32]) -> Partial:
        so_far = windows.mean(finite(lost(logits))).astype(np.float32)
        return Partial(so_far, "", len(logits) / windows.shape[0])

    differences = yield from scored(PixelRows(windows, preview=drawn), lost)
    return Outcome(windows.mean(differences).astype(np.float32), signed=True)


def occlusion_rows(extent: Extent, options: OcclusionOptions) -> int:
    """One row a window.

    Raises:
        InvalidRequest: a window or stride that does not fit the input, or too many windows.
    """
    return _windows(extent.height, extent.width, options).shape[0]


def _windows(height: int, width: int, options: OcclusionOptions) -> Windows:
    window = options.window or max(round(min(height, width) * 2 / 7), 1)
    return Windows(height, width, window, options.stride or max(window // 8, 1))
