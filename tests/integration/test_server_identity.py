"""Who gets what: on every RPC of every port, by models, by methods; nothing for strangers."""

import queue
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from salience.v1 import explanation_service_pb2 as pb
from salience.v1 import explanation_service_pb2_grpc as pb_grpc
from salience_client.grpc_transport import SHARED_OUT
from salience_service.access.principal import Call
from salience_service.config import ServeConfig
from salience_service.control import Control
from salience_service.events import Event
from salience_service.life.farewell import draining
from salience_service.request import ExplainOrder
from salience_service.rpc.admin import server as admin_port
from salience_service.rpc.admin.server import AdminServer
from salience_service.rpc.calls.caller import current_caller, request_id
from salience_service.rpc.calls.open_calls import LONGEST_OPEN_MESSAGE, MOST_HALF_SENT_EACH
from salience_service.rpc.calls.rights import HEALTH, RIGHTS, WATCH, call_of, is_open
from salience_service.rpc.server import options
from salience_service.rpc.server.server import Server
from salience_service.rpc.wire.requests import MOST_METHODS
from salience_service.telemetry.opening import Telemetry
from salience_service.telemetry.records import Refusal
from salience_service.telemetry.witness import Witness
from tests.support.every_rpc import SOON_SECONDS, Metadata, call, every_rpc
from tests.support.identity import token_file
from tests.support.serving import (
    FINISHED,
    STARTED,
    FakeEngine,
    plain,
    request,
    serving,
    serving_on_loop,
)

UNAUTHENTICATED = grpc.StatusCode.UNAUTHENTICATED
DENIED = grpc.StatusCode.PERMISSION_DENIED
NOT_FOUND = grpc.StatusCode.NOT_FOUND
EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED
UNIMPLEMENTED = grpc.StatusCode.UNIMPLEMENTED
SERVING = health_pb2.HealthCheckResponse.SERVING
GARBAGE = b"\xff" * 64
"""No message of any call: whoever decoded it would answer with INVALID_ARGUMENT."""
MEBIBYTE = 2**20


@dataclass
class Place:
    """Ports of servers with the same principals: for each permission one who has it alone,
    `all`, who has every one, and `lungs`, who knows of some models and methods."""

    ports: list[str]
    tokens: dict[str, str]
    engine: FakeEngine

    def shows(self, name: str) -> Metadata:
        return [("authorization", f"Bearer {self.tokens[name]}")]

    def without(self, needed: Call) -> list[Metadata]:
        return [self.shows(each.value) for each in Call if each is not needed]


def _access(directory: Path) -> tuple[dict[str, object], dict[str, str]]:
    everything = [each.value for each in Call]
    principals: list[dict[str, object]] = [
        *({"name": word, "calls": [word]} for word in everything),
        {"name": "all", "calls": everything},
        {"name": "lungs", "models": ["lung-*"], "methods": ["score-cam"]},
    ]
    names = [str(one["name"]) for one in principals]
    tokens = token_file(directory / "tokens", *names)
    return {"tokens_file": str(directory / "tokens"), "principals": principals}, tokens


async def _administering(engine: FakeEngine, access: dict[str, object]) -> AdminServer:
    config = ServeConfig.model_validate({"access": access, "admin": {"address": "127.0.0.1:0"}})
    assert config.admin is not None
    # Nothing below comes as far as its models.
    server = AdminServer(engine, config, config.admin)  # type: ignore[arg-type]
    await server.start()
    return server


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    access, tokens = _access(tmp_path_factory.mktemp("access"))
    engine = FakeEngine({"lung-1": plain, "lung-2": plain, "retina": plain})
    with serving_on_loop(engine, access=access) as (server, run):
        admin = run(_administering(engine, access))
        yield Place([server.address, admin.address], tokens, engine)
        run(admin.stop())


@pytest.fixture
def channels(place: Place) -> Iterator[list[grpc.Channel]]:
    with ExitStack() as stack:
        yield [stack.enter_context(grpc.insecure_channel(port)) for port in place.ports]


@pytest.fixture
def stub(channels: list[grpc.Channel]) -> pb_grpc.ExplanationServiceStub:
    return pb_grpc.ExplanationServiceStub(channels[0])


@pytest.fixture
def guarded(place: Place, channels: list[grpc.Channel]) -> list[tuple[grpc.Channel, str]]:
    """Every RPC of every port but health's."""
    return [
        (channel, path)
        for channel in channels
        for path in every_rpc(channel, place.shows("all"))
        if not is_open(path)
    ]


def test_reflection_tells_every_rpc_that_has_a_right_and_the_administration(
    guarded: list[tuple[grpc.Channel, str]],
) -> None:
    """Or else the tests below would look at less than there is."""
    paths = {path for _, path in guarded}
    assert {path for path in RIGHTS if ".reflection.v1." not in path} <= paths
    assert "/salience.v1.AdminService/LoadVersion" in paths


def test_administration_asks_for_admin(guarded: list[tuple[grpc.Channel, str]]) -> None:
    administration = [path for _, path in guarded if "Admin" in path]
    assert administration
    assert {call_of(path) for path in administration} == {Call.ADMIN}


def test_an_rpc_that_nobody_gave_a_right_asks_for_admin() -> None:
    assert call_of("/salience.v1.ExplanationService/New") is Call.ADMIN


@pytest.mark.parametrize("shown", [[], [("authorization", "Bearer salience_" + "A" * 43)]])
def test_without_a_good_credential_every_rpc_gives_unauthenticated_and_nothing_else(
    guarded: list[tuple[grpc.Channel, str]], shown: Metadata
) -> None:
    for channel, path in guarded:
        answer = call(channel, path, shown, [GARBAGE])
        assert (answer.code, answer.messages) == (UNAUTHENTICATED, 0), path
        assert answer.heads <= {"x-request-id"}, path


def test_with_every_role_but_the_needed_one_every_rpc_gives_permission_denied_and_nothing_else(
    place: Place, guarded: list[tuple[grpc.Channel, str]]
) -> None:
    for channel, path in guarded:
        for shown in place.without(call_of(path)):
            answer = call(channel, path, shown, [GARBAGE])
            assert (answer.code, answer.messages) == (DENIED, 0), path


def test_with_the_needed_role_alone_every_rpc_reads_what_is_sent(
    place: Place, guarded: list[tuple[grpc.Channel, str]]
) -> None:
    for channel, path in guarded:
        answer = call(channel, path, place.shows(call_of(path).value), [GARBAGE])
        assert answer.code not in (UNAUTHENTICATED, DENIED), path
        assert answer.code is not grpc.StatusCode.UNKNOWN, path


def test_strangers_cannot_tell_an_rpc_that_exists_from_one_that_does_not(
    place: Place, channels: list[grpc.Channel]
) -> None:
    for channel in channels:
        for path in ("/salience.v1.ExplanationService/Steal", "/no.Service/Call"):
            assert call(channel, path, [], [GARBAGE]).code is UNAUTHENTICATED
            known = call(channel, path, place.shows("describe"), [GARBAGE])
            assert known.code is UNIMPLEMENTED


def test_a_large_message_of_a_stranger_is_refused_before_it_is_received(
    place: Place, channels: list[grpc.Channel]
) -> None:
    for path in ("Explain", "ExplainMany", "DescribeModel"):
        answer = call(
            channels[0], f"/salience.v1.ExplanationService/{path}", [], [bytes(30 * MEBIBYTE)]
        )
        assert answer.code is UNAUTHENTICATED


def test_a_stranger_that_sends_nothing_is_refused_at_once(channels: list[grpc.Channel]) -> None:
    """A call that waits for a message first would hold its place for as long as it likes."""
    silent = threading.Event()
    running = channels[0].stream_stream("/salience.v1.ExplanationService/ListModels")(
        _after(silent), timeout=SOON_SECONDS
    )
    with pytest.raises(grpc.RpcError) as told:
        next(running)
    silent.set()
    assert told.value.code() is UNAUTHENTICATED


def _after(event: threading.Event) -> Iterator[bytes]:
    event.wait(SOON_SECONDS)
    yield from ()


def _named(name: str) -> health_pb2.HealthCheckRequest:
    return health_pb2.HealthCheckRequest(service=name)


def test_health_tells_a_stranger_the_server_and_its_services(channels: list[grpc.Channel]) -> None:
    for channel in channels:
        stub = health_pb2_grpc.HealthStub(channel)
        assert stub.Check(_named("")).status == SERVING
        told = stub.List(health_pb2.HealthListRequest()).statuses
        assert told[""].status == SERVING
        for name in told:
            assert stub.Check(_named(name)).status == SERVING


def test_health_tells_a_stranger_no_models(channels: list[grpc.Channel]) -> None:
    stub = health_pb2_grpc.HealthStub(channels[0])
    assert not set(stub.List(health_pb2.HealthListRequest()).statuses) & {"lung-1", "retina"}
    texts = []
    for name in ("retina", "no-such-model"):
        with pytest.raises(grpc.RpcError) as refused:
            stub.Check(_named(name))
        texts.append((refused.value.code(), refused.value.details()))
        watch = stub.Watch(_named(name))
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
        watch.cancel()
    assert texts[0] == texts[1]
    assert texts[0][0] is NOT_FOUND


def test_health_tells_of_a_model_to_those_who_know_of_it(
    place: Place, channels: list[grpc.Channel]
) -> None:
    stub = health_pb2_grpc.HealthStub(channels[0])
    shown = place.shows("lungs")
    assert stub.Check(_named("lung-1"), metadata=shown).status == SERVING
    told = stub.List(health_pb2.HealthListRequest(), metadata=shown).statuses
    assert set(told) & {"lung-1", "lung-2", "retina"} == {"lung-1", "lung-2"}
    with pytest.raises(grpc.RpcError) as refused:
        stub.Check(_named("retina"), metadata=shown)
    assert refused.value.code() is NOT_FOUND


def test_health_decodes_nothing_large_for_strangers(channels: list[grpc.Channel]) -> None:
    answer = call(
        channels[0], "/grpc.health.v1.Health/Check", [], [bytes(LONGEST_OPEN_MESSAGE + 1)]
    )
    assert answer.code is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("port", "most"), [(0, options.MOST_OPEN_EACH), (1, admin_port.MOST_OPEN_EACH)]
)
def test_a_stranger_who_keeps_health_watches_open_takes_no_room_of_known_callers(
    place: Place, channels: list[grpc.Channel], port: int, most: int
) -> None:
    health = health_pb2_grpc.HealthStub(channels[port])
    watches = [health.Watch(_named("")) for _ in range(most)]
    assert {next(watch).status for watch in watches} == {SERVING}
    with pytest.raises(grpc.RpcError) as refused:
        health.Check(_named(""))
    assert refused.value.code() is EXHAUSTED
    with pytest.raises(grpc.RpcError) as refused:
        next(health.Watch(_named("")))
    assert refused.value.code() is UNIMPLEMENTED
    assert "too many watches are open" in refused.value.details()
    assert len(every_rpc(channels[port], place.shows("all"))) > 1
    with grpc.insecure_channel(place.ports[port], options=SHARED_OUT) as watching:
        assert len(every_rpc(watching, place.shows("all"))) > 1
    for watch in watches:
        watch.cancel()


@contextmanager
def _half_sent(channel: grpc.Channel, path: str, number: int) -> Iterator["queue.Queue[grpc.Call]"]:
    """So many calls whose message does not come; gives each once it has ended."""
    ended: queue.Queue[grpc.Call] = queue.Queue()
    silent = threading.Event()
    calls = [channel.stream_stream(path)(_after(silent)) for _ in range(number)]
    for each in calls:
        each.add_done_callback(ended.put)
    try:
        yield ended
    finally:
        for each in calls:
            each.cancel()
        silent.set()


@pytest.mark.parametrize(
    ("port", "path", "code"), [(0, f"{HEALTH}Check", EXHAUSTED), (1, WATCH, UNIMPLEMENTED)]
)
def test_of_health_calls_whose_message_does_not_come_few_are_waited_for(
    channels: list[grpc.Channel], port: int, path: str, code: grpc.StatusCode
) -> None:
    """For gRPC may hold as much of each as of the longest message; one that is there is no such."""
    health = health_pb2_grpc.HealthStub(channels[port])
    with _half_sent(channels[port], path, MOST_HALF_SENT_EACH + 1) as ended:
        assert ended.get(timeout=SOON_SECONDS).code() is code
        assert health.Check(_named("")).status == SERVING
        assert next(health.Watch(_named(""))).status == SERVING


def test_health_calls_whose_message_does_not_come_are_waited_for_as_long_as_stated() -> None:
    with (
        serving(FakeEngine(), connections={"slow_sender_seconds": 0.4}) as server,
        grpc.insecure_channel(server.address) as channel,
        _half_sent(channel, WATCH, MOST_HALF_SENT_EACH) as ended,
    ):
        for _ in range(MOST_HALF_SENT_EACH):
            told = ended.get(timeout=SOON_SECONDS)
            assert told.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            assert "did not arrive within 0.4 s" in told.details()


def test_fewer_health_calls_than_are_spare_are_held() -> None:
    assert options.MOST_OPEN < options.SPARE_CALLS
    assert admin_port.MOST_OPEN < admin_port.MOST_CALLS


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
    place: Place, channels: list[grpc.Channel]
) -> None:
    stub = pb_grpc.ExplanationServiceStub(channels[0])
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

    def slow(order: ExplainOrder, control: Control) -> Iterator[Event]:
        yield STARTED
        may_end.wait(SOON_SECONDS)
        yield FINISHED

    access, tokens = _access(tmp_path)
    engine = FakeEngine({"lung-1": slow})
    with serving(engine, access=access) as server, _asking_many(server, tokens["all"]) as call:
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
    access, tokens = _access(tmp_path)
    lines = (tmp_path / "tokens").read_text("utf-8").splitlines()
    (line,) = [line for line in lines if line.startswith("all ")]
    engine = FakeEngine({"lung-1": plain, "retina": plain})
    with serving(engine, access=access) as server, _asking_many(server, tokens["all"]) as call:
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
    access, tokens = _access(tmp_path)
    seen: list[tuple[str, str]] = []

    class Seeing(FakeEngine):
        def models(self):  # type: ignore[no-untyped-def]
            if request_id():
                seen.append((current_caller().name, request_id()))
            return super().models()

    with (
        serving(Seeing(), access=access) as server,
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

    access, tokens = _access(tmp_path)
    describing = [("authorization", f"Bearer {tokens['describe']}")]
    explaining = [("authorization", f"Bearer {tokens['explain']}")]
    path = "/salience.v1.ExplanationService/Explain"
    with (
        serving(FakeEngine(), Telemetry((Listening(),)), access=access) as server,
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


@pytest.mark.parametrize("token", ["..", "a.b.c", f"{'W1tb' * 1500}.{'W1tb' * 500}.x", "~" * 8000])
def test_any_nonsense_for_a_token_is_unauthenticated(
    channels: list[grpc.Channel], token: str
) -> None:
    path = "/salience.v1.ExplanationService/ListModels"
    answer = call(channels[0], path, [("authorization", f"Bearer {token}")], [GARBAGE])
    assert answer.code is UNAUTHENTICATED


def test_without_identity_everyone_may_explain_and_nobody_administer() -> None:
    names: list[str] = []

    def naming(order: ExplainOrder, control: Control) -> Iterator[Event]:
        names.append(order.model)
        yield STARTED
        yield FINISHED

    with (
        serving(FakeEngine({"tiny": naming})) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        assert list(pb_grpc.ExplanationServiceStub(channel).Explain(request()))
        answer = call(channel, "/no.Service/Call", [], [GARBAGE])
    assert names == ["tiny"]
    assert answer.code is grpc.StatusCode.UNIMPLEMENTED
