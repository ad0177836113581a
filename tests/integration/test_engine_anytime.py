"""Maps that end early: which rows they are made of, that they repeat, and what stays whole."""

import threading
import time
from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from salience_client import Client, InvalidRequest, Method, Preprocessed, SaliencyMap, StopWhen
from salience_client import PartialMap as ClientPartialMap
from salience_client import Progress as ClientProgress
from salience_client.explanation import Explanation
from salience_client.in_process import InProcess
from salience_service.bundle.reader import Bundle
from salience_service.engine import Engine
from salience_service.explanation.early_end import looks
from salience_service.explanation.telling import Pace
from salience_service.image.pixels import ImageLimits
from salience_service.interpolation import upsample
from salience_service.models.model import ServedModel
from salience_service.runtime.session import Device, Execution
from salience_service.scheduling.row_graph import RowSpan
from tests.support.engines import client_over
from tests.support.serving import serving

MASKS = 400
RISE = Method("rise", masks=MASKS, probability=0.5, cells=4)
EARLY = StopWhen(correlation=0.5)
"""Low enough that a map of random masks gets there before its last row."""


@pytest.fixture(scope="module")
def client(tiny_bundle: Bundle) -> Iterator[Client]:
    with client_over(tiny_bundle) as made:
        yield made


def picture(seed: int = 5) -> Preprocessed:
    noise = np.random.default_rng(seed).normal(size=(3, 8, 8)).astype(np.float32)
    return Preprocessed(upsample(noise, 32, 32))


def explained(client: Client, methods: object = RISE, **asked: object) -> Explanation:
    asked = {"model": "softmax", "scale": "raw", "geometry": "feature", **asked}
    return client.explain(picture(), methods=methods, **asked)


def made_of(map_: SaliencyMap, rows: int = MASKS) -> int:
    """Rows that a map is made of."""
    assert map_.convergence is not None
    return rows - map_.convergence.rows_skipped


def test_a_rise_that_ends_early_is_rise_with_fewer_masks(client: Client) -> None:
    (early,) = explained(client, stop_when=EARLY).maps
    rows = made_of(early)
    assert rows in looks(MASKS)
    fewer = Method("rise", **{**RISE.options, "masks": rows})
    (plain,) = explained(client, fewer).maps
    np.testing.assert_array_equal(early.array, plain.array)
    assert early.convergence is not None
    assert 0.5 <= early.convergence.correlation < 1
    assert early.convergence.repeatable
    assert early.flags == plain.flags


def test_the_order_of_promise_leaves_no_trace_in_a_finished_map(client: Client) -> None:
    (promising,) = explained(client, "score-cam").maps
    (as_they_come,) = explained(client, Method("is-cam", steps=1)).maps  # The same rows.
    np.testing.assert_array_equal(promising.array, as_they_come.array)


def test_rows_that_wait_when_a_map_ends_never_run(client: Client) -> None:
    explanation = explained(client, stop_when=EARLY)
    made = made_of(explanation.maps[0])
    in_flight = 2 * 4 * 4  # Two parts of four batches of four rows.
    assert made < explanation.finished.rows <= 1 + made + MASKS // 16 + in_flight


def test_progress_ends_at_what_is_then_expected(client: Client) -> None:
    events = client.stream(picture(), model="softmax", methods=[RISE, "eigen-cam"], stop_when=EARLY)
    told = [event for event in events if isinstance(event, ClientProgress)]
    assert told[0].rows_expected == 1 + MASKS
    assert told[-1].rows_done == told[-1].rows_expected < 1 + MASKS


def test_maps_in_the_making_tell_how_near_they_are(client: Client) -> None:
    events = list(client.stream(picture(), model="softmax", methods=[RISE, "poly-cam"]))
    partials = [event for event in events if isinstance(event, ClientPartialMap)]
    rise, other = ([each for each in partials if each.map_id == number] for number in (0, 1))
    assert other
    assert {each.correlation for each in other} == {None}
    assert all(each.correlation is not None and 0 <= each.correlation < 1 for each in rise)
    assert len({each.correlation for each in rise}) > 10


def test_what_is_not_asked_to_end_early_does_not_and_tells_no_convergence(client: Client) -> None:
    (whole,) = explained(client).maps
    assert whole.convergence is None


def test_a_map_that_never_comes_so_near_is_whole(client: Client) -> None:
    (whole,), (plain,) = (
        explained(client, stop_when=StopWhen(correlation=0.999999)).maps,
        explained(client).maps,
    )
    np.testing.assert_array_equal(whole.array, plain.array)
    assert whole.convergence is not None
    assert (whole.convergence.rows_skipped, whole.convergence.correlation) == (0, 1.0)


@pytest.mark.parametrize("method", [RISE, Method("score-cam", weights="raw")])
def test_the_same_request_ends_at_the_same_row_beside_others_and_at_any_pace(
    client: Client, tiny_bundle: Bundle, method: Method
) -> None:
    (alone,) = explained(client, method, stop_when=EARLY).maps
    crowd = [threading.Thread(target=explained, args=(client,)) for _ in range(4)]
    for thread in crowd:
        thread.start()
    (beside,) = explained(client, method, stop_when=EARLY).maps
    for thread in crowd:
        thread.join()
    with slow_client(tiny_bundle, 0.0, Pace(60, 60)) as (calm, _):
        (quiet,) = explained(calm, method, stop_when=EARLY, partial_maps=False).maps
    with slow_client(tiny_bundle, 0.0, Pace(0, 0)) as (eager, _):
        (drawn,) = explained(eager, method, stop_when=EARLY, partial_maps=True).maps
    for other in (beside, quiet, drawn):
        np.testing.assert_array_equal(other.array, alone.array)
        assert other.convergence == alone.convergence


@pytest.mark.parametrize("method", [RISE, Method("score-cam", weights="raw")])
def test_several_targets_end_together_where_the_last_of_them_has_enough(
    client: Client, method: Method
) -> None:
    rows = MASKS if method is RISE else 24
    targets = [3, 7, "not:class 1"]
    together = explained(client, method, targets=targets, stop_when=EARLY).maps
    alone = [explained(client, method, targets=t, stop_when=EARLY).maps[0] for t in targets]
    assert len({made_of(map_, rows) for map_ in together}) == 1
    assert made_of(together[0], rows) >= max(made_of(map_, rows) for map_ in alone)
    for map_, lone in zip(together, alone, strict=True):
        if made_of(lone, rows) == made_of(map_, rows):
            np.testing.assert_array_equal(map_.array, lone.array)


def test_a_map_tells_what_let_it_end_where_its_method_may(client: Client) -> None:
    methods = [RISE, "ablation-cam"]
    rise, ablation = explained(client, methods, stop_when=EARLY).maps
    assert (rise.provenance.stop_when, ablation.provenance.stop_when) == (EARLY, None)
    (later,) = explained(client, stop_when=StopWhen(correlation=0.6)).maps
    assert rise.provenance != later.provenance
    (plain,) = explained(client).maps
    assert plain.provenance.stop_when is None


def test_a_second_method_on_rows_that_are_known_ends_where_it_would_alone(client: Client) -> None:
    raw = Method("score-cam", weights="raw")
    stop = StopWhen(correlation=0.3)
    _, second = explained(client, ["score-cam", raw], stop_when=stop).maps
    (alone,) = explained(client, raw, stop_when=stop).maps
    np.testing.assert_array_equal(second.array, alone.array)
    assert second.convergence == alone.convergence


def test_scores_are_never_cut(client: Client) -> None:
    asked = {"scores": ["ag", "insertion"], "stop_when": EARLY}
    (early,) = explained(client, **asked).maps
    assert made_of(early) < MASKS
    assert early.scores is not None
    assert len(early.scores.curves["insertion"].shares) == 33  # A step for each row of pixels.


def test_methods_that_need_all_their_rows_run_them_beside_one_that_ends(client: Client) -> None:
    early, whole = explained(client, [RISE, "ablation-cam"], stop_when=EARLY).maps
    (plain,) = explained(client, "ablation-cam").maps
    assert made_of(early) < MASKS
    assert whole.convergence is None
    np.testing.assert_array_equal(whole.array, plain.array)


@pytest.mark.parametrize("methods", ["ablation-cam", Method("score-cam", weights="cic")])
def test_an_end_that_no_method_can_honour_is_refused(client: Client, methods: object) -> None:
    with pytest.raises(InvalidRequest, match=r"none of these is one.*score-cam, rise"):
        explained(client, methods, stop_when=EARLY)


class SlowGraph:
    """The real pixel_masked graph, on a device that takes its time for every batch."""

    def __init__(self, model: ServedModel, seconds: float) -> None:
        assert model.pixel_masked is not None
        self._graph, self._seconds = model.pixel_masked, seconds
        self.rows = 0

    def __getattr__(self, name: str) -> object:
        return getattr(self._graph, name)

    def score(self, spans: Sequence[RowSpan], execution: Execution) -> np.ndarray:
        time.sleep(self._seconds)
        self.rows += sum(map(len, spans))
        return self._graph.score(spans, execution)


class slow_client:  # noqa: N801
    """A client over an engine whose batches take that long, and the graph that counts them."""

    def __init__(self, bundle: Bundle, seconds: float, pace: Pace) -> None:
        model = ServedModel(bundle, Device(threads=1), batch_size=4)
        self.graph = SlowGraph(model, seconds)
        model.pixel_masked = self.graph  # type: ignore[assignment]
        self.engine = Engine([model], ImageLimits(), pace, 64)

    def __enter__(self) -> tuple[Client, SlowGraph]:
        return Client(InProcess(self.engine)), self.graph

    def __exit__(self, *_: object) -> None:
        self.engine.close()


def test_time_ends_a_map_where_it_is_and_the_map_says_that_it_does_not_repeat(
    tiny_bundle: Bundle,
) -> None:
    with slow_client(tiny_bundle, 0.02, Pace()) as (client, graph):
        (early,) = explained(client, stop_when=StopWhen(seconds=0.3)).maps
        rows = made_of(early)
        assert early.convergence is not None
        assert not early.convergence.repeatable
        assert 0 < rows < MASKS
        assert graph.rows <= rows + 2 * 4 * 4
        fewer = Method("rise", **{**RISE.options, "masks": rows})
        np.testing.assert_array_equal(explained(client, fewer).maps[0].array, early.array)


def test_over_the_wire_an_end_is_asked_for_and_told(tiny_bundle: Bundle) -> None:
    model = ServedModel(tiny_bundle, Device(threads=1), batch_size=4)
    engine = Engine([model], ImageLimits(), Pace(0, 0), 64)
    with serving(engine) as server, Client(server.address) as client:
        (early,) = explained(client, stop_when=EARLY, priority="interactive").maps
        told = {method.name: method.anytime for method in client.describe("softmax").methods}
    engine.close()
    assert early.convergence is not None
    assert early.convergence.rows_skipped > 0
    assert [name for name, anytime in told.items() if anytime] == ["score-cam", "rise"]
