"""The engine on real graphs: maps against slow oracles, neighbours, cancellation, cautions."""

import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from salience_service.bundle.reader import Bundle, open_bundle
from salience_service.config import ServeConfig
from salience_service.config.bundles import UNSIGNED_ALLOWED
from salience_service.control import Control
from salience_service.engine import Engine
from salience_service.errors import (
    BundleRefused,
    Cancelled,
    DeadlineExceeded,
    InvalidRequest,
    NotFound,
    NotPossible,
    Overloaded,
    SalienceError,
)
from salience_service.events import (
    Event,
    Finished,
    FinishedMap,
    GradientSide,
    MapFlag,
    MapScores,
    PartialMap,
    Prediction,
    Progress,
    Started,
)
from salience_service.explanation.telling import Pace
from salience_service.image.pixels import ImageLimits
from salience_service.inference.order import InferOrder
from salience_service.interpolation import unit_range
from salience_service.models.model import ServedModel
from salience_service.request import (
    AbsentTarget,
    BlackFill,
    ClassRef,
    DifferenceTarget,
    EncodedImage,
    ExplainOrder,
    Geometry,
    MapFormat,
    MethodCall,
    PreparedImage,
    PresentTarget,
    Priority,
    Scale,
    ScoreKind,
    TopKTargets,
)
from salience_service.runtime.session import Device, Execution
from salience_service.scheduling.row_graph import RowSpan
from salience_service.scheduling.scheduler import Scheduler
from salience_service.scheduling.ticket import Ticket
from tests.conftest import BundleOf
from tests.oracle.poly_cam import poly_cam
from tests.oracle.score_cam import score_cam
from tests.support import networks
from tests.support.bundles import tiny_bundle as write_tiny_bundle
from tests.support.pictures import picture

LIMITS = ImageLimits(1 << 20, 1 << 20)
RAW = MapFormat(geometry=Geometry.FEATURE, scale=Scale.RAW)
ALL = tuple(MethodCall(name) for name in ("fake-cam", "score-cam", "poly-cam", "opti-cam"))


class RecordingGraph:
    """The real masked graph, with a note of who shared each session call."""

    def __init__(self, model: ServedModel) -> None:
        self._graph = model.masked
        self.batch_size = model.masked.batch_size
        self.calls: list[list[tuple[int, int]]] = []
        self.began: list[float] = []

    def shape_key(self, maps: np.ndarray) -> object:
        return self._graph.shape_key(maps)

    def score(self, spans: Sequence[RowSpan], execution: Execution) -> np.ndarray:
        self.calls.append([(id(span.source), len(span)) for span in spans])
        self.began.append(time.monotonic())
        return self._graph.score(spans, execution)

    def rows(self) -> int:
        return sum(rows for call in self.calls for _, rows in call)


def engine_of(bundle: Bundle, max_explanations: int = 64) -> tuple[Engine, RecordingGraph]:
    model = ServedModel(bundle, Device(threads=1), batch_size=4)
    graph = model.masked = RecordingGraph(model)  # type: ignore[assignment]
    return Engine([model], LIMITS, Pace(0, 0), max_explanations), graph


@pytest.fixture
def served(tiny_bundle: Bundle) -> Iterator[tuple[Engine, RecordingGraph]]:
    engine, graph = engine_of(tiny_bundle)
    yield engine, graph
    engine.close()


def order(seed: int = 0, methods: Sequence[MethodCall] = (), **changes: object) -> ExplainOrder:
    stated = ExplainOrder(
        "softmax", PreparedImage(picture(seed)), tuple(methods) or ALL[1:2], format=RAW
    )
    return replace(stated, **changes)  # type: ignore[arg-type]


def explained(engine: Engine, asked: ExplainOrder) -> list[Event]:
    return list(engine.explain(asked, Control()))


def maps_of(events: Sequence[Event]) -> list[np.ndarray]:
    found = [event for event in events if isinstance(event, FinishedMap)]
    return [
        np.frombuffer(m.encoded.data, np.float32).reshape(m.encoded.height, m.encoded.width)
        for m in found
    ]


def features_of(network: torch.nn.Module, image: torch.Tensor) -> dict[str, torch.Tensor]:
    kept: dict[str, torch.Tensor] = {}
    hooks = [
        module.register_forward_hook(
            lambda _m, _i, out, name=name: kept.__setitem__(name, out[0].clone())
        )
        for name, module in network.named_modules()
        if name
    ]
    with torch.no_grad():
        network(image[None])
    for hook in hooks:
        hook.remove()
    return kept


def test_an_answer_comes_in_the_order_of_the_contract(
    served: tuple[Engine, RecordingGraph],
) -> None:
    events = explained(served[0], order(methods=ALL, scores=tuple(ScoreKind)))
    assert isinstance(events[0], Started)
    assert isinstance(events[1], Prediction)
    assert isinstance(events[-1], Finished)
    ids = [event.map_id for event in events if isinstance(event, FinishedMap)]
    assert ids == [0, 1, 2, 3]
    for map_id in ids:
        kinds = [type(e) for e in events if getattr(e, "map_id", None) == map_id]
        assert kinds.index(FinishedMap) < kinds.index(MapScores)
        assert PartialMap not in kinds[kinds.index(FinishedMap) :]


def test_started_comes_before_any_device_work(served: tuple[Engine, RecordingGraph]) -> None:
    engine, graph = served
    answer = engine.explain(order(), Control())
    assert isinstance(next(answer), Started)
    assert graph.calls == []
    answer.close()


def test_progress_counts_rows_really_completed_and_never_decreases(
    served: tuple[Engine, RecordingGraph],
) -> None:
    engine, graph = served
    events = explained(engine, order(methods=ALL[1:3], scores=(ScoreKind.AVERAGE_DROP,)))
    done = [event.rows_done for event in events if isinstance(event, Progress)]
    assert done == sorted(done)
    finished = events[-1]
    assert isinstance(finished, Finished)
    assert finished.rows == done[-1] == graph.rows() + 1  # and the clean run


def test_score_cam_equals_its_oracle(served: tuple[Engine, RecordingGraph]) -> None:
    network, image = networks.residual_net(), torch.from_numpy(picture())
    features = features_of(network, image)["layer3"]
    with torch.no_grad():
        expected = score_cam(network, image, features, lambda y: y[3], torch.zeros_like(image))
    asked = order(methods=[MethodCall("score-cam", taps=("layer3",))], targets=(_class(3),))
    (actual,) = maps_of(explained(served[0], asked))
    np.testing.assert_allclose(unit_range(actual), unit_range(expected.numpy()), atol=1e-4)


def test_poly_cam_equals_its_oracle(served: tuple[Engine, RecordingGraph]) -> None:
    network, image = networks.residual_net(), torch.from_numpy(picture())
    features = features_of(network, image)
    asked = order(methods=[MethodCall("poly-cam")], targets=(_class(3),))
    events = explained(served[0], asked)
    taps = next(e for e in events if isinstance(e, FinishedMap)).provenance.taps
    with torch.no_grad():
        layers = [features[tap] for tap in taps]
        expected = poly_cam(
            network, image, layers, lambda y: y.softmax(0)[3], torch.zeros_like(image), "plus-minus"
        )[-1]
    (actual,) = maps_of(events)
    np.testing.assert_allclose(unit_range(actual), unit_range(expected.numpy()), atol=1e-4)


def test_every_layer_of_poly_cam_is_streamed_coarse_to_fine(
    served: tuple[Engine, RecordingGraph],
) -> None:
    events = explained(served[0], order(methods=[MethodCall("poly-cam")]))
    sizes = [event.map.shape[0] for event in events if isinstance(event, PartialMap)]
    assert sizes == sorted(sizes)
    assert set(sizes) == {4, 8, 16, 32}


def test_the_same_request_gives_the_same_bits_alone_and_beside_eight_others(
    served: tuple[Engine, RecordingGraph],
) -> None:
    engine, graph = served
    asked = order(methods=ALL, scores=tuple(ScoreKind))
    alone = explained(engine, asked)
    graph.calls.clear()
    crowd: list[list[Event]] = [[] for _ in range(9)]
    orders = [asked, *(order(seed, methods=ALL) for seed in range(1, 9))]
    threads = [
        threading.Thread(target=lambda i=i: crowd[i].extend(explained(engine, orders[i])))
        for i in range(9)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for lone, beside in zip(maps_of(alone), maps_of(crowd[0]), strict=True):
        assert lone.tobytes() == beside.tobytes()
    lone_scores = [event for event in alone if isinstance(event, MapScores)]
    assert lone_scores == [event for event in crowd[0] if isinstance(event, MapScores)]
    assert any(len({image for image, _ in call}) > 1 for call in graph.calls), (
        "no session call held rows of two requests"
    )


def test_cancelling_stops_device_work_within_one_batch_and_neighbours_are_unharmed(
    served: tuple[Engine, RecordingGraph],
) -> None:
    engine, graph = served
    alone = maps_of(explained(engine, order(1)))
    graph.calls.clear()
    control, neighbour = Control(), []
    answer = engine.explain(order(methods=[MethodCall("is-cam", {"steps": 20})]), control)
    beside = threading.Thread(target=lambda: neighbour.extend(explained(engine, order(1))))
    next(answer)
    beside.start()
    for event in answer:
        if isinstance(event, Progress):
            break
    control.cancel()
    rows_before = graph.rows()
    with pytest.raises(Cancelled):
        list(answer)
    beside.join()
    neighbours = alone[0].size and 24  # the neighbour's own rows: one a channel of layer3
    assert graph.rows() - rows_before <= engine.models()[0].batch_size + neighbours
    np.testing.assert_array_equal(maps_of(neighbour)[0], alone[0])


def test_what_is_late_already_is_not_even_decoded(served: tuple[Engine, RecordingGraph]) -> None:
    engine, _ = served
    damaged = order(image=EncodedImage(b"damaged"))
    with pytest.raises(DeadlineExceeded):
        list(engine.explain(damaged, Control(time.monotonic())))


def test_a_deadline_stops_device_work_within_one_batch(
    served: tuple[Engine, RecordingGraph],
) -> None:
    engine, graph = served
    steps = range(40, 100)  # No two ask the same rows, which would run once.
    long = order(methods=[MethodCall("is-cam", {"steps": each}) for each in steps])
    deadline = time.monotonic() + 0.1
    with pytest.raises(DeadlineExceeded):
        list(engine.explain(long, Control(deadline)))
    explained(engine, order(1))  # by now the rows of the first have run, or never will
    late = [began for began in graph.began if began > deadline]
    assert graph.rows() < 24 * sum(steps) / 2
    assert len(late) <= 1 + 24 / engine.models()[0].batch_size  # one batch, and all of the second


@pytest.mark.parametrize("priority", Priority)
def test_rows_and_calls_of_a_request_weigh_what_its_priority_says(
    served: tuple[Engine, RecordingGraph], monkeypatch: pytest.MonkeyPatch, priority: Priority
) -> None:
    weights = _weights(monkeypatch)
    explained(served[0], order(methods=ALL[1:2], priority=priority))
    assert set(weights) == {priority.value}
    assert len(weights) > 1  # The clean run, and rows.


def test_a_prediction_has_the_priority_that_explanations_have_by_default(
    served: tuple[Engine, RecordingGraph], monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = _weights(monkeypatch)
    served[0].infer(InferOrder("softmax", picture()[None]), Control())
    assert weights == [order().priority.value]


def _weights(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Of all that is queued from now on."""
    weights, queue = list[int](), Scheduler._queue

    def heard(self: Scheduler, ticket: Ticket) -> Ticket:
        weights.append(ticket.account.weight)
        return queue(self, ticket)

    monkeypatch.setattr(Scheduler, "_queue", heard)
    return weights


def test_closing_the_answer_frees_its_place(tiny_bundle: Bundle) -> None:
    engine, _ = engine_of(tiny_bundle, max_explanations=1)
    first = engine.explain(order(), Control())
    next(first)
    with pytest.raises(Overloaded, match="1 explanations are running"):
        explained(engine, order())
    first.close()
    assert maps_of(explained(engine, order()))
    engine.close()


def test_maps_of_two_classes_differ(served: tuple[Engine, RecordingGraph]) -> None:
    asked = order(methods=ALL[1:], targets=(_class(2), _class(7)))
    maps = [unit_range(m) for m in maps_of(explained(served[0], asked))]
    for first, second in zip(maps[::2], maps[1::2], strict=True):
        assert np.abs(first - second).max() > 1e-3


def test_targets_of_absence_and_difference_are_explained_and_scored(
    served: tuple[Engine, RecordingGraph],
) -> None:
    targets = (AbsentTarget(ClassRef(1)), DifferenceTarget(ClassRef(0), ClassRef(1)))
    events = explained(served[0], order(methods=ALL[1:], targets=targets, scores=tuple(ScoreKind)))
    scores = [event for event in events if isinstance(event, MapScores)]
    assert len(scores) == 6
    clean = next(event for event in events if isinstance(event, Prediction)).targets
    for score in scores:
        assert score.clean_probability == pytest.approx(clean[score.map_id % 2].probability)
        assert 0 <= score.scores[ScoreKind.AVERAGE_GAIN] <= 100


def test_a_flat_map_is_zeros_and_flagged_never_nan(
    served: tuple[Engine, RecordingGraph],
) -> None:
    black = PreparedImage(np.zeros((3, 32, 32), np.float32))
    asked = order(methods=ALL[1:], image=black, scores=tuple(ScoreKind), format=MapFormat())
    for event in explained(served[0], asked):
        if isinstance(event, FinishedMap):
            values = np.frombuffer(event.encoded.data, np.float32)
            assert np.isfinite(values).all()
            assert (MapFlag.DEGENERATE in event.flags) == (not values.any())


def test_fake_cam_says_that_it_is_class_agnostic(served: tuple[Engine, RecordingGraph]) -> None:
    events = explained(served[0], order(methods=ALL[:1]))
    (made,) = [event for event in events if isinstance(event, FinishedMap)]
    assert MapFlag.CLASS_AGNOSTIC in made.flags


def test_provenance_states_the_batch_shape_and_the_gradient_side(
    served: tuple[Engine, RecordingGraph],
) -> None:
    events = explained(served[0], order(methods=ALL[1:]))
    score, poly, opti = (e.provenance for e in events if isinstance(e, FinishedMap))
    assert {(use.batch_size, use.map_height) for use in score.graphs} == {(1, 0), (4, 4)}
    assert {use.map_height for use in poly.graphs} == {0, 4, 8, 16, 32}
    assert score.gradient_side is GradientSide.NONE
    assert opti.gradient_side is GradientSide.ONNX
    assert score.bundle_digest == served[0].models()[0].digest


def test_a_score_may_have_another_fill_than_the_map(
    served: tuple[Engine, RecordingGraph],
) -> None:
    own = explained(served[0], order(scores=(ScoreKind.AVERAGE_DROP,)))
    cross = explained(served[0], order(scores=(ScoreKind.AVERAGE_DROP,), score_fill=BlackFill()))
    np.testing.assert_array_equal(maps_of(own)[0], maps_of(cross)[0])
    probabilities = [
        event.masked_probability for event in own + cross if isinstance(event, MapScores)
    ]
    assert probabilities[0] != probabilities[1]


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"model": "nobody"}, NotFound, "no model 'nobody'"),
        ({"version": "9"}, NotFound, "no version '9'"),
        ({"methods": ()}, InvalidRequest, "0 methods"),
        ({"methods": (MethodCall("no-cam"),)}, InvalidRequest, "no method 'no-cam'"),
        ({"methods": (MethodCall("score-cam", {"x": 1}),)}, InvalidRequest, "score-cam|'x'"),
        ({"methods": (MethodCall("score-cam", taps=("x",)),)}, InvalidRequest, "unknown tap 'x'"),
        ({"targets": (PresentTarget(ClassRef(10)),)}, InvalidRequest, "10"),
        ({"targets": (PresentTarget(ClassRef("unicorn")),)}, InvalidRequest, "unicorn"),
        ({"targets": (TopKTargets(33),)}, InvalidRequest, "33"),
    ],
)
def test_a_wrong_order_is_refused_before_any_device_work(
    served: tuple[Engine, RecordingGraph],
    change: dict[str, object],
    error: type[SalienceError],
    words: str,
) -> None:
    engine, graph = served
    with pytest.raises(error, match=words):
        explained(engine, replace(order(), **change))  # type: ignore[arg-type]
    assert graph.calls == []


@pytest.mark.parametrize("kind", ["sigmoid", "binary", "grey", "vgg", "smooth"])
def test_every_head_is_explained_and_scored_with_its_own_probability(
    bundle_of: BundleOf, kind: str
) -> None:
    engine, _ = engine_of(bundle_of(kind))
    channels = engine.models()[0].manifest.input.channels
    image = picture(channels=channels)
    asked = replace(
        order(methods=ALL, scores=tuple(ScoreKind)), model=kind, image=PreparedImage(image)
    )
    events = explained(engine, asked)
    engine.close()
    logits = engine.models()[0].forward(image, (), Execution()).logits.astype(np.float64)
    best = int(logits.argmax())
    softmax = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    sigmoid = 1 / (1 + np.exp(-logits))
    expected = (sigmoid if kind in ("sigmoid", "binary") else softmax)[best]
    scores = [event for event in events if isinstance(event, MapScores)]
    assert len(scores) == len(ALL)
    for score in scores:
        assert score.clean_probability == pytest.approx(expected, rel=1e-6)


def test_a_regression_is_explained_but_not_scored(bundle_of: BundleOf) -> None:
    engine, _ = engine_of(bundle_of("regression"))
    asked = replace(order(methods=ALL), model="regression")
    assert len(maps_of(explained(engine, asked))) == len(ALL)
    with pytest.raises(InvalidRequest, match="regression"):
        explained(engine, replace(asked, scores=(ScoreKind.AVERAGE_DROP,)))
    engine.close()


def test_a_bundle_without_a_torch_program_says_how_to_get_gradients(tmp_path: Path) -> None:
    write_tiny_bundle(tmp_path)
    engine, _ = engine_of(open_bundle(tmp_path))
    asked = ExplainOrder(
        "tiny", PreparedImage(np.zeros((3, 8, 8), np.float32)), (MethodCall("opti-cam"),)
    )
    with pytest.raises(NotPossible, match="export it from a torch module"):
        explained(engine, asked)
    engine.close()


def test_a_model_whose_golden_example_drifts_never_serves(tmp_path: Path) -> None:
    write_tiny_bundle(tmp_path / "tiny" / "1")  # its golden numbers are not its network's
    with pytest.raises(BundleRefused, match="drifts from its golden example") as refused:
        Engine.open(tmp_path, ServeConfig(batch_size=2, threads=1, bundles=UNSIGNED_ALLOWED))
    assert str(tmp_path) not in str(refused.value)


def test_a_drifting_model_does_not_hide_its_neighbours(tmp_path: Path, tiny_bundle: Bundle) -> None:
    write_tiny_bundle(tmp_path / "tiny" / "1")
    shutil.copytree(tiny_bundle.directory, tmp_path / "softmax" / "1")
    engine = Engine.open(tmp_path, ServeConfig(batch_size=2, threads=1, bundles=UNSIGNED_ALLOWED))
    assert [model.name for model in engine.models()] == ["softmax"]
    engine.close()


def _class(index: int) -> PresentTarget:
    return PresentTarget(ClassRef(index))
