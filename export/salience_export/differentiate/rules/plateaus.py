"""Functions that are flat wherever they have a slope: Sign, Floor, comparisons and the like.

Nothing flows back through them: their rule writes nothing, and the walk ends there.
"""

from collections.abc import Mapping

from salience_export.differentiate.step import Rule, Step


def flat(step: Step) -> Mapping[int, str]:
    """No cotangent at all."""
    del step
    return {}


_FLAT = (
    "And", "ArgMax", "ArgMin", "Ceil", "Equal", "Floor", "Greater", "GreaterOrEqual", "Hardmax",
    "IsInf", "IsNaN", "Less", "LessOrEqual", "Not", "Or", "Round", "Sign", "Xor",
)  # fmt: skip

PLATEAUS: Mapping[str, Rule] = dict.fromkeys(_FLAT, flat)
