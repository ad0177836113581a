"""What every port of ours answers besides its own services: health, and reflection if wanted."""

from collections.abc import Iterable

import grpc
from grpc_health.v1 import health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from salience_service.rpc.calls.rights import HEALTH
from salience_service.rpc.server.health import Health


def add_common_services(
    server: grpc.aio.Server, health: Health, services: Iterable[str], reflected: bool
) -> None:
    """Registers them with a server not yet started.

    Args:
        server: of grpc.aio.
        health: of this port.
        services: full names of its own services.
        reflected: whether reflection lists them.
    """
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    if reflected:
        names = (*services, HEALTH, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, server)
