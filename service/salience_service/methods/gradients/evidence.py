"""Evidence for and against: what is below zero in a map is cut off or kept, tap by tap."""

import numpy as np
from pydantic import Field

from salience_service.errors import InvalidRequest
from salience_service.methods.gradients.fusion import FUSION, Fusion, Maps, balanced, fused
from salience_service.methods.method import Extent
from salience_service.methods.options import Options
from salience_service.methods.probe import Base, Outcome


class EvidenceOptions(Options):
    """Whether evidence against the target is kept, and how several taps become one map."""

    relu: bool = Field(
        True, description="Cut negative values off; false keeps them, as evidence against."
    )
    fusion: Fusion = Field("mean", description=FUSION)


def evidence(maps: Maps, options: EvidenceOptions, base: Base) -> Outcome:
    """The outcome of signed maps, float64 [h, w], one a tap.

    With the relu each is cut off, then they are fused. Without it the outcome is signed,
    and several are averaged, each over its greatest absolute value.
    """
    if options.relu:
        return Outcome(fused([np.maximum(each, 0) for each in maps], options.fusion, base))
    return Outcome(balanced(maps, base), signed=True)


def evidence_rows(extent: Extent, options: EvidenceOptions) -> int:
    """One gradient, to all taps at once.

    Raises:
        InvalidRequest: signed maps of several taps with another fusion than the mean. The
            greatest of them hides what speaks against, and two negatives multiply to a positive.
    """
    if len(extent.channels) > 1 and not options.relu and options.fusion != "mean":
        raise InvalidRequest(
            f"fusion is {options.fusion} and relu is false: signed maps of "
            f"{len(extent.channels)} taps can only be averaged; give fusion mean, or relu true",
            field="fusion",
        )
    return 1
