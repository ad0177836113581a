"""The admin service on its own port: versions come and go by its calls, and health follows."""

import threading
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from salience.v1 import admin_service_pb2 as pb
from salience.v1 import admin_service_pb2_grpc as pb_grpc
from salience_service.control import Control
from tests.support.administered import Administered, administered
from tests.support.model_versions import fake_version, remove_version
from tests.support.serving import serving_on_loop
from tests.support.waiting import SOON_SECONDS

Health = health_pb2.HealthCheckResponse


@pytest.fixture
def admin(tmp_path: Path) -> Iterator[Administered]:
    for version in ("1", "2"):
        fake_version(tmp_path, "m", version)
    with administered(tmp_path) as made:
        yield made


def status_of(call: pytest.ExceptionInfo[grpc.RpcError]) -> grpc.StatusCode:
    return call.value.code()


def test_versions_are_listed_with_their_states_and_why(admin: Administered) -> None:
    fake_version(admin.models, "m", "3")
    fake_version(admin.models, "n", "1")
    admin.load.refused["m/3"] = "it drifts from its golden example"
    with pytest.raises(grpc.RpcError, match="it drifts") as told:
        admin.stub.LoadVersion(pb.LoadVersionRequest(model="m", version="3"))
    assert status_of(told) is grpc.StatusCode.FAILED_PRECONDITION
    assert admin.states() == {
        "m/1": "serving",
        "m/2": "serving",
        "m/3": "refused",
        "n/1": "available",
    }
    (refused,) = [
        each
        for each in admin.stub.ListVersions(pb.ListVersionsRequest(model="m")).versions
        if each.version == "3"
    ]
    assert refused.reason == "it drifts from its golden example"
    assert admin.answers() == "2"


def test_a_version_is_loaded_retired_and_rolled_back_to(admin: Administered) -> None:
    stub = admin.stub
    fake_version(admin.models, "m", "3")
    loaded = stub.LoadVersion(pb.LoadVersionRequest(model="m", version="3"))
    assert admin.states(loaded.versions)["m/3"] == "serving"
    assert admin.answers() == "3"
    stub.Rollback(pb.RollbackRequest(model="m", version="1"))
    assert admin.answers() == "1"
    with pytest.raises(grpc.RpcError, match="roll back to another") as told:
        stub.RetireVersion(pb.RetireVersionRequest(model="m", version="1"))
    assert status_of(told) is grpc.StatusCode.FAILED_PRECONDITION
    retired = stub.RetireVersion(pb.RetireVersionRequest(model="m", version="3"))
    assert admin.states(retired.versions)["m/3"] == "available"
    stub.Rollback(pb.RollbackRequest(model="m", newest=True))
    assert admin.answers() == "2"


def test_a_version_in_use_is_listed_as_draining_with_its_explanations(admin: Administered) -> None:
    with admin.engine.lease("m", "1", Control()):
        answer = admin.stub.RetireVersion(pb.RetireVersionRequest(model="m", version="1"))
        (draining,) = [each for each in answer.versions if each.version == "1"]
        assert draining.state == pb.VERSION_STATE_DRAINING
        assert draining.explanations == 1
    assert admin.states() == {"m/1": "available", "m/2": "serving"}


@pytest.mark.parametrize("name", ["../secret", "/etc", "..", "", "M", "a" * 65, "m\0"])
@pytest.mark.parametrize("call", ["LoadVersion", "RetireVersion", "Rollback"])
def test_names_that_lead_elsewhere_are_invalid_arguments_and_tell_no_path(
    admin: Administered, call: str, name: str
) -> None:
    request = {
        "LoadVersion": pb.LoadVersionRequest,
        "RetireVersion": pb.RetireVersionRequest,
        "Rollback": pb.RollbackRequest,
    }[call]
    before = admin.load.loaded
    for model, version in ((name, "1"), ("m", name)):
        with pytest.raises(grpc.RpcError) as told:
            getattr(admin.stub, call)(request(model=model, version=version))
        assert status_of(told) is grpc.StatusCode.INVALID_ARGUMENT
        assert str(admin.models) not in str(told.value)
        assert field_of(told.value) in ("model", "version", "to")
    assert admin.load.loaded == before


def field_of(error: grpc.RpcError) -> str:
    status = rpc_status.from_call(error)
    request = error_details_pb2.BadRequest()
    for detail in status.details:
        if detail.Unpack(request):
            return request.field_violations[0].field
    raise AssertionError(status)


def test_what_is_not_there_is_not_found_and_a_rollback_to_nowhere_invalid(
    admin: Administered,
) -> None:
    asked: list[tuple[grpc.UnaryUnaryMultiCallable, Message, grpc.StatusCode]] = [
        (admin.stub.LoadVersion, pb.LoadVersionRequest(model="m", version="9"), NOT_FOUND),
        (admin.stub.RetireVersion, pb.RetireVersionRequest(model="m", version="9"), NOT_FOUND),
        (admin.stub.Rollback, pb.RollbackRequest(model="x", version="1"), NOT_FOUND),
        (admin.stub.Rollback, pb.RollbackRequest(model="x", newest=True), NOT_FOUND),
        (admin.stub.Rollback, pb.RollbackRequest(model="m"), INVALID),
        (admin.stub.Rollback, pb.RollbackRequest(model="m", newest=False), INVALID),
    ]
    for call, request, code in asked:
        with pytest.raises(grpc.RpcError) as told:
            call(request)
        assert status_of(told) is code, request
    assert admin.answers() == "2"


NOT_FOUND, INVALID = grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT


def test_the_status_tells_lanes_load_limits_memory_and_time(admin: Administered) -> None:
    first = admin.stub.GetStatus(pb.GetStatusRequest())
    assert (first.lanes, first.busy_lanes, first.waiting_rows) == (1, 0, 0)
    assert (first.load.explanations, first.limit.explanations) == (0, 4)
    assert first.limit.rows > 0
    assert first.limit.bytes > 0
    assert first.resident_bytes > 2**20
    assert first.software_version
    assert admin.stub.GetStatus(pb.GetStatusRequest()).uptime_seconds > first.uptime_seconds > 0


def test_bytes_that_are_no_message_are_an_invalid_argument(admin: Administered) -> None:
    with grpc.insecure_channel(admin.admin_address) as channel:
        call = channel.unary_unary("/salience.v1.AdminService/LoadVersion")
        with pytest.raises(grpc.RpcError) as told:
            call(b"\xff\xff\xff")
    assert status_of(told) is grpc.StatusCode.INVALID_ARGUMENT


def test_the_admin_service_is_not_on_the_servers_port(admin: Administered) -> None:
    with (
        serving_on_loop(admin.engine) as (server, _),
        grpc.insecure_channel(server.address) as channel,
    ):
        stub = pb_grpc.AdminServiceStub(channel)
        with pytest.raises(grpc.RpcError) as told:
            stub.ListVersions(pb.ListVersionsRequest())
    assert status_of(told) in (grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.PERMISSION_DENIED)


class Watch:
    """What a watch of a model's health hears."""

    def __init__(self, stub: health_pb2_grpc.HealthStub, name: str) -> None:
        self._call = stub.Watch(health_pb2.HealthCheckRequest(service=name))
        self._heard: list[int] = []
        self._some = threading.Condition()
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def _listen(self) -> None:
        try:
            for answer in self._call:
                with self._some:
                    self._heard.append(answer.status)
                    self._some.notify_all()
        except grpc.RpcError:
            pass

    def hears(self, status: int) -> None:
        """Waits until it is the last that was heard."""
        with self._some:
            assert self._some.wait_for(lambda: self._heard[-1:] == [status], SOON_SECONDS), (
                self._heard
            )

    def close(self) -> None:
        self._call.cancel()
        self._thread.join(SOON_SECONDS)


def test_the_health_of_a_model_follows_its_versions(admin: Administered) -> None:
    watch = Watch(admin.health, "m")
    watch.hears(Health.SERVING)
    admin.stub.RetireVersion(pb.RetireVersionRequest(model="m", version="2"))
    admin.stub.RetireVersion(pb.RetireVersionRequest(model="m", version="1"))
    watch.hears(Health.NOT_SERVING)
    checked = admin.health.Check(health_pb2.HealthCheckRequest(service="m"))
    assert checked.status == Health.NOT_SERVING
    admin.stub.LoadVersion(pb.LoadVersionRequest(model="m", version="1"))
    watch.hears(Health.SERVING)
    watch.close()


def test_the_health_of_a_model_that_is_gone_is_unknown(admin: Administered) -> None:
    watch = Watch(admin.health, "n")
    watch.hears(Health.SERVICE_UNKNOWN)
    directory = admin.engine.directory
    assert directory is not None
    fake_version(admin.models, "n", "1")
    for _ in range(2):
        directory.look()
    watch.hears(Health.SERVING)
    remove_version(admin.models, "n", "1")
    directory.look()
    watch.hears(Health.SERVICE_UNKNOWN)
    with pytest.raises(grpc.RpcError) as told:
        admin.health.Check(health_pb2.HealthCheckRequest(service="n"))
    assert status_of(told) is NOT_FOUND
    watch.close()


def test_what_loads_and_what_is_refused_does_not_serve(tmp_path: Path) -> None:
    fake_version(tmp_path, "m", "1")
    with administered(tmp_path) as admin:
        fake_version(tmp_path, "n", "1")
        watch = Watch(admin.health, "n")
        admin.load.let.clear()
        admin.load.refused["n/1"] = "it drifts"
        loading = admin.stub.LoadVersion.future(pb.LoadVersionRequest(model="n", version="1"))
        watch.hears(Health.NOT_SERVING)
        assert admin.states()["n/1"] == "loading"
        admin.load.let.set()
        assert loading.exception(SOON_SECONDS) is not None
        assert admin.states()["n/1"] == "refused"
        watch.hears(Health.NOT_SERVING)
        watch.close()
