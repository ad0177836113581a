"""Rows per second of RISE through the engine, beside the bare forward.

One run is a whole explanation of EfficientNet-Lite0 through `Engine.explain`: a PNG of 451×300
in, 1,000 masks of 224×224 drawn on the way, partial maps, the finished map out. The bare forward
is that of `score_cam_rate`: ready-made masked images, nothing else.
Each lives in a process of its own, and only one is busy at a time; `control` is the bare forward
against itself.
"""

from collections.abc import Callable
from pathlib import Path

from bench.apart import apart
from bench.bare import bare_forward
from bench.explaining import explaining
from bench.pairs import COLUMNS, CONTROL, in_pairs, judged
from bench.report import Figure, Part, Table
from bench.workplace import MODEL, Workplace, cat
from salience_service.request import EncodedImage, ExplainOrder, MethodCall

MASKS, LEAST = 1000, 0.93


def measure(place: Workplace) -> Part:
    """RISE's speed by the bare forward's, with the control."""
    masks = 200 if place.quick else MASKS
    with (
        apart(_rise, place.models, masks) as rise,
        apart(bare_forward, place.models, cat(), masks) as bare,
    ):
        taken = in_pairs({"rise": rise}, bare, place.pairs)
    speed, room = taken["rise"].speed.median, taken[CONTROL].speed.half_spread
    return Part(
        "rise_rate",
        __doc__ or "",
        (
            Figure(
                f"RISE of {masks} masks ÷ bare",
                speed,
                "",
                f"≥ {LEAST} − {room:.3f}",
                judged(speed - LEAST + room, room),
            ),
            Figure("control: bare ÷ bare", taken[CONTROL].speed.median, ""),
        ),
        (Table("Pairs", COLUMNS, tuple(pairs.row(name) for name, pairs in taken.items())),),
    )


def _rise(models: Path, masks: int) -> Callable[[], object]:
    method = MethodCall("rise", {"masks": masks})
    return explaining(models, ExplainOrder(MODEL, EncodedImage(cat()), (method,)))
