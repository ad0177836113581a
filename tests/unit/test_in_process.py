"""The service without a network: the same messages, our own errors, work that stops."""

import pytest

from salience.v1 import explanation_service_pb2 as pb
from salience_service.errors import DeadlineExceeded, InvalidRequest, NotFound
from salience_service.rpc.in_process import InProcessTransport
from tests.support.serving import FakeEngine, patient, request


def test_an_answer_has_the_messages_of_the_wire_in_their_order() -> None:
    answers = InProcessTransport(FakeEngine()).explain(request())
    assert [each.WhichOneof("event") for each in answers] == [
        "started",
        "progress",
        "map",
        "finished",
    ]


def test_closing_the_answer_stops_the_work() -> None:
    engine = FakeEngine({"tiny": patient})
    answers = InProcessTransport(engine).explain(request())
    next(answers)
    answers.close()
    assert engine.ended.acquire(blocking=False)
    assert engine.controls[0].dead


def test_a_timeout_ends_the_answer() -> None:
    engine = FakeEngine({"tiny": patient})
    with pytest.raises(DeadlineExceeded):
        list(InProcessTransport(engine).explain(request(), timeout=0.1))
    assert engine.ended.acquire(blocking=False)


def test_a_refusal_is_an_error_of_ours_before_any_message() -> None:
    transport = InProcessTransport(FakeEngine())
    with pytest.raises(NotFound, match=r"no model .* here: ListModels tells"):
        next(transport.explain(request("resnet")))
    with pytest.raises(InvalidRequest, match="model's name is empty"):
        next(transport.explain(pb.ExplainRequest()))


def test_models_are_listed_and_described() -> None:
    transport = InProcessTransport(FakeEngine())
    (summary,) = transport.list_models().models
    assert summary.is_default
    told = transport.describe_model(pb.DescribeModelRequest(model=summary.name))
    assert told.summary == summary
    with pytest.raises(NotFound):
        transport.describe_model(pb.DescribeModelRequest(model="tiny", version="9"))
