"""What lines hold: who, when, of which model, by what, and how it ended.

Nothing of a patient: no pixel, no file name, no label, no score, no word of the caller's but the
request id, and of an action the model and version that it names. An image and a map are there as
keyed digests, which tell whoever has the key that this image was explained or this map answered,
and tell nobody else anything.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from salience_service.audit.keys import AuditKeys, digest
from salience_service.events import Provenance, Started
from salience_service.request import (
    DicomImage,
    EncodedImage,
    ImageInput,
    OptionScalar,
    PixelImage,
    PreparedImage,
)
from salience_service.telemetry.records import (
    OK,
    Action,
    ActionRecord,
    Arrival,
    ExplanationRecord,
    InferenceRecord,
    Refusal,
)

Fields = Mapping[str, object]

CODES = (
    *("OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND"),
    *("ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION"),
    *("ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"),
    "UNAUTHENTICATED",
)
"""Names of gRPC's status codes, by number."""
_OUTCOMES = {
    "OK": "ok",
    **dict.fromkeys(("CANCELLED", "DEADLINE_EXCEEDED"), "cancelled"),
    **dict.fromkeys(("UNKNOWN", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "ABORTED"), "failed"),
}
"""What else there is was refused."""


def image_digest(keys: AuditKeys, image: ImageInput) -> str:
    """The keyed digest of an image as it was sent, in hex."""
    return digest(keys.images, _image_parts(image)).hex()


def result_digest(keys: AuditKeys, data: bytes) -> str:
    """The keyed digest of a map as it was answered, in hex."""
    return digest(keys.results, [data]).hex()


def began(arrival: Arrival, started: Started, image: str) -> Fields:
    """An explanation that was let in, before anything of it is answered."""
    return {
        **_who(arrival),
        "model": started.model,
        "version": started.version,
        "bundle": started.bundle_digest,
        "image": image,
    }


def ended(
    record: ExplanationRecord, began: int | None, image: str, results: Sequence[str]
) -> Fields:
    """An explanation that ended.

    Args:
        record: what it came to.
        began: number of the line of its beginning; None where it was refused before.
        image: keyed digest; empty where it was refused before.
        results: keyed digests of its maps, in the order of the record's provenances.
    """
    return {
        "began": began,
        **_who(record),
        **_outcome(record),
        "image": image,
        "provider": record.provider,
        "maps": _maps(record.provenances, results),
        "rows": record.rows,
        "rows_spared": record.rows_spared,
        "seconds": round(record.whole_seconds, 6),
        "device_seconds": round(record.compute_seconds, 6),
        "from_cache": record.from_cache,
    }


def predicted(record: InferenceRecord) -> Fields:
    """A plain prediction that ended."""
    return {
        **_who(record),
        **_outcome(record),
        "rows": record.images,
        "seconds": round(record.whole_seconds, 6),
    }


def action_began(action: Action) -> Fields:
    """An administrator's action, before it is done."""
    return {
        **_who(action),
        "action": action.name,
        "model": action.model,
        "version": action.version,
    }


def action_ended(record: ActionRecord, began: int | None) -> Fields:
    """An administrator's action that was done, or failed; `began`: number of the line before it."""
    return {
        "began": began,
        **action_began(record.action),
        **_end(record),
        "seconds": round(record.whole_seconds, 6),
    }


def turned_away(refusal: Refusal, others: int = 0) -> Fields:
    """A call that was turned away, or, where there are `others`, so many like it."""
    return {**_who(refusal), "error": refusal.reason, "rpc": refusal.rpc, "others": others}


def _who(told: Arrival | ExplanationRecord | InferenceRecord | Action | Refusal) -> Fields:
    return {"principal": told.principal, "request": told.request_id}


def _outcome(record: ExplanationRecord | InferenceRecord) -> Fields:
    return {
        **_end(record),
        "model": record.model,
        "version": record.version,
        "bundle": record.bundle_digest,
    }


def _end(record: ExplanationRecord | InferenceRecord | ActionRecord) -> Fields:
    code = CODES[record.code] if record.code < len(CODES) else "UNKNOWN"
    return {
        "outcome": _OUTCOMES.get(code, "refused"),
        "code": code,
        "error": "" if record.outcome == OK else record.outcome,
    }


def _maps(provenances: Sequence[Provenance], results: Sequence[str]) -> list[Fields]:
    """How maps were made, and the digests of those that were made alike."""
    alike: dict[str, list[str]] = {}
    # Of a map that was cut off while it went out there may be one and not yet the other.
    for made, result in zip(provenances, results, strict=False):
        alike.setdefault(json.dumps(_making(made)), []).append(result)
    return [{**json.loads(making), "results": found} for making, found in alike.items()]


def _making(made: Provenance) -> Fields:
    """How a map was made. Graphs are not named: the bundle's digest stands for each of them."""
    return {
        "method": made.method,
        "options": {name: _plain(value) for name, value in sorted(made.options.items())},
        "taps": list(made.taps),
        "gradients": made.gradient_side.value,
        "precision": made.precision,
        "signed_by": made.signed_by,
    }


def _plain(value: OptionScalar) -> OptionScalar:
    """The value as JSON can hold it, which has no infinity."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _image_parts(image: ImageInput) -> Iterator[bytes | memoryview]:
    """What says all of an image; its kind first, so that no two kinds meet."""
    yield type(image).__name__.encode() + b"\n"
    match image:
        case EncodedImage() | DicomImage():
            yield image.data
        case PixelImage():
            yield repr(image.full_scale).encode() + b"\n"
            yield from _array_parts(image.pixels)
        case PreparedImage():
            yield from _array_parts(image.tensor)


def _array_parts(values: np.ndarray) -> Iterator[bytes | memoryview]:
    yield f"{values.dtype.str} {values.shape}\n".encode()
    if values.size:  # A memoryview of nothing cannot be cast.
        yield np.ascontiguousarray(values).data.cast("B")
