"""Passes: every channel of a tap scored again and again, each time masked another way."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from salience_service.methods.asking import scored
from salience_service.methods.probe import Base, MethodRun, Outcome, Partial, RowProbe
from salience_service.methods.rows.scoring import Scoring, ScoringOptions

Preview = Callable[[NDArray[np.float32]], Partial]
Pass = Callable[[Preview | None], RowProbe]
"""One row a channel, in order, with a preview; made as the pass begins."""


def averaged(base: Base, options: ScoringOptions, passes: Sequence[Pass]) -> MethodRun:
    """relu(Σ_k w_k A_k), float32 [h, w], with w from each channel's mean score over the passes.

    The map is shown after each pass, and while the first one grows: behind it channels
    would be compared that had passes of different kinds. A pass is a probe of its own,
    so that no more than its logits are ever kept.
    """
    channels = len(base.features[base.tap])
    scoring = Scoring(base, options.score, by_softmax=options.weights == "softmax")
    rows = channels * len(passes)
    totals = np.zeros(channels)
    for done, rows_with in enumerate(passes, 1):
        preview = (lambda logits: scoring.preview(logits, rows)) if done == 1 else None
        totals += yield from scored(rows_with(preview), scoring.of)
        image_map = scoring.drawn(totals / done)
        yield Partial(image_map, base.tap, done / len(passes))
    return Outcome(image_map)
