"""Who may call what: every RPC of every port, in every role; and nothing for strangers."""

import threading
from collections.abc import Iterator

import grpc
import pytest

from salience.v1 import explanation_service_pb2_grpc as pb_grpc
from salience_service.access.principal import Call
from salience_service.control import Control
from salience_service.events import Event
from salience_service.request import ExplainOrder
from salience_service.rpc.calls.rights import RIGHTS, call_of, is_open
from tests.support.every_rpc import Metadata, call, every_rpc, silent_until
from tests.support.principals import Place
from tests.support.serving import FINISHED, STARTED, FakeEngine, request, serving
from tests.support.waiting import SOON_SECONDS

UNAUTHENTICATED = grpc.StatusCode.UNAUTHENTICATED
DENIED = grpc.StatusCode.PERMISSION_DENIED
UNIMPLEMENTED = grpc.StatusCode.UNIMPLEMENTED
GARBAGE = b"\xff" * 64
"""No message of any call: whoever decoded it would answer with INVALID_ARGUMENT."""
MEBIBYTE = 2**20


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
        silent_until(silent), timeout=SOON_SECONDS
    )
    with pytest.raises(grpc.RpcError) as told:
        next(running)
    silent.set()
    assert told.value.code() is UNAUTHENTICATED


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
