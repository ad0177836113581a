"""Every refusal is counted once, logged once and, where the caller is known, recorded once."""

import logging
import queue
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from salience.inference import grpc_service_pb2 as inference_pb
from salience.v1 import admin_service_pb2 as admin_pb
from salience.v1 import explanation_service_pb2 as pb
from salience_service.audit.auditor import Auditor
from salience_service.config import ServeConfig
from salience_service.life.farewell import draining
from salience_service.rpc.admin.server import AdminServer
from salience_service.rpc.calls.open_calls import LONGEST_OPEN_MESSAGE
from salience_service.rpc.calls.rights import is_open
from salience_service.rpc.server.server import Server
from salience_service.telemetry.log_format import TOLD
from salience_service.telemetry.log_lines import LogLines
from salience_service.telemetry.metrics import Metrics
from salience_service.telemetry.opening import Telemetry
from salience_service.telemetry.witness import Witness, Witnesses
from tests.support.audit import KEYS, checked, fields, trail_of
from tests.support.every_rpc import call, every_rpc
from tests.support.identity import token_file
from tests.support.predicting import infer_request
from tests.support.serving import FakeEngine, FakeModel, plain, request, serving_on_loop

GARBAGE = b"\xff" * 64
EXPLAIN, INFERENCE = "/salience.v1.ExplanationService", "/inference.GRPCInferenceService"
ADMIN = "/salience.v1.AdminService"
MANY = f"{EXPLAIN}/ExplainMany"
HEALTH = "/grpc.health.v1.Health/Check"
GOOD = pb.ExplainManyRequest(tag="good", request=request()).SerializeToString()
MOST_BYTES = 2**19
NOTHING_TO_REFUSE = {f"{INFERENCE}/ModelReady"}
"""It says whether a model answers, also of one that is not there."""


@dataclass
class Breakable(FakeEngine):
    """Fails where that is said."""

    broken: bool = False

    def models(self) -> tuple[FakeModel, ...]:
        if self.broken:
            raise RuntimeError("a secret")
        return super().models()


class Books:
    """What is counted, logged and recorded of refusals, by the id of the request."""

    def __init__(self, directory: Path, log: pytest.LogCaptureFixture) -> None:
        self._registry, self._directory, self._log = CollectorRegistry(), directory, log
        self._auditor = Auditor(trail_of(directory), KEYS, most_alike=1000)
        self.witnesses: tuple[Witness, ...] = (
            self._auditor,
            LogLines(most=1000),
            Metrics(self._registry, principals=True),
        )

    @property
    def counted(self) -> dict[tuple[str, str], int]:
        """Refusals by reason and principal."""
        return {
            (sample.labels["reason"], sample.labels["principal"]): int(sample.value)
            for family in self._registry.collect()
            for sample in family.samples
            if sample.name == "salience_refusals_total"
        }

    def logged(self, request_id: str) -> list[str]:
        told = [getattr(record, TOLD, {}) for record in self._log.records]
        return _outcomes(told, request_id, "outcome")

    def recorded(self, request_id: str) -> list[str]:
        """Once they are closed."""
        return _outcomes(fields(self._directory), request_id, "error")

    def close(self) -> None:
        self._auditor.close()
        assert checked(self._directory).faults == []


def _outcomes(lines: list[dict[str, object]], request_id: str, key: str) -> list[str]:
    named = [str(line.get(key, "")) for line in lines if _id_of(line) == request_id]
    return [word for word in named if word not in ("", "ok")]


def _id_of(line: dict[str, object]) -> object:
    return line.get("request_id", line.get("request"))


@dataclass
class Place:
    """A server and its admin port, with all that witnesses them."""

    server: Server
    engine: Breakable
    channels: list[grpc.Channel]
    tokens: dict[str, str]
    books: Books
    expected: dict[str, tuple[str, str]] = field(default_factory=dict)

    def rpcs(self) -> list[tuple[grpc.Channel, str]]:
        """Every RPC of both ports but health's."""
        return [
            (channel, path)
            for channel in self.channels
            for path in every_rpc(channel, self.shows("all"))
            if not is_open(path)
        ]

    def refuses(
        self, reason: str, who: str, path: str, *messages: bytes, port: int | grpc.Channel = 0
    ) -> None:
        """Calls, and sees that it was counted and logged once, now."""
        number = f"r{len(self.expected)}"
        before, channel = self.books.counted, self.channels[port] if port in (0, 1) else port
        call(channel, path, [*self.shows(who), ("x-request-id", number)], messages)
        known = "" if who == "stranger" else who
        self.expected[number] = (reason, known)
        after = self.books.counted
        added = {key: count for key, count in after.items() if count != before.get(key, 0)}
        assert added == {(reason, known): before.get((reason, known), 0) + 1}, (path, reason)
        assert self.books.logged(number) == [reason], (path, reason)

    def shows(self, who: str) -> list[tuple[str, str]]:
        return [("authorization", f"Bearer {self.tokens[who]}")] if who in self.tokens else []


@pytest.fixture
def place(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Iterator[Place]:
    """At its end every refusal of a known caller stands in the audit once, and no stranger's."""
    caplog.set_level(logging.INFO)
    principals = [
        {"name": "all", "calls": ["describe", "explain", "infer", "admin"]},
        {"name": "idle", "calls": []},
        {"name": "ward", "calls": ["describe", "explain", "infer", "admin"], "models": ["ward-*"]},
    ]
    tokens = token_file(tmp_path / "tokens", *(str(one["name"]) for one in principals))
    access = {"tokens_file": str(tmp_path / "tokens"), "principals": principals}
    books = Books(tmp_path / "audit", caplog)
    engine = Breakable({"tiny": plain, "ward-1": plain})
    with ExitStack() as stack:
        settings = {
            "access": access,
            "connections": {"max_calls": 2},
            "max_message_bytes": MOST_BYTES,
        }
        watching = Telemetry(books.witnesses)
        server, run = stack.enter_context(serving_on_loop(engine, watching, **settings))
        admin = run(_administering(engine, access, Witnesses(books.witnesses)))
        stack.callback(lambda: run(admin.stop()))
        ports = [server.address, admin.address]
        channels = [stack.enter_context(grpc.insecure_channel(port)) for port in ports]
        made = Place(server, engine, channels, tokens, books)
        yield made
    books.close()
    for number, (reason, known) in made.expected.items():
        assert books.recorded(number) == ([reason] if known else []), (number, reason)


async def _administering(
    engine: FakeEngine, access: dict[str, object], witness: Witness
) -> AdminServer:
    config = ServeConfig.model_validate({"access": access, "admin": {"address": "127.0.0.1:0"}})
    assert config.admin is not None
    server = AdminServer(engine, config, config.admin, witness)  # type: ignore[arg-type]
    await server.start()
    return server


def test_on_every_rpc_strangers_the_wrong_role_and_damaged_messages_are_told_once(
    place: Place,
) -> None:
    rpcs = place.rpcs()
    assert {f"{EXPLAIN}/ListModels", f"{INFERENCE}/ModelInfer", f"{ADMIN}/Rollback"} <= {
        path for _, path in rpcs
    }
    for channel, path in rpcs:
        place.refuses("Unauthenticated", "stranger", path, b"", port=channel)
        place.refuses("PermissionDenied", "idle", path, b"", port=channel)
        place.refuses("InvalidRequest", "all", path, GARBAGE, port=channel)
        if "Many" not in path and "Reflection" not in path:
            place.refuses("InvalidRequest", "all", path, port=channel)  # No message at all.


def test_on_every_rpc_a_full_server_is_told_once(place: Place) -> None:
    rpcs = place.rpcs()
    with _held(place), _held(place):
        for channel, path in rpcs:
            if channel is place.channels[0]:
                place.refuses("Overloaded", "all", path, b"", port=channel)


@contextmanager
def _held(place: Place) -> Iterator["queue.Queue[bytes | None]"]:
    """An ExplainMany that was let in, while the block lasts; what it sends comes from a queue."""
    sent: queue.Queue[bytes | None] = queue.Queue()
    shown = [*place.shows("all"), ("x-request-id", "held")]
    running = place.channels[0].stream_stream(MANY)(iter(sent.get, None), metadata=shown)
    sent.put(GOOD)
    next(running)
    yield sent
    sent.put(None)
    list(running)


def test_on_every_rpc_a_closed_door_is_told_once(place: Place) -> None:
    rpcs = place.rpcs()
    place.server._departure._door.close(draining())
    for channel, path in rpcs:
        if channel is place.channels[0]:
            place.refuses("Unavailable", "all", path, b"", port=channel)


def test_a_request_of_a_call_that_was_open_when_the_door_closed_is_told_once(place: Place) -> None:
    with _held(place) as sent:
        place.server._departure._door.close(draining())
        late = pb.ExplainManyRequest(tag="late", request=request())
        sent.put(late.SerializeToString())
    assert place.books.logged("held") == ["Unavailable"]
    place.expected["held"] = ("Unavailable", "all")


def test_a_request_of_a_call_that_was_open_when_its_token_was_withdrawn_is_told_once(
    place: Place, tmp_path: Path
) -> None:
    open_call = ExitStack()
    sent = open_call.enter_context(_held(place))
    token_file(tmp_path / "tokens", "idle")
    sent.put(GOOD)
    with pytest.raises(grpc.RpcError):
        open_call.close()
    assert place.books.logged("held") == ["Unauthenticated"]
    place.expected["held"] = ("Unauthenticated", "all")


def test_wherever_a_model_is_named_one_that_is_not_there_or_hidden_is_told_once(
    place: Place,
) -> None:
    asked = {
        f"{EXPLAIN}/Explain": request("retina"),
        MANY: pb.ExplainManyRequest(tag="one", request=request("retina")),
        f"{EXPLAIN}/DescribeModel": pb.DescribeModelRequest(model="retina"),
        f"{INFERENCE}/ModelInfer": infer_request(np.zeros((1, 3, 8, 8), np.float32), "retina"),
        f"{INFERENCE}/ModelMetadata": inference_pb.ModelMetadataRequest(name="retina"),
    }
    for path, message in asked.items():
        for who in ("all", "ward"):
            place.refuses("NotFound", who, path, message.SerializeToString())
    administered = {
        "ListVersions": admin_pb.ListVersionsRequest(model="tiny"),
        "LoadVersion": admin_pb.LoadVersionRequest(model="tiny", version="1"),
        "RetireVersion": admin_pb.RetireVersionRequest(model="tiny", version="1"),
        "Rollback": admin_pb.RollbackRequest(model="tiny", newest=True),
    }
    for name, message in administered.items():
        place.refuses("NotFound", "ward", f"{ADMIN}/{name}", message.SerializeToString(), port=1)
    unmet = {path for _, path in place.rpcs() if "Model" in path} - asked.keys()
    assert unmet == NOTHING_TO_REFUSE | {f"{EXPLAIN}/ListModels"}


def test_each_request_of_many_that_is_refused_is_told_once_and_the_rest_go_on(
    place: Place,
) -> None:
    for refused in (
        pb.ExplainManyRequest(request=request()),
        pb.ExplainManyRequest(tag="x" * 129, request=request()),
        pb.ExplainManyRequest(tag="bare"),
        pb.ExplainManyRequest(tag="none", request=request(methods=[])),
    ):
        place.refuses("InvalidRequest", "all", MANY, refused.SerializeToString(), GOOD)
    place.refuses("InvalidRequest", "all", MANY, GARBAGE, GOOD)
    number = f"r{len(place.expected)}"
    many = [GARBAGE, b"", GARBAGE]
    shown = [*place.shows("all"), ("x-request-id", number)]
    call(place.channels[0], MANY, shown, many)
    assert place.books.logged(number) == ["InvalidRequest"] * len(many)


def test_a_message_over_the_limit_is_told_once(place: Place) -> None:
    """gRPC drops it and tells the caller; to us the call ends without a message."""
    for path in (f"{EXPLAIN}/Explain", f"{EXPLAIN}/DescribeModel", f"{INFERENCE}/ModelInfer"):
        place.refuses("InvalidRequest", "all", path, bytes(MOST_BYTES + 1))


def test_what_a_service_does_not_have_is_told_once_and_by_no_name(place: Place) -> None:
    place.refuses("Unauthenticated", "stranger", "/jane.doe/Explain", b"")
    place.refuses("Unsupported", "all", "/jane.doe/Explain", b"")
    assert "jane" not in place.books._log.text


def test_health_that_is_asked_nonsense_is_told_once_and_recorded_of_known_callers_alone(
    place: Place,
) -> None:
    for who in ("stranger", "idle"):
        place.refuses("InvalidRequest", who, HEALTH, GARBAGE)
        place.refuses("InvalidRequest", who, HEALTH, b"\x0a" + bytes(LONGEST_OPEN_MESSAGE))


def test_what_is_answered_is_no_refusal(place: Place) -> None:
    model = pb.DescribeModelRequest(model="tiny").SerializeToString()
    for path, message in (
        (f"{EXPLAIN}/Explain", request().SerializeToString()),
        (f"{EXPLAIN}/ListModels", b""),
        (f"{EXPLAIN}/DescribeModel", model),
        (f"{INFERENCE}/ServerReady", b""),
    ):
        assert (
            call(place.channels[0], path, place.shows("all"), [message]).code is grpc.StatusCode.OK
        )
    assert place.books.counted == {}


def test_a_fault_of_the_server_is_told_once_as_unexpected(place: Place) -> None:
    place.engine.broken = True
    place.refuses("Unexpected", "all", f"{EXPLAIN}/ListModels", b"")
