"""The key of an answer: a digest of everything that changes it, which leaves nothing to read."""

import hashlib
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, fields

import numpy as np

from salience_service.explanation.plan import PlannedMethod
from salience_service.methods.options import as_scalars
from salience_service.models.model import ServedModel
from salience_service.request import (
    DicomImage,
    EncodedImage,
    ExplainOrder,
    ImageInput,
    PixelImage,
    PreparedImage,
)

LEAVE_ALIKE = ("priority", "partial_maps")
"""Fields of an order that change when an answer comes, or what is told on the way, never its end.
A deadline is none of an order's."""
SETTLED = ("model", "version", "image", "methods", "gradient_side", "score_fill")
"""Fields that go into the key as what they come to: a digest, a plan, a default made plain."""


@dataclass(frozen=True)
class AnswerKey:
    """Equal for orders with equal answers.

    Attributes:
        bundle_digest: of the model that answers.
        digest: SHA-256 of everything that changes the answer.
    """

    bundle_digest: str
    digest: bytes


def key_of(
    order: ExplainOrder,
    plan: Sequence[PlannedMethod],
    model: ServedModel,
    software: str,
    asker: str,
) -> AnswerKey:
    """The key of the answer to an order. Reads the whole image.

    What is not named here by its field goes in as it was said: a new field of an order can
    make two keys differ needlessly, never two answers meet.

    Args:
        order: what was asked; not one that the clock may end (`is_repeatable`).
        plan: what it came to on the model.
        model: who answers.
        software: the version of this software.
        asker: who asks; to others nothing is told that an earlier order of theirs left behind.
    """
    said = [
        (field.name, getattr(order, field.name))
        for field in fields(order)
        if field.name not in LEAVE_ALIKE + SETTLED
    ]
    parts = (
        software,
        asker,
        (model.digest, model.signed_by, model.provider, model.precision),
        (model.batch_size, model.tuning_digest),
        _image(order.image),
        tuple(map(_method, plan)),
        order.score_fill or order.fill,
        said,
    )
    # A value's repr names its type and all its fields, and a float's is exact.
    return AnswerKey(model.digest, hashlib.sha256(repr(parts).encode()).digest())


def is_repeatable(order: ExplainOrder) -> bool:
    """Whether the same order has the same answer: no clock may end it."""
    return order.stop_when is None or order.stop_when.seconds is None


def _method(planned: PlannedMethod) -> Hashable:
    options = sorted(as_scalars(planned.options).items())
    taps = tuple(tap.name for tap in planned.taps)
    return planned.method.name, tuple(options), taps, planned.gradient_side.value


def _image(image: ImageInput) -> Hashable:
    match image:
        case EncodedImage() | DicomImage():
            return type(image).__name__, hashlib.sha256(image.data).hexdigest()
        case PixelImage():
            return "PixelImage", image.full_scale, _array(image.pixels)
        case PreparedImage():
            return "PreparedImage", _array(image.tensor)


def _array(values: np.ndarray) -> Hashable:
    digest = hashlib.sha256(np.ascontiguousarray(values).data).hexdigest()
    return values.dtype.str, values.shape, digest
