"""The cache of finished explanations: who asks the same is told the same, nobody else is."""

import hashlib
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from types import FrameType

import numpy as np
import pytest

from salience_client import Client, Preprocessed
from salience_client import errors as client_errors
from salience_client.in_process import InProcess
from salience_service.bundle.reader import Bundle
from salience_service.config import ServeConfig
from salience_service.config.bundles import UNSIGNED_ALLOWED
from salience_service.control import Control
from salience_service.engine import Engine
from salience_service.errors import InvalidRequest
from salience_service.events import Event, Finished, FinishedMap, MapScores, Prediction, Started
from salience_service.explanation.answer_key import LEAVE_ALIKE, AnswerKey, key_of
from salience_service.explanation.image_footprint import SENT_TWICE
from salience_service.explanation.plan import plan
from salience_service.explanation.telling import Pace
from salience_service.image.pixels import ImageLimits
from salience_service.maps.picture import png
from salience_service.methods import METHODS
from salience_service.methods.options import as_scalars
from salience_service.models.model import ServedModel
from salience_service.request import (
    BlackFill,
    BlurFill,
    BoxOrder,
    ClassRef,
    ColourFill,
    CurveProtocol,
    EncodedImage,
    Encoding,
    ExplainOrder,
    Geometry,
    GradientChoice,
    ImageInput,
    MapFormat,
    MethodCall,
    PixelImage,
    PreparedImage,
    PresentTarget,
    Priority,
    Scale,
    ScoreKind,
    StopWhen,
    TopKTargets,
)
from salience_service.runtime.session import Device
from tests.support.bundles import without
from tests.support.small import SMALL

MEBIBYTE = 2**20
PIXELS = np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8)
PICTURE = PixelImage(PIXELS, 255.0)
METHOD = MethodCall("rise", {"masks": 20, "cells": 4})
ORDER = ExplainOrder("softmax", PICTURE, (METHOD, MethodCall("grad-cam")), version="1")


@pytest.fixture(scope="module")
def model(tiny_bundle: Bundle) -> ServedModel:
    return ServedModel(tiny_bundle, Device(threads=1), 4)


@pytest.fixture
def engine(model: ServedModel) -> Iterator[Engine]:
    made = engine_with(model, MEBIBYTE)
    yield made
    made.close()


def engine_with(model: ServedModel, cache_bytes: int) -> Engine:
    return Engine([model], ImageLimits(), Pace(0, 0), 4, cache_bytes=cache_bytes)


def answer(engine: Engine, asked: ExplainOrder = ORDER, asker: str = "") -> list[Event]:
    return list(engine.explain(asked, Control(asker=asker)))


def end(events: list[Event]) -> Finished:
    assert isinstance(events[-1], Finished)
    return events[-1]


def key(asked: ExplainOrder, model: ServedModel, software: str = "1") -> AnswerKey:
    return key_of(asked, plan(asked, model), model, software, asker="")


OTHER: dict[str, list[object]] = {
    "image": [
        PixelImage(PIXELS[::-1], 255.0),
        PixelImage(PIXELS, 256.0),
        PixelImage(PIXELS.astype(np.uint16), 255.0),
        PixelImage(PIXELS.astype(np.float32), 255.0),
        PixelImage(PIXELS.astype("<u2"), 65535.0),
        PixelImage(PIXELS.astype("<u2").view(">u2"), 65535.0),
        PixelImage(PIXELS.reshape(16, 64, 3), 255.0),
        PixelImage(PIXELS[:, :, 0], 255.0),
        PreparedImage(np.zeros((3, 32, 32), np.float32)),
        PreparedImage(np.ones((3, 32, 32), np.float32)),
        EncodedImage(b"one file"),
        EncodedImage(b"another file"),
    ],
    "methods": [
        (METHOD,),
        (MethodCall("grad-cam"), METHOD),
        (METHOD, MethodCall("grad-cam"), METHOD),
        (METHOD, MethodCall("grad-cam", taps=("layer2",))),
        (METHOD, MethodCall("hires-cam")),
        (replace(METHOD, options={**METHOD.options, "seed": 1}), MethodCall("grad-cam")),
        (replace(METHOD, options={"masks": 20}), MethodCall("grad-cam")),
    ],
    "targets": [
        (PresentTarget(ClassRef(1)),),
        (PresentTarget(ClassRef(2)),),
        (PresentTarget(ClassRef(1)), PresentTarget(ClassRef(2))),
        (PresentTarget(ClassRef(2)), PresentTarget(ClassRef(1))),
        (TopKTargets(2),),
    ],
    "fill": [BlackFill(), BlurFill(11, 5.0), BlurFill(11, 6.0), ColourFill((0.5,))],
    "scores": [
        (ScoreKind.AVERAGE_DROP,),
        (ScoreKind.AVERAGE_DROP, ScoreKind.INSERTION),
        (ScoreKind.INSERTION, ScoreKind.AVERAGE_DROP),
    ],
    "score_fill": [BlackFill(), ColourFill((0.25,))],
    "format": [
        MapFormat(Encoding.FLOAT16),
        MapFormat(Encoding.PNG_OVERLAY),
        MapFormat(Encoding.PNG_OVERLAY, overlay_alpha=0.25),
        MapFormat(geometry=Geometry.FEATURE),
        MapFormat(scale=Scale.RAW),
    ],
    "gradient_side": [GradientChoice.TORCH],
    "curve_protocol": [CurveProtocol.POLYCAM],
    "box": [BoxOrder(), BoxOrder(0.5), BoxOrder(0.0)],
    "stop_when": [StopWhen(correlation=0.9), StopWhen(correlation=0.95)],
}
"""By field of an order, values that change the answer."""
BY_DIGEST = ("model", "version")
"""Fields whose value is in the key as the bundle's digest, which tests of their own show."""


def test_every_field_of_an_order_is_in_the_key_or_named_as_one_that_changes_no_answer() -> None:
    named = {field.name for field in fields(ExplainOrder)}
    assert named == {*OTHER, *BY_DIGEST, *LEAVE_ALIKE}
    assert not set(OTHER) & set(LEAVE_ALIKE)


def test_orders_that_differ_in_one_field_have_different_keys(model: ServedModel) -> None:
    orders = [ORDER, *(replace(ORDER, **{k: v}) for k, values in OTHER.items() for v in values)]
    keys = [key(asked, model) for asked in orders]
    twins = [n for n, each in enumerate(keys) if each in keys[:n]]
    assert not twins, [orders[n] for n in twins]


@pytest.mark.parametrize(
    "same",
    [
        ORDER,
        replace(ORDER, priority=Priority.BULK),
        replace(ORDER, partial_maps=False),
        replace(ORDER, version=""),
        replace(ORDER, image=PixelImage(np.asfortranarray(PIXELS), 255.0)),
        replace(ORDER, score_fill=ORDER.fill),
        replace(ORDER, gradient_side=GradientChoice.ONNX),
        replace(ORDER, methods=(METHOD, MethodCall("grad-cam", taps=("layer3",)))),
        replace(
            ORDER,
            methods=(MethodCall("rise", {"cells": 4, "seed": 0, "masks": 20}), ORDER.methods[1]),
        ),
    ],
)
def test_orders_that_come_to_the_same_have_one_key(model: ServedModel, same: ExplainOrder) -> None:
    assert key(same, model) == key(ORDER, model)


def test_what_is_in_fields_that_change_no_answer_changes_no_key(model: ServedModel) -> None:
    changed = {"priority": Priority.INTERACTIVE, "partial_maps": False}
    assert set(changed) == set(LEAVE_ALIKE)
    assert key(replace(ORDER, **changed), model) == key(ORDER, model)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", METHODS)
def test_fields_that_are_not_in_the_key_change_no_bit_of_any_method(
    model: ServedModel, name: str
) -> None:
    engine = engine_with(model, 0)
    asked = replace(ORDER, methods=(MethodCall(name, SMALL.get(name, {})),))
    first = answer(engine, asked)
    second = answer(engine, replace(asked, priority=Priority.BULK, partial_maps=False))
    engine.close()
    one, other = (
        [each.encoded.data for each in events if isinstance(each, FinishedMap)]
        for events in (first, second)
    )
    assert one
    assert one == other


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("digest", "0" * 64),
        ("provider", "CUDAExecutionProvider"),
        ("precision", "float16"),
        ("batch_size", 8),
        ("tuning_digest", "1" * 64),
        ("signed_by", "another key"),
    ],
)
def test_whoever_computes_otherwise_has_another_key(
    tiny_bundle: Bundle, model: ServedModel, name: str, value: object
) -> None:
    other = ServedModel(tiny_bundle, Device(threads=1), 4)
    assert key(ORDER, other) == key(ORDER, model)
    setattr(other, name, value)
    assert key(ORDER, other) != key(ORDER, model)


def test_another_version_of_this_software_has_another_key(model: ServedModel) -> None:
    assert key(ORDER, model, "1") != key(ORDER, model, "2")


def test_every_seed_is_an_option_and_so_in_the_key() -> None:
    """Whatever is drawn at random is drawn from an option: nothing else may decide a map."""
    seeded = {name for name, method in METHODS.items() if "seed" in as_scalars(method.options())}
    assert seeded >= {"rise", "ss-cam", "lime", "kernel-shap", "smooth-grad"}


def test_a_key_holds_nothing_of_the_image(model: ServedModel) -> None:
    found = key(replace(ORDER, image=EncodedImage(b"a photograph")), model)
    assert b"photograph" not in found.digest
    assert len(found.digest) == 32
    assert found.bundle_digest == model.digest


def test_the_same_order_is_answered_from_memory_with_the_same_bits(engine: Engine) -> None:
    asked = replace(ORDER, scores=(ScoreKind.AVERAGE_DROP, ScoreKind.DELETION))
    first, second = answer(engine, asked), answer(engine, asked)
    lasting = [e for e in first if isinstance(e, Prediction | FinishedMap | MapScores)]
    assert isinstance(second[0], Started)
    assert second[1:-1] == lasting
    assert [m.encoded.data for m in second if isinstance(m, FinishedMap)] == [
        m.encoded.data for m in first if isinstance(m, FinishedMap)
    ]


def test_the_end_tells_that_it_was_kept_and_the_rows_of_the_run(engine: Engine) -> None:
    first, second = end(answer(engine)), end(answer(engine))
    assert (first.from_cache, second.from_cache) == (False, True)
    assert second.total_seconds != first.total_seconds
    assert replace(second, from_cache=False, total_seconds=first.total_seconds) == first


def test_a_kept_answer_takes_no_row_and_the_memory_of_itself_and_its_image(engine: Engine) -> None:
    answer(engine)
    again = engine.explain(ORDER, Control())
    next(again)
    assert engine.load.rows == 0
    assert engine.cache is not None
    assert engine.load.bytes == engine.cache.bytes + SENT_TWICE * PIXELS.nbytes
    again.close()
    assert engine.load.explanations == 0


def test_orders_alike_that_run_at_the_same_time_all_run(engine: Engine) -> None:
    alike = [engine.explain(ORDER, Control()) for _ in range(2)]
    for events in alike:
        next(events)
    assert [end(list(events)).from_cache for events in alike] == [False, False]
    assert end(answer(engine)).from_cache


def test_who_asks_for_something_else_is_not_answered_from_memory(engine: Engine) -> None:
    answer(engine)
    other = answer(engine, replace(ORDER, image=PixelImage(PIXELS[::-1], 255.0)))
    assert not end(other).from_cache


def test_nobody_learns_what_another_has_asked(engine: Engine) -> None:
    answer(engine, asker="ward")
    assert not end(answer(engine, asker="archive")).from_cache
    assert end(answer(engine, asker="ward")).from_cache


def test_what_the_clock_may_end_is_neither_kept_nor_looked_up(engine: Engine) -> None:
    timed = replace(ORDER, methods=(METHOD,), stop_when=StopWhen(seconds=60))
    assert not end(answer(engine, timed)).from_cache
    assert not end(answer(engine, timed)).from_cache
    assert engine._cache is not None
    assert engine._cache.count == 0


def test_what_ends_by_correlation_is_kept(engine: Engine) -> None:
    asked = replace(ORDER, methods=(METHOD,), stop_when=StopWhen(correlation=0.5))
    answer(engine, asked)
    assert end(answer(engine, asked)).from_cache


def test_an_answer_that_fails_is_not_kept(engine: Engine) -> None:
    broken = replace(ORDER, image=EncodedImage(b"no image"))
    for _ in range(2):
        with pytest.raises(InvalidRequest):
            answer(engine, broken)
    assert engine._cache is not None
    assert engine._cache.count == 0


def test_an_answer_whose_reader_leaves_is_not_kept(engine: Engine) -> None:
    events = engine.explain(ORDER, Control())
    for event in events:
        if isinstance(event, FinishedMap):
            break
    events.close()
    assert engine._cache is not None
    assert engine._cache.count == 0
    assert not end(answer(engine)).from_cache


def test_a_reader_that_leaves_at_the_last_event_has_had_the_whole_answer(engine: Engine) -> None:
    events = engine.explain(ORDER, Control())
    while not isinstance(next(events), Finished):
        pass
    events.close()
    assert end(answer(engine)).from_cache


@contextmanager
def hashes() -> Iterator[list[str]]:
    """Notes every SHA-256 that this thread begins."""
    begun: list[str] = []

    def watch(frame: FrameType, event: str, called: object) -> None:
        if event == "c_call" and called is hashlib.sha256:
            begun.append(frame.f_code.co_filename)

    sys.setprofile(watch)
    try:
        yield begun
    finally:
        sys.setprofile(None)


@pytest.mark.parametrize(("cache_bytes", "hashed"), [(0, False), (MEBIBYTE, True)])
def test_without_a_cache_nothing_is_hashed(
    model: ServedModel, cache_bytes: int, hashed: bool
) -> None:
    engine = engine_with(model, cache_bytes)
    with hashes() as begun:
        answer(engine)
    engine.close()
    assert bool(begun) == hashed


def test_an_engine_answers_as_ever_where_the_cache_is_too_small_for_anything(
    model: ServedModel,
) -> None:
    engine = engine_with(model, 1)
    first, second = answer(engine), answer(engine)
    assert not end(second).from_cache
    assert [m.encoded.data for m in second if isinstance(m, FinishedMap)] == [
        m.encoded.data for m in first if isinstance(m, FinishedMap)
    ]
    engine.close()


def test_models_of_one_name_and_two_digests_do_not_share_answers(
    tiny_bundle: Bundle, model: ServedModel, tmp_path: Path
) -> None:
    twin = ServedModel(
        without(tiny_bundle, tmp_path / "twin", program=False),
        Device(threads=1),
        4,
    )
    assert key(ORDER, twin) != key(ORDER, model)


def test_keys_of_the_configuration_reach_the_engine_and_the_client_hears_of_it(
    tiny_bundle: Bundle, tmp_path: Path
) -> None:
    shutil.copytree(tiny_bundle.directory, tmp_path / "softmax" / "1")
    config = ServeConfig(
        threads=1,
        batch_size=4,
        cache_bytes=MEBIBYTE,
        max_queued_rows=100,
        bundles=UNSIGNED_ALLOWED,
    )
    engine = Engine.open(tmp_path, config)
    with Client(InProcess(engine)) as client:
        image = Preprocessed(np.ones((3, 32, 32), np.float32))
        first, second = (
            client.explain(image, model="softmax", methods=["score-cam"]) for _ in range(2)
        )
        with pytest.raises(client_errors.InvalidRequest, match="at most 100 a request"):
            client.explain(image, model="softmax", methods=["rise"])
    engine.close()
    assert (first.finished.from_cache, second.finished.from_cache) == (False, True)
    np.testing.assert_array_equal(first.maps[0].array, second.maps[0].array)


Kind = Callable[[np.ndarray], ImageInput]


@pytest.mark.parametrize(
    "kind",
    [
        lambda pixels: EncodedImage(png(pixels)),
        lambda pixels: PixelImage(pixels, 255.0),
        lambda pixels: PreparedImage(pixels.transpose(2, 0, 1).astype(np.float32) / 255),
    ],
)
def test_images_of_every_kind_are_recognised(engine: Engine, kind: Kind) -> None:
    answer(engine, replace(ORDER, image=kind(PIXELS)))
    assert end(answer(engine, replace(ORDER, image=kind(PIXELS.copy())))).from_cache
    changed = PIXELS.copy()
    changed[0, 0, 0] ^= 1
    assert not end(answer(engine, replace(ORDER, image=kind(changed)))).from_cache
