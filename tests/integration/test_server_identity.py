"""Who gets what: models and methods by the caller, ids by the request, words for the witness."""

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest

from salience.v1 import explanation_service_pb2 as pb
from salience.v1 import explanation_service_pb2_grpc as pb_grpc
from salience_service.explanation.plan import MOST_METHODS
from salience_service.life.farewell import draining
from salience_service.rpc.calls.caller import current_caller, request_id
from salience_service.rpc.server.server import Server
from salience_service.telemetry.opening import Telemetry
from salience_service.telemetry.records import Refusal
from salience_service.telemetry.witness import Witness
from tests.support.every_rpc import Metadata, call
from tests.support.identity import token_file
from tests.support.principals import Place, access
from tests.support.serving import FakeEngine, held, plain, request, serving
from tests.support.waiting import SOON_SECONDS

UNAUTHENTICATED = grpc.StatusCode.UNAUTHENTICATED
DENIED = grpc.StatusCode.PERMISSION_DENIED
NOT_FOUND = grpc.StatusCode.NOT_FOUND
GARBAGE = b"\xff" * 64
"""No message of any call: whoever decoded it would answer with INVALID_ARGUMENT."""


@pytest.fixture
def stub(place: Place) -> Iterator[pb_grpc.ExplanationServiceStub]:
    with place.channels() as channels:
        yield pb_grpc.ExplanationServiceStub(channels[0])


def test_listing_tells_only_the_models_that_the_caller_knows_of(
    place: Place, stub: pb_grpc.ExplanationServiceStub
) -> None:
    told = stub.ListModels(pb.ListModelsRequest(), metadata=place.shows("lungs")).models
    assert [model.name for model in told] == ["lung-1", "lung-2"]
    every = stub.ListModels(pb.ListModelsRequest(), metadata=place.shows("all")).models
    assert [model.name for model in every] == ["lung-1", "lung-2", "retina"]


@pytest.mark.parametrize("rpc", ["Explain", "DescribeModel", "ExplainMany"])
def test_a_hidden_model_and_one_that_is_not_there_are_refused_in_the_same_words(
    place: Place, stub: pb_grpc.ExplanationServiceStub, rpc: str
) -> None:
    """Whatever else is in the request, right or wrong, known to the caller or not."""
    shown, told = place.shows("lungs"), set()
    for name in ("retina", "absent", "lung-9"):
        for wrong in ({}, {"methods": []}, {"methods": [{"name": "rise"}]}):
            if name == "lung-9" and wrong:
                continue  # A name it may know of: that nothing bears it may come second.
            code, text = _refusal(stub, rpc, name, shown, wrong)
            told.add((code, text.replace(name, "NAME")))
    assert len(told) == 1
    code, text = told.pop()
    assert code == NOT_FOUND.value[0]
    assert "retina" not in text
    assert "lung" not in text


def _refusal(
    stub: pb_grpc.ExplanationServiceStub,
    rpc: str,
    name: str,
    shown: Metadata,
    fields: dict[str, object],
) -> tuple[int, str]:
    message = request(name, **fields)
    if rpc == "ExplainMany":
        many = [pb.ExplainManyRequest(tag="t", request=message)]
        (answer,) = stub.ExplainMany(iter(many), metadata=shown)
        return answer.error.code, answer.error.message
    calls = {
        "Explain": lambda: list(stub.Explain(message, metadata=shown)),
        "DescribeModel": lambda: stub.DescribeModel(
            pb.DescribeModelRequest(model=name), metadata=shown
        ),
    }
    with pytest.raises(grpc.RpcError) as told:
        calls[rpc]()
    return told.value.code().value[0], told.value.details()


def test_of_more_methods_than_may_be_none_is_looked_at_one_by_one(
    place: Place, stub: pb_grpc.ExplanationServiceStub
) -> None:
    methods = [{"name": "score-cam"}] * MOST_METHODS + [{"name": "opti-cam"}]
    with pytest.raises(grpc.RpcError) as refused:
        list(stub.Explain(request("lung-1", methods=methods), metadata=place.shows("lungs")))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_a_method_that_the_caller_may_not_ask_for_is_denied_before_any_work(
    place: Place, stub: pb_grpc.ExplanationServiceStub
) -> None:
    before = len(place.engine.controls)
    asked = request("lung-1", methods=[{"name": "score-cam"}, {"name": "rise"}])
    with pytest.raises(grpc.RpcError) as told:
        list(stub.Explain(asked, metadata=place.shows("lungs")))
    assert told.value.code() is DENIED
    assert "'rise'" in told.value.details()
    assert len(place.engine.controls) == before
    assert list(stub.Explain(request("lung-1"), metadata=place.shows("lungs")))


def test_of_many_requests_each_is_permitted_or_denied_by_itself(
    place: Place, stub: pb_grpc.ExplanationServiceStub
) -> None:
    many = [
        pb.ExplainManyRequest(tag=tag, request=message)
        for tag, message in {
            "good": request("lung-1"),
            "hidden": request("retina"),
            "method": request("lung-2", methods=[{"name": "rise"}]),
            "also good": request("lung-2"),
        }.items()
    ]
    answers = list(stub.ExplainMany(iter(many), metadata=place.shows("lungs")))
    codes = {answer.tag: answer.error.code for answer in answers}
    assert codes == {
        "good": 0,
        "hidden": NOT_FOUND.value[0],
        "method": DENIED.value[0],
        "also good": 0,
    }


def test_a_description_says_which_methods_the_caller_may_not_ask_for(
    place: Place, stub: pb_grpc.ExplanationServiceStub
) -> None:
    asked = pb.DescribeModelRequest(model="lung-1")
    told = {
        method.name: method
        for method in stub.DescribeModel(asked, metadata=place.shows("lungs")).methods
    }
    assert told["score-cam"].available
    assert not told["opti-cam"].available
    assert told["opti-cam"].unavailable_reason == "lungs may not ask for it"


@dataclass
class Asked:
    """An open ExplainMany call of a principal, which is sent one request at a time."""

    requests: "queue.Queue[pb.ExplainManyRequest | None]"
    answers: grpc.Call

    def send(self, tag: str, model: str = "lung-1") -> None:
        self.requests.put(pb.ExplainManyRequest(tag=tag, request=request(model)))

    def ends_with(self) -> tuple[list[str], grpc.StatusCode]:
        """The tags that are still told of, each once, and the status after them."""
        tags: list[str] = []
        try:
            for each in self.answers:
                tags.append(each.tag)
        except grpc.RpcError:
            pass
        return list(dict.fromkeys(tags)), self.answers.code()


@contextmanager
def _asking_many(server: Server, token: str) -> Iterator[Asked]:
    requests: queue.Queue[pb.ExplainManyRequest | None] = queue.Queue()
    with grpc.insecure_channel(server.address) as channel:
        stub = pb_grpc.ExplanationServiceStub(channel)
        shown = [("authorization", f"Bearer {token}")]
        running = stub.ExplainMany(iter(requests.get, None), metadata=shown, timeout=SOON_SECONDS)
        yield Asked(requests, running)
        requests.put(None)


def test_a_token_that_is_withdrawn_ends_an_open_call_of_many_at_its_next_request(
    tmp_path: Path,
) -> None:
    """What was let in before is answered first."""
    may_end = threading.Event()

    section, tokens = access(tmp_path)
    engine = FakeEngine({"lung-1": held(may_end)})
    with serving(engine, access=section) as server, _asking_many(server, tokens["all"]) as call:
        call.send("before")
        assert next(call.answers).response.HasField("started")
        token_file(tmp_path / "tokens", "all")
        call.send("after")
        may_end.set()
        assert call.ends_with() == (["before"], UNAUTHENTICATED)
    assert len(engine.controls) == 1


def test_each_request_of_an_open_call_of_many_is_judged_by_the_rights_of_its_time(
    tmp_path: Path,
) -> None:
    """The token is given to another principal, and to another again."""
    section, tokens = access(tmp_path)
    lines = (tmp_path / "tokens").read_text("utf-8").splitlines()
    (line,) = [line for line in lines if line.startswith("all ")]
    engine = FakeEngine({"lung-1": plain, "retina": plain})
    with serving(engine, access=section) as server, _asking_many(server, tokens["all"]) as call:
        call.send("all", "retina")
        assert [next(call.answers).HasField("response") for _ in range(4)] == [True] * 4
        (tmp_path / "tokens").write_text(line.replace("all ", "lungs "), "utf-8")
        call.send("lungs", "retina")
        assert next(call.answers).error.code == NOT_FOUND.value[0]
        (tmp_path / "tokens").write_text(line.replace("all ", "describe "), "utf-8")
        call.send("describe")
        assert call.ends_with() == ([], DENIED)


def test_the_id_of_a_request_is_the_callers_or_a_new_one_and_comes_back(
    place: Place, stub: pb_grpc.ExplanationServiceStub
) -> None:
    for stated, kept in {"case-7.A_b": True, "a" * 64: True, "a" * 65: False, "a b": False}.items():
        shown = [*place.shows("all"), ("x-request-id", stated)]
        _, running = stub.ListModels.with_call(pb.ListModelsRequest(), metadata=shown)
        told = dict(running.initial_metadata())["x-request-id"]
        assert (told == stated) is kept
        assert kept or len(told) == 32


def test_the_caller_and_the_id_are_known_where_the_request_is_answered(tmp_path: Path) -> None:
    """Two at a time, which must not be taken for each other."""
    section, tokens = access(tmp_path)
    seen: list[tuple[str, str]] = []

    class Seeing(FakeEngine):
        def models(self):  # type: ignore[no-untyped-def]
            if request_id():
                seen.append((current_caller().name, request_id()))
            return super().models()

    with (
        serving(Seeing(), access=section) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        stub = pb_grpc.ExplanationServiceStub(channel)
        calls = [
            stub.ListModels.future(
                pb.ListModelsRequest(),
                metadata=[
                    ("authorization", f"Bearer {tokens[name]}"),
                    ("x-request-id", f"{name}-{number}"),
                ],
            )
            for number in range(20)
            for name in ("all", "lungs", "describe")
        ]
        for running in calls:
            running.result()
    assert len(seen) == 60
    assert all(identifier.startswith(name) for name, identifier in seen)


def test_a_witness_hears_who_was_refused_where_and_nothing_that_a_stranger_wrote(
    tmp_path: Path,
) -> None:
    heard: list[Refusal] = []

    class Listening(Witness):
        def refused(self, refusal: Refusal) -> None:
            heard.append(refusal)

    section, tokens = access(tmp_path)
    describing = [("authorization", f"Bearer {tokens['describe']}")]
    explaining = [("authorization", f"Bearer {tokens['explain']}")]
    path = "/salience.v1.ExplanationService/Explain"
    with (
        serving(FakeEngine(), Telemetry((Listening(),)), access=section) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        call(channel, path, [("x-request-id", "one")], [GARBAGE])
        call(channel, path, [*describing, ("x-request-id", "two")], [GARBAGE])
        call(channel, "/my.own/Words", [("x-request-id", "three")], [GARBAGE])
        call(channel, path, [*explaining, ("x-request-id", "four")], [GARBAGE])
        server._departure._door.close(draining())
        call(channel, path, [("x-request-id", "five")], [GARBAGE])
        call(channel, path, [*explaining, ("x-request-id", "six")], [GARBAGE])
    assert heard == [
        Refusal("Unauthenticated", "one", "", path),
        Refusal("PermissionDenied", "two", "describe", path),
        Refusal("Unauthenticated", "three", "", ""),
        Refusal("InvalidRequest", "four", "explain", path),
        Refusal("Unauthenticated", "five", "", path),
        Refusal("Unavailable", "six", "explain", path),
    ]
