"""Nothing is computed twice: rows and gradients that are alike run once, and no bit changes."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from salience_export import Destination, ModelContract, export_torch
from salience_service.bundle.manifest import OutputKind
from salience_service.bundle.reader import Bundle, open_bundle
from salience_service.control import Control
from salience_service.engine import Engine
from salience_service.events import Convergence, Finished, FinishedMap, Progress
from salience_service.explanation.known import Known
from salience_service.interpolation import upsample
from salience_service.methods import METHODS
from salience_service.methods.channels import positive_sum
from salience_service.methods.options import resolve
from salience_service.methods.probe import Base, RowAnswers, Rows
from salience_service.methods.rows.ablation_cam import FLOOR
from salience_service.methods.single_channels import AllButEach
from salience_service.models.model import ServedModel
from salience_service.request import (
    BlackFill,
    ClassRef,
    ExplainOrder,
    Geometry,
    MapFormat,
    MethodCall,
    OptionScalar,
    PreparedImage,
    PresentTarget,
    Scale,
    ScoreKind,
    StopWhen,
)
from salience_service.row_graphs.sources import MaskedImage
from salience_service.runtime.session import Execution
from salience_service.scheduling.row_graph import RowSpan
from tests.support.answering import class_target
from tests.support.contracts import image_contract
from tests.support.engines import engine_over
from tests.support.networks import seeded

CHANNELS, FLAT, TWINS = 12, (1, 4, 7), ((0, 5), (2, 8), (2, 10))
SCALED = ((3, 6, 4), (3, 9, 0.5))
"""Of channels so many times others; by powers of two, so that the numbers are."""
DISTINCT = CHANNELS - len(TWINS) - len(SCALED) - (len(FLAT) - 1)
"""Rows of Score-CAM that differ: of all that are flat, one."""
RAW = MapFormat(geometry=Geometry.FEATURE, scale=Scale.RAW)
TARGET = (PresentTarget(ClassRef(2)),)


class Repeating(nn.Module):
    """A tap whose channels are some flat, at heights 0, 1 and 2, some alike, and some alike but
    for their scale. Logits [N, 6]."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, CHANNELS, 3, 2, 1)
        self.tap = nn.ReLU()
        self.after = nn.Conv2d(CHANNELS, 8, 3, 2, 1)
        self.head = nn.Linear(8, 6)
        with torch.no_grad():
            self.head.weight.mul_(4)
            for height, channel in enumerate(FLAT):
                self.conv.weight[channel] = 0
                self.conv.bias[channel] = height
            for one, other in TWINS:
                self.conv.weight[other] = self.conv.weight[one]
                self.conv.bias[other] = self.conv.bias[one]
            for one, other, times in SCALED:
                self.conv.weight[other] = times * self.conv.weight[one]
                self.conv.bias[other] = times * self.conv.bias[one]

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.after(self.tap(self.conv(x)))).mean((2, 3)))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    contract = ModelContract(image_contract(), OutputKind.SOFTMAX)
    directory: Path = tmp_path_factory.mktemp("repeating")
    where = Destination(directory, "repeating")
    return open_bundle(export_torch(seeded(Repeating), contract, where, ["tap"]).directory)


@pytest.fixture(scope="module")
def engine(bundle: Bundle) -> Iterator[Engine]:
    with engine_over(bundle) as made:
        yield made


def picture(seed: int = 3) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=(3, 8, 8)).astype(np.float32)
    return upsample(noise, 32, 32)


def call(name: str, **options: OptionScalar) -> MethodCall:
    return MethodCall(name, options)


def order(*methods: MethodCall, **changes: object) -> ExplainOrder:
    asked = ExplainOrder("repeating", PreparedImage(picture()), methods, targets=TARGET, format=RAW)
    return replace(asked, **changes)  # type: ignore[arg-type]


class Answer:
    """What an order was answered."""

    def __init__(self, engine: Engine, asked: ExplainOrder) -> None:
        events = list(engine.explain(asked, Control()))
        self.finished = next(event for event in events if isinstance(event, Finished))
        self.progress = [event for event in events if isinstance(event, Progress)]
        self.maps = [event for event in events if isinstance(event, FinishedMap)]

    @property
    def ran(self) -> int:
        """Rows that the device ran, without the clean run."""
        return self.finished.rows - 1


def test_flat_and_identical_channels_are_scored_once(engine: Engine) -> None:
    answer = Answer(engine, order(call("score-cam")))
    assert (answer.ran, answer.finished.rows_spared) == (DISTINCT, CHANNELS - DISTINCT)


@pytest.mark.parametrize(
    "options",
    [{}, {"weights": "raw", "score": "probability"}, {"weights": "cdc"}, {"weights": "cvc"}],
)
def test_the_map_has_the_bits_of_one_whose_every_row_ran(
    engine: Engine, options: dict[str, OptionScalar]
) -> None:
    answer = Answer(engine, order(call("score-cam", **options)))
    (found,) = answer.maps
    shape = found.encoded.height, found.encoded.width
    drawn = np.frombuffer(found.encoded.data, np.float32).reshape(shape)
    np.testing.assert_array_equal(drawn, row_by_row(engine.models()[0], options))
    assert answer.finished.rows_spared > 0


def row_by_row(model: ServedModel, options: dict[str, OptionScalar]) -> np.ndarray:
    """Score-CAM with each of its rows run by itself, straight on the graph."""
    image, tap = picture(), model.manifest.taps[0]
    clean = model.forward(image, [tap], Execution())
    fill = np.zeros_like(image)
    source = MaskedImage.over(image, fill)
    method = METHODS["score-cam"]
    base = Base(clean.features, clean.logits, class_target(2), image, fill)
    run = method.run(base, resolve(method.options, options))
    probe = next(run)
    while True:
        assert isinstance(probe, Rows)
        alike = Known(image, keeps=False).alike(probe, source)
        assert alike is not None
        spans = [
            RowSpan(source, each[None], probe.normalise, probe.scale, probe.shift)
            for each in alike.maps
        ]
        logits = np.concatenate([model.masked.score([span], Execution()) for span in spans])
        try:
            probe = run.send(RowAnswers(logits))
        except StopIteration as end:
            return np.asarray(end.value.map)


def test_methods_that_ask_the_same_rows_share_them(engine: Engine) -> None:
    """Softmax, raw and CAM+ differ only in what they make of the same logits."""
    three = (call("score-cam"), call("score-cam", weights="raw"), call("score-cam", weights="cic"))
    answer = Answer(engine, order(*three))
    assert answer.ran == DISTINCT
    assert answer.finished.rows_spared == 3 * CHANNELS - DISTINCT
    for method, together in zip(three, answer.maps, strict=True):
        (alone,) = Answer(engine, order(method)).maps
        assert together.encoded.data == alone.encoded.data


def test_cam_plus_minus_shares_the_rows_of_both_its_halves(engine: Engine) -> None:
    both = order(
        call("score-cam", weights="cic"),
        call("score-cam", weights="cdc"),
        call("score-cam", weights="cvc"),
    )
    assert Answer(engine, both).ran == 2 * DISTINCT


def test_hidden_channels_are_not_shown_ones(engine: Engine) -> None:
    both = order(call("score-cam", weights="cic"), call("score-cam", weights="cdc"))
    assert Answer(engine, both).ran == 2 * DISTINCT


def test_rows_over_another_fill_are_not_the_same(engine: Engine) -> None:
    """The score's row is the map itself over black, where the method's rows lie over the mean."""
    asked = order(
        call("score-cam"),
        call("score-cam"),
        scores=(ScoreKind.AVERAGE_DROP,),
        score_fill=BlackFill(),
    )
    over_black, over_mean = (
        Answer(engine, each) for each in (asked, replace(asked, score_fill=None))
    )
    assert over_black.ran == over_mean.ran == DISTINCT + 1  # The same map twice: scored once.
    alone = Answer(engine, order(call("score-cam"), fill=BlackFill()))
    assert alone.ran == DISTINCT


def test_ablation_runs_no_row_of_a_channel_that_is_zero_everywhere(engine: Engine) -> None:
    """Of the flat channels one is; without it the row would be that of all channels again."""
    index = 0  # Its map is not zero everywhere.
    targets = tuple(PresentTarget(ClassRef(each)) for each in (index, 2))
    answer = Answer(engine, order(call("ablation-cam"), targets=targets))
    assert (answer.ran, answer.finished.rows_spared) == (1 + CHANNELS - 1, 1)
    last = answer.progress[-1]
    assert last.rows_done == last.rows_expected == answer.finished.rows
    drawn = np.frombuffer(answer.maps[0].encoded.data, np.float32)
    np.testing.assert_array_equal(drawn, every_channel_ablated(engine.models()[0], index).ravel())
    assert drawn.any()


def every_channel_ablated(model: ServedModel, index: int) -> np.ndarray:
    """Ablation-CAM with each of its rows run by itself, those of dead channels too."""
    tap = model.manifest.taps[0]
    clean = model.forward(picture(), [tap], Execution(), model.manifest.live(tap))
    source, tail = model.tapped(clean, tap), model.tails.open(tap).result()
    kept = AllButEach(CHANNELS, tuple(range(CHANNELS)))
    rows = [kept[row : row + 1] for row in range(1 + CHANNELS)]
    logits = np.concatenate([tail.score([RowSpan(source, row)], Execution()) for row in rows])
    values = class_target(index).value(logits)
    weights = (values[0] - values[1:]) / (abs(values[0]) + FLOOR)
    return positive_sum(weights, clean.features[tap.name]).astype(np.float32)


PIXEL_METHODS = [
    ("rise", {"masks": 70, "cells": 4}, 70),
    ("occlusion", {"window": 11, "stride": 4}, 49),
    ("lime", {"samples": 60, "superpixels": "slic"}, 60),
]


@pytest.mark.parametrize(("name", "options", "rows"), PIXEL_METHODS)
def test_series_of_pixel_masks_that_are_equal_run_once(
    engine: Engine, name: str, options: dict[str, OptionScalar], rows: int
) -> None:
    both = [call(name, score=score, **options) for score in ("probability", "logit")]
    answer = Answer(engine, order(call("score-cam"), *both))
    assert answer.finished.map_rows == (DISTINCT, rows, 0)
    assert answer.finished.rows_spared == CHANNELS - DISTINCT + rows
    done = [event.rows_done for event in answer.progress]
    assert done == sorted(done)
    last = answer.progress[-1]
    assert last.rows_done == last.rows_expected == answer.finished.rows
    for method, together in zip(both, answer.maps[1:], strict=True):
        (alone,) = Answer(engine, order(method)).maps
        assert together.encoded.data == alone.encoded.data


def test_series_over_several_targets_are_answered_once_for_all_methods(engine: Engine) -> None:
    targets = tuple(PresentTarget(ClassRef(index)) for index in range(3))
    both = [call("rise", masks=70, cells=4, score=score) for score in ("probability", "logit")]
    assert Answer(engine, order(*both, targets=targets)).ran == 70


def test_a_series_that_ended_early_is_not_taken_for_whole(engine: Engine) -> None:
    both = [call("rise", masks=400, cells=4, score=score) for score in ("probability", "logit")]
    stop = StopWhen(correlation=0.5)
    answer = Answer(engine, order(*both, stop_when=stop))
    assert all(0 < rows < 400 for rows in answer.finished.map_rows)
    for method, together in zip(both, answer.maps, strict=True):
        (alone,) = Answer(engine, order(method, stop_when=stop)).maps
        assert together.encoded.data == alone.encoded.data
        assert together.convergence == alone.convergence


def test_a_map_of_known_rows_that_never_agrees_is_whole(engine: Engine) -> None:
    both = [call("rise", masks=70, cells=4, score=score) for score in ("probability", "logit")]
    answer = Answer(engine, order(*both, stop_when=StopWhen(correlation=0.999999)))
    assert answer.finished.map_rows == (70, 0)
    assert [each.convergence for each in answer.maps] == [Convergence(0, 1.0, True)] * 2


GRADIENT_CAMS = ("grad-cam", "hires-cam", "layer-cam", "xgrad-cam")


def test_methods_on_one_tap_take_one_gradient(engine: Engine) -> None:
    answer = Answer(engine, order(*map(call, GRADIENT_CAMS)))
    assert (answer.ran, answer.finished.rows_spared) == (1, len(GRADIENT_CAMS) - 1)
    for name, together in zip(GRADIENT_CAMS, answer.maps, strict=True):
        (alone,) = Answer(engine, order(call(name))).maps
        assert together.encoded.data == alone.encoded.data


def test_gradients_of_several_targets_are_not_the_same(engine: Engine) -> None:
    targets = tuple(PresentTarget(ClassRef(index)) for index in range(3))
    answer = Answer(engine, order(*map(call, GRADIENT_CAMS[:2]), targets=targets))
    assert (answer.ran, answer.finished.rows_spared) == (3, 3)


@pytest.mark.parametrize(
    "methods",
    [
        ("score-cam",),
        ("score-cam", "score-cam"),
        ("grad-cam", "hires-cam"),
        ("score-cam", "grad-cam", "score-cam", "hires-cam"),
    ],
)
def test_progress_ends_at_what_was_expected_and_never_falls(
    engine: Engine, methods: tuple[str, ...]
) -> None:
    answer = Answer(engine, order(*map(call, methods)))
    done = [event.rows_done for event in answer.progress]
    assert done == sorted(done)
    last = answer.progress[-1]
    assert last.rows_done == last.rows_expected == answer.finished.rows


def test_rows_of_a_map_are_those_that_ran_for_it(engine: Engine) -> None:
    answer = Answer(engine, order(call("score-cam"), call("score-cam", weights="raw")))
    assert answer.finished.map_rows == (DISTINCT, 0)
