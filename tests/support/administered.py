"""A server over models that load at a test's word, with its admin service on a port beside it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2_grpc

from salience.v1 import admin_service_pb2 as pb
from salience.v1 import admin_service_pb2_grpc as pb_grpc
from salience_service.config import ServeConfig
from salience_service.config.admin import AdminConfig
from salience_service.directory.models_directory import ModelsDirectory
from salience_service.engine import Engine
from salience_service.explanation.telling import Pace
from salience_service.image.pixels import ImageLimits
from salience_service.models.repository import ModelRepository
from salience_service.rpc.admin.server import AdminServer
from salience_service.telemetry.witness import NOBODY, Witness
from tests.support.model_versions import FakeLoad, config_of
from tests.support.serving import serving_on_loop


@dataclass
class Administered:
    """A server over models that load at our word, and its admin service."""

    models: Path
    load: FakeLoad
    engine: Engine
    stub: pb_grpc.AdminServiceStub
    health: health_pb2_grpc.HealthStub
    admin_address: str

    def states(self, versions: object = None) -> dict[str, str]:
        found = versions or self.stub.ListVersions(pb.ListVersionsRequest()).versions
        return {
            f"{each.model}/{each.version}": pb.VersionState.Name(each.state)[14:].lower()
            for each in found  # type: ignore[attr-defined]
        }

    def answers(self, model: str = "m") -> str:
        """The version that answers where none is named, as the service and the engine say."""
        versions = self.stub.ListVersions(pb.ListVersionsRequest(model=model)).versions
        (told,) = [each.version for each in versions if each.is_default]
        assert self.engine.model(model).version == told
        return told


@contextmanager
def administered(
    models: Path, access: object = None, witness: Witness = NOBODY, **settings: object
) -> Iterator[Administered]:
    """Over a directory; keys of `[repository]` as given, and the admin port guarded by `access`."""
    load = FakeLoad()
    config = ServeConfig.model_validate({**dict(config_of(**settings)), "access": access})
    repository = ModelRepository(lanes=config.device.lanes(), pins=config.repository.answers)
    directory = ModelsDirectory(models, config, repository, load)
    engine = Engine(repository, ImageLimits(), Pace(), 4, directory=directory)
    directory.open()
    try:
        with (
            serving_on_loop(engine) as (server, run),
            admin_port(engine, run, config, witness) as address,
            grpc.insecure_channel(server.address) as channel,
            grpc.insecure_channel(address) as admin_channel,
        ):
            yield Administered(
                models,
                load,
                engine,
                pb_grpc.AdminServiceStub(admin_channel),
                health_pb2_grpc.HealthStub(channel),
                address,
            )
    finally:
        engine.close()


@contextmanager
def admin_port(
    engine: Engine, run: Callable[..., object], config: ServeConfig, witness: Witness
) -> Iterator[str]:
    """The admin service of an engine, on the loop of a server; its address."""

    async def started() -> AdminServer:
        server = AdminServer(engine, config, AdminConfig(address="127.0.0.1:0"), witness)
        await server.start()
        return server

    server = run(started())
    assert isinstance(server, AdminServer)
    try:
        yield server.address
    finally:
        run(server.stop())
