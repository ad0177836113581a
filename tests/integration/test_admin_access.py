"""Who may administer: on a port with identities, those with the permission, and nobody else."""

import threading
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from salience_client import NotFound, PermissionDenied, Unauthenticated
from salience_client.admin import AdminClient
from salience_client.identity import bearer
from salience_service.rpc.admin.server import MOST_CALLS_EACH
from tests.support.administered import Administered, administered
from tests.support.every_rpc import call, every_rpc
from tests.support.identity import token_file
from tests.support.model_versions import fake_version
from tests.support.waiting import SOON_SECONDS

HEALTH = "/grpc.health.v1.Health/"
EXPLAIN = ("describe", "explain", "infer")


@pytest.fixture
def tokens(tmp_path: Path) -> dict[str, str]:
    return token_file(tmp_path / "tokens", "root", "reader", "ward")


@pytest.fixture
def admin(tmp_path: Path, tokens: dict[str, str]) -> Iterator[Administered]:
    models = tmp_path / "models"
    for name in ("m", "ward-1"):
        fake_version(models, name, "1")
        fake_version(models, name, "2")
    access = {
        "tokens_file": str(tmp_path / "tokens"),
        "principals": [
            {"name": "root", "calls": ["admin", "describe"]},
            {"name": "reader", "calls": EXPLAIN},
            {"name": "ward", "calls": ["admin"], "models": ["ward-*"]},
        ],
    }
    with administered(models, access) as made:
        yield made


def test_every_rpc_of_the_admin_port_but_health_is_closed_to_who_may_not_administer(
    admin: Administered, tokens: dict[str, str]
) -> None:
    with grpc.insecure_channel(admin.admin_address) as channel:
        rpcs = every_rpc(channel, bearer(tokens["root"]))
        assert sum(path.startswith("/salience.v1.AdminService/") for path in rpcs) == 5
        for path in rpcs:
            if path.startswith(HEALTH):
                continue
            assert call(channel, path, (), [b""]).code is grpc.StatusCode.UNAUTHENTICATED, path
            code = call(channel, path, bearer(tokens["reader"]), [b""]).code
            # Reflection is description, which the reader may ask for.
            reflects = "ServerReflection" in path
            assert reflects or code is grpc.StatusCode.PERMISSION_DENIED, path


def test_who_may_administer_does(admin: Administered, tokens: dict[str, str]) -> None:
    with AdminClient(admin.admin_address, token=tokens["root"]) as client:
        client.roll_back("m", "1")
        assert {each.model for each in client.versions()} == {"m", "ward-1"}
    for token, error in ((None, Unauthenticated), (tokens["reader"], PermissionDenied)):
        with AdminClient(admin.admin_address, token=token) as client, pytest.raises(error):
            client.retire("m", "2")
    assert admin.engine.model("m").version == "1"
    assert len(admin.engine.models()) == 4


def test_models_that_do_not_exist_for_an_administrator_cannot_be_touched_or_seen(
    admin: Administered, tokens: dict[str, str]
) -> None:
    with AdminClient(admin.admin_address, token=tokens["ward"]) as client:
        assert {each.model for each in client.versions()} == {"ward-1"}
        for ask in (client.load, client.retire, client.roll_back):
            with pytest.raises(NotFound):
                ask("m", "1")
        for look in (client.versions, client.roll_forward):
            with pytest.raises(NotFound):
                look("m")
        client.roll_back("ward-1", "1")
    assert admin.engine.model("m").version == "2"
    assert admin.engine.model("ward-1").version == "1"


def test_who_may_but_describe_shuts_no_administrator_out(
    admin: Administered, tokens: dict[str, str]
) -> None:
    reader, over = bearer(tokens["reader"]), threading.Event()

    def held_open() -> Iterator[reflection_pb2.ServerReflectionRequest]:
        yield reflection_pb2.ServerReflectionRequest(list_services="")
        over.wait(SOON_SECONDS)

    with grpc.insecure_channel(admin.admin_address) as channel:
        reflect = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo
        held = [
            reflect(held_open(), metadata=reader, timeout=SOON_SECONDS)
            for _ in range(MOST_CALLS_EACH)
        ]
        for one in held:
            next(one)
        with pytest.raises(grpc.RpcError) as refused:
            next(reflect(held_open(), metadata=reader, timeout=SOON_SECONDS))
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        with AdminClient(admin.admin_address, token=tokens["root"]) as client:
            assert client.versions()
        over.set()
