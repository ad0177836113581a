"""What a witness is told of explanations: the order, the events, and what it came to."""

import time
from collections.abc import Iterator

import grpc
import pytest

from salience_service.control import Control
from salience_service.errors import ComputeFailed, InvalidRequest, Unavailable
from salience_service.events import Event, Finished, Progress
from salience_service.request import ExplainOrder
from salience_service.rpc import answer
from salience_service.rpc.calls.observation import AHEAD_SECONDS, Observation
from salience_service.telemetry.opening import Telemetry
from salience_service.telemetry.records import Arrival, ExplanationRecord
from salience_service.telemetry.witness import UNWATCHED, Watch, Witness, Witnesses
from tests.support.serving import (
    STARTED,
    FakeEngine,
    calling,
    finished_map,
    patient,
    plain,
    request,
    serving,
)
from tests.support.witnesses import Recorder, RecordingWatch, Strict

ARRIVAL = Arrival("r-1", "ward-7", 0.0)


def observed(
    engine: FakeEngine, model: str = "tiny", control: Control | None = None
) -> RecordingWatch:
    """What a watch heard of one explanation; the error it ended with is swallowed."""
    watch = RecordingWatch()
    observation = Observation(ARRIVAL, watch)
    try:
        list(answer.explain(engine, request(model), control or Control(), observation))
    except Exception as error:
        watch.raised = error
    return watch


def test_an_answered_explanation_is_recorded_with_all_that_it_was() -> None:
    (record,) = observed(FakeEngine()).records
    assert (record.request_id, record.principal) == ("r-1", "ward-7")
    assert (record.outcome, record.code) == ("ok", 0)
    assert (record.model, record.version, record.bundle_digest) == ("tiny", "1", "d" * 64)
    assert record.methods == ("score-cam",)
    assert [told.method for told in record.provenances] == ["score-cam"]
    assert (record.rows, record.queue_seconds, record.compute_seconds) == (5, 0.1, 0.2)
    assert record.whole_seconds > 0


def test_a_watch_hears_the_order_first_then_every_event_before_the_end() -> None:
    heard = observed(FakeEngine()).heard
    kinds = ["ExplainOrder", "Started", "Progress", "FinishedMap", "Finished"]
    assert heard == [*kinds, "finishing", "ended"]


def test_what_was_refused_before_it_started_names_no_model_and_no_method() -> None:
    (record,) = observed(FakeEngine(), "absent").records
    assert (record.outcome, record.code) == ("NotFound", 5)
    assert (record.model, record.methods) == ("", ())


def test_a_failure_of_the_server_itself_has_one_name() -> None:
    def breaks(order: ExplainOrder, control: Control) -> Iterator[Event]:
        yield STARTED
        raise ZeroDivisionError

    (record,) = observed(FakeEngine({"tiny": breaks})).records
    assert (record.outcome, record.code) == ("Unexpected", 13)


def test_rows_that_were_still_to_come_are_told_of_what_failed_on_the_way() -> None:
    def breaks(order: ExplainOrder, control: Control) -> Iterator[Event]:
        yield STARTED
        yield Progress(0, "score-cam", 30, 100)
        raise ComputeFailed("the model failed on the device")

    (record,) = observed(FakeEngine({"tiny": breaks})).records
    assert (record.outcome, record.rows, record.rows_left) == ("ComputeFailed", 30, 70)


def test_a_reader_who_leaves_is_recorded_as_cancelled_and_once() -> None:
    watch = RecordingWatch()
    observation = Observation(ARRIVAL, watch)
    answers = answer.explain(FakeEngine(), request(), Control(), observation)
    next(answers)
    answers.close()
    assert [(record.outcome, record.code) for record in watch.records] == [("Cancelled", 1)]


@pytest.mark.parametrize(
    ("left", "outcome"),
    [(0.0, "DeadlineExceeded"), (0.5 * AHEAD_SECONDS, "DeadlineExceeded"), (30.0, "Cancelled")],
)
def test_a_reader_who_leaves_at_the_deadline_or_just_before_is_recorded_as_late(
    left: float, outcome: str
) -> None:
    watch, control = RecordingWatch(), Control(time.monotonic() + 60)
    answers = answer.explain(FakeEngine(), request(), control, Observation(ARRIVAL, watch))
    next(answers)
    control.deadline = time.monotonic() + left
    answers.close()
    assert [record.outcome for record in watch.records] == [outcome]


def test_a_reader_who_leaves_at_the_last_message_was_answered() -> None:
    watch = RecordingWatch()
    answers = answer.explain(FakeEngine(), request(), Control(), Observation(ARRIVAL, watch))
    for message in answers:
        if message.HasField("finished"):
            break
    answers.close()
    assert [record.outcome for record in watch.records] == ["ok"]


def test_a_watch_that_does_not_let_the_end_go_out_ends_the_answer_with_its_error() -> None:
    watch = Strict(Unavailable("the audit cannot be written; send again later"))
    with pytest.raises(Unavailable):
        list(answer.explain(FakeEngine(), request(), Control(), Observation(ARRIVAL, watch)))
    assert [record.outcome for record in watch.records] == ["Unavailable"]


def test_an_answer_from_the_cache_ran_nothing() -> None:
    def kept(order: ExplainOrder, control: Control) -> Iterator[Event]:
        yield STARTED
        yield finished_map()
        yield Finished(5, 0.1, 0.2, 0.3, (0.2,), (4,), from_cache=True)

    (record,) = observed(FakeEngine({"tiny": kept})).records
    assert record.from_cache
    assert (record.rows, record.compute_seconds) == (0, 0)


def test_every_explanation_of_a_server_is_witnessed_with_the_callers_id() -> None:
    recorder = Recorder()
    with (
        serving(FakeEngine(), Telemetry((recorder,))) as server,
        calling(server) as stub,
    ):
        list(stub.Explain(request(), metadata=(("x-request-id", "mine-1"),)))
    (record,) = recorder.records
    assert (record.request_id, record.principal, record.outcome) == ("mine-1", "anonymous", "ok")


def test_a_caller_refused_for_want_of_room_is_witnessed_as_refused() -> None:
    recorder = Recorder()
    engine = FakeEngine({"tiny": plain, "slow": patient})
    with (
        serving(engine, Telemetry((recorder,)), max_explanations=1) as server,
        calling(server) as stub,
    ):
        running = stub.Explain(request("slow"))
        next(running)
        with pytest.raises(grpc.RpcError) as refused:
            list(stub.Explain(request()))
        running.cancel()
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert [refusal.reason for refusal in recorder.refusals] == ["Overloaded"]


def test_bytes_that_are_no_message_are_witnessed_as_refused() -> None:
    recorder = Recorder()
    with (
        serving(FakeEngine(), Telemetry((recorder,))) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        call = channel.unary_stream("/salience.v1.ExplanationService/Explain")
        with pytest.raises(grpc.RpcError):
            list(call(b"\xff\xff\xff"))
    assert [refusal.reason for refusal in recorder.refusals] == [InvalidRequest.__name__]


def test_witnesses_of_which_none_wants_to_watch_cost_no_watch() -> None:
    assert Witnesses((Witness(), Witness())).began(ARRIVAL) is UNWATCHED


def test_a_watch_of_several_tells_each_in_their_order() -> None:
    told: list[str] = []

    class Named(Watch):
        def __init__(self, name: str) -> None:
            self._name = name

        def ended(self, record: ExplanationRecord) -> None:
            told.append(self._name)

    class Makes(Witness):
        def __init__(self, name: str) -> None:
            self._name = name

        def began(self, arrival: Arrival) -> Watch:
            return Named(self._name)

    watch = Witnesses((Makes("first"), Witness(), Makes("second"))).began(ARRIVAL)
    watch.ended(ExplanationRecord("", "", "ok", 0, 0.0))
    assert told == ["first", "second"]
