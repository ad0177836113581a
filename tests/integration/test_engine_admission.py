"""Who is let in: rows and bytes are counted before any work, and given back however it ends."""

import io
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from salience_service.admission import MOST_BYTES, MOST_ROWS, Load
from salience_service.bundle.manifest import Head, OutputKind
from salience_service.bundle.reader import Bundle
from salience_service.control import Control
from salience_service.engine import Engine
from salience_service.errors import (
    Cancelled,
    DeadlineExceeded,
    InvalidRequest,
    Overloaded,
    QuotaExceeded,
    SalienceError,
)
from salience_service.events import Event, Finished, FinishedMap, Started
from salience_service.explanation.footprint import Footprint
from salience_service.explanation.plan import plan
from salience_service.explanation.row_stream import PART_BATCHES, parts_ahead
from salience_service.explanation.telling import Pace
from salience_service.image.pixels import ImageLimits
from salience_service.methods import METHODS
from salience_service.models.model import ServedModel
from salience_service.request import (
    AboveThresholdTargets,
    BoxOrder,
    ClassRef,
    EncodedImage,
    Encoding,
    ExplainOrder,
    Geometry,
    ImageInput,
    MapFormat,
    MethodCall,
    PixelImage,
    PreparedImage,
    PresentTarget,
    ScoreKind,
    TextTarget,
    TopKTargets,
)
from salience_service.runtime.session import Device
from salience_service.targets.resolve import most_targets
from tests.support.image_files import blank_png
from tests.support.small import SMALL

PREPARED = PreparedImage(np.random.default_rng(0).normal(size=(3, 32, 32)).astype(np.float32))
RISE = MethodCall("rise", {"masks": 20, "cells": 4})
ORDER = ExplainOrder("softmax", PREPARED, (RISE,), targets=(PresentTarget(ClassRef(1)),))
ROWS = 1 + 20
"""Of ORDER: the clean run and its masks."""
NOTHING = Load(0, 0, 0)
LIMITS = ImageLimits(max_ratio=10_000)
"""That of 1-bit PNGs, so that large pictures come in small files."""


@pytest.fixture(scope="module")
def model(tiny_bundle: Bundle) -> ServedModel:
    return ServedModel(tiny_bundle, Device(threads=1), 4)


@contextmanager
def engine_bearing(
    model: ServedModel, explanations: int = 8, rows: int = MOST_ROWS, held: int = MOST_BYTES
) -> Iterator[Engine]:
    engine = Engine([model], LIMITS, Pace(0, 0), explanations, rows, held)
    try:
        yield engine
    finally:
        engine.close()


def footprint(model: ServedModel, order: ExplainOrder) -> Footprint:
    return Footprint(order, plan(order, model), model, LIMITS)


def answer(engine: Engine, order: ExplainOrder = ORDER) -> list[Event]:
    return list(engine.explain(order, Control()))


def test_masks_that_wait_are_counted_for_as_many_lanes_as_there_are(
    model: ServedModel, tiny_bundle: Bundle
) -> None:
    asked = replace(ORDER, methods=(MethodCall("rise", {"masks": 1000, "cells": 4}),))
    wide = ServedModel(tiny_bundle, Device(threads=1, calls=16), 4)
    parts = parts_ahead(16) - parts_ahead(1)
    more = footprint(wide, asked).bytes - footprint(model, asked).bytes
    assert more == parts * PART_BATCHES * 4 * 32 * 32 * np.dtype(np.float32).itemsize > 0
    wide.close()


def test_pixels_of_eight_bits_with_another_full_scale_count_as_they_are_brought_to_it(
    model: ServedModel,
) -> None:
    pixels = np.zeros((400, 300, 3), np.uint8)
    plain, other = (replace(ORDER, image=PixelImage(pixels, scale)) for scale in (255, 254))
    assert footprint(model, other).bytes > footprint(model, plain).bytes + 2 * pixels.size


def test_rows_of_what_runs_are_counted_from_its_start_to_its_end(model: ServedModel) -> None:
    with engine_bearing(model) as engine:
        first, second = (engine.explain(ORDER, Control()) for _ in range(2))
        next(first), next(second)
        counted = footprint(model, ORDER)
        assert engine.load == Load(2, 2 * ROWS, 2 * counted.bytes)
        list(first)
        assert engine.load == Load(1, ROWS, counted.bytes)
        list(second)
        assert engine.load == NOTHING


def test_rows_beyond_the_limit_are_refused_until_there_is_room(model: ServedModel) -> None:
    with engine_bearing(model, rows=2 * ROWS - 1) as engine:
        first = engine.explain(ORDER, Control())
        next(first)
        with pytest.raises(Overloaded, match=f"{ROWS} rows .* limit of {2 * ROWS - 1}"):
            answer(engine)
        list(first)
        assert isinstance(answer(engine)[-1], Finished)


def test_bytes_beyond_the_limit_are_refused_until_there_is_room(model: ServedModel) -> None:
    most = 2 * footprint(model, ORDER).bytes - 1
    with engine_bearing(model, held=most) as engine:
        first = engine.explain(ORDER, Control())
        next(first)
        with pytest.raises(Overloaded, match=f"limit of {most}; try again"):
            answer(engine)
        first.close()
        assert isinstance(answer(engine)[-1], Finished)


def test_an_order_of_more_rows_than_are_ever_borne_is_told_so(model: ServedModel) -> None:
    with (
        engine_bearing(model, rows=ROWS - 1) as engine,
        pytest.raises(InvalidRequest, match=f"asks for {ROWS} rows; .* at most {ROWS - 1} a"),
    ):
        answer(engine)


def test_one_request_may_ask_for_fewer_rows_than_all_may_together(model: ServedModel) -> None:
    engine = Engine([model], ImageLimits(), Pace(0, 0), 8, 10 * ROWS, max_rows_each=ROWS - 1)
    try:
        with pytest.raises(InvalidRequest, match=f"asks for {ROWS} rows; .* at most {ROWS - 1} a"):
            answer(engine)
        assert engine.load == NOTHING
    finally:
        engine.close()


def test_rows_are_charged_once_they_are_let_in_and_before_any_work(model: ServedModel) -> None:
    charged: list[int] = []

    def refuse(rows: int) -> None:
        charged.append(rows)
        raise QuotaExceeded("enough")

    damaged = replace(ORDER, image=EncodedImage(b"no image"))
    with engine_bearing(model) as engine:
        with pytest.raises(QuotaExceeded):
            list(engine.explain(damaged, Control(charge_rows=refuse)))
        assert (charged, engine.load) == ([ROWS], NOTHING)
    with engine_bearing(model, rows=ROWS - 1) as engine, pytest.raises(InvalidRequest):
        list(engine.explain(ORDER, Control(charge_rows=refuse)))
    assert charged == [ROWS], "charged what was not let in"


def test_an_order_of_more_bytes_than_are_ever_borne_is_told_so(model: ServedModel) -> None:
    counted = footprint(model, ORDER).bytes
    with (
        engine_bearing(model, held=counted - 1) as engine,
        pytest.raises(InvalidRequest, match=f"would hold {counted} bytes .* at most {counted - 1}"),
    ):
        answer(engine)


def test_what_is_refused_is_refused_before_its_image_is_decoded(model: ServedModel) -> None:
    damaged = replace(ORDER, image=EncodedImage(b"no image"))
    with (
        engine_bearing(model, rows=ROWS - 1) as engine,
        pytest.raises(InvalidRequest, match="rows"),
    ):
        answer(engine, damaged)
    with engine_bearing(model, rows=ROWS) as engine:
        with pytest.raises(InvalidRequest, match="not an image"):
            answer(engine, damaged)
        assert engine.load == NOTHING


def test_by_default_the_largest_picture_is_answered_alone(model: ServedModel) -> None:
    largest = ImageLimits()
    height = largest.max_pixels // 5000
    data = blank_png(height, 5000)
    whole = EncodedImage(data + bytes(largest.max_bytes - len(data)))
    drawn = MapFormat(Encoding.PNG_MASKED, Geometry.ORIGINAL)
    assert footprint(model, replace(ORDER, image=whole, format=drawn)).bytes <= MOST_BYTES


def test_a_large_picture_is_refused_by_its_header(model: ServedModel) -> None:
    """49 megapixels in a file of 6 KB, with a map drawn over each."""
    large = EncodedImage(blank_png(7000, 7000))
    assert len(large.data) < 10_000
    original = MapFormat(Encoding.PNG_OVERLAY, Geometry.ORIGINAL)
    order = replace(ORDER, image=large, format=original)
    with engine_bearing(model, held=10**9) as engine:
        began = time.thread_time()
        with pytest.raises(InvalidRequest, match="at most 1000000000 a request: send a smaller"):
            answer(engine, order)
        assert time.thread_time() - began < 0.5  # Decoding it takes longer.
    assert 1e9 < footprint(model, order).bytes <= MOST_BYTES  # By default it is answered.
    assert footprint(model, replace(order, format=MapFormat())).bytes < 1.05e9


@pytest.mark.parametrize("ending", ["cancelled", "late", "failing", "closed", "dropped"])
def test_its_place_is_free_again_however_it_ends(model: ServedModel, ending: str) -> None:
    control = Control()
    bad = EncodedImage(blank_png(32, 32)[:45]) if ending == "failing" else PREPARED
    many = replace(ORDER, image=bad, methods=(MethodCall("rise", {"masks": 20000, "cells": 4}),))
    with engine_bearing(model) as engine:
        events = engine.explain(many, control)
        next(events)
        assert engine.load.explanations == 1
        if ending == "late":
            control.deadline = time.monotonic()
        if ending == "closed":
            events.close()
        elif ending == "dropped":
            del events
        else:
            if ending == "cancelled":
                control.cancel()
            with pytest.raises((Cancelled, DeadlineExceeded, InvalidRequest)):
                list(events)
        assert engine.load == NOTHING


def test_an_answer_that_was_never_begun_takes_no_place(model: ServedModel) -> None:
    with engine_bearing(model, explanations=1) as engine:
        waiting = engine.explain(ORDER, Control())
        assert engine.load == NOTHING
        answer(engine)
        waiting.close()


def test_closing_the_engine_ends_what_runs_and_gives_back_all(model: ServedModel) -> None:
    with engine_bearing(model) as engine:
        events = engine.explain(ORDER, Control())
        next(events)
        engine.close()
        with pytest.raises(SalienceError):
            list(events)
        assert engine.load == NOTHING


@pytest.mark.parametrize("why", ["late", "cancelled"])
def test_what_nobody_waits_for_any_more_is_refused_before_any_work(
    model: ServedModel, why: str
) -> None:
    control = Control(time.monotonic() if why == "late" else None)
    if why == "cancelled":
        control.cancel()
    with engine_bearing(model) as engine:
        events = engine.explain(replace(ORDER, model="unknown"), control)
        with pytest.raises(DeadlineExceeded if why == "late" else Cancelled):
            next(events)


HEAD = Head(OutputKind.SIGMOID, 5, ("a", "b", "c", "d", "e"))


@pytest.mark.parametrize(
    ("specs", "most"),
    [
        ((), 1),
        ((TopKTargets(4),), 4),
        ((TextTarget("top:3"), PresentTarget(ClassRef("a"))), 4),
        ((AboveThresholdTargets(),), 5),
        ((TextTarget("above-threshold"), TextTarget("not:b"), TextTarget("a-b")), 7),
    ],
)
def test_targets_count_with_the_most_they_can_be(specs: tuple, most: int) -> None:
    assert most_targets(specs, HEAD) == most


def test_no_image_has_more_targets_than_are_explained_at_once() -> None:
    assert most_targets((AboveThresholdTargets(),), Head(OutputKind.SIGMOID, 1000)) == 64


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("scores", [(), tuple(ScoreKind)])
def test_no_method_runs_more_rows_than_were_counted(
    model: ServedModel, name: str, scores: tuple[ScoreKind, ...]
) -> None:
    order = replace(
        ORDER, methods=(MethodCall(name, SMALL.get(name, {})),), targets=(TopKTargets(2),)
    )
    counted = footprint(model, replace(order, scores=scores))
    with engine_bearing(model) as engine:
        finished = answer(engine, replace(order, scores=scores))[-1]
    assert isinstance(finished, Finished)
    assert finished.rows <= counted.rows


STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def resident(line: str) -> int:
    """Bytes of this process: VmRSS now, VmHWM at most since it was reset."""
    found = next(each for each in STATUS.read_text().splitlines() if each.startswith(line))
    return int(found.split()[1]) * 1024


def photograph(kind: str, height: int, width: int) -> ImageInput:
    """A smooth picture, which compresses little."""
    small = np.random.default_rng(1).integers(0, 255, (40, 60, 3), np.uint8)
    picture = Image.fromarray(small).resize((width, height), Image.Resampling.BILINEAR)
    if kind == "float32":
        return PixelImage(np.asarray(picture, np.float32), 255.0)
    file = io.BytesIO()
    if kind == "grey16":
        Image.fromarray(np.asarray(picture.convert("L"), np.uint16) * 257).save(file, "PNG")
    else:
        picture.save(file, kind)
    return EncodedImage(file.getvalue())


@pytest.mark.skipif(not CLEAR.exists(), reason="peaks of memory are read as Linux tells them")
@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "grey16", "float32"])
@pytest.mark.parametrize(
    ("encoding", "geometry", "box"),
    [
        (Encoding.FLOAT32, Geometry.ORIGINAL, None),
        (Encoding.PNG_OVERLAY, Geometry.ORIGINAL, None),
        (Encoding.PNG_MASKED, Geometry.ORIGINAL, None),
        (Encoding.FLOAT32, Geometry.ORIGINAL, BoxOrder()),
        (Encoding.FLOAT32, Geometry.INPUT, BoxOrder()),
    ],
)
def test_no_more_memory_is_taken_than_was_counted(
    model: ServedModel, kind: str, encoding: Encoding, geometry: Geometry, box: BoxOrder | None
) -> None:
    height, width = 2000, 3000
    image = photograph(kind, height, width)
    order = replace(ORDER, image=image, format=MapFormat(encoding, geometry), box=box)
    with engine_bearing(model) as engine:
        answer(engine, replace(order, image=PREPARED))  # What is loaded once is loaded.
        CLEAR.write_text("5")
        before = resident("VmRSS")
        events = engine.explain(order, Control())
        assert isinstance(next(events), Started)
        counted = engine.load.bytes
        assert any(isinstance(event, FinishedMap) for event in events)
        taken = resident("VmHWM") - before
    assert taken <= counted
    # Nor is it counted as so much that no one would be let in.
    assert counted <= 60 * height * width + 2 * 40 * height * width * (kind == "float32")
