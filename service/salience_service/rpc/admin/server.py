"""The admin service's own port, beside the server's."""

import logging

import grpc
from grpc_health.v1 import health_pb2

from salience.v1 import admin_service_pb2_grpc as pb_grpc
from salience_service.access.gate import gate_of
from salience_service.access.principal import Call, Permissions, Principal
from salience_service.access.turnstile import Turnstile
from salience_service.config import ServeConfig
from salience_service.config.admin import AdminConfig
from salience_service.rpc.admin.administered import Administered
from salience_service.rpc.admin.servicer import SERVICE, AdminServicer
from salience_service.rpc.calls.authentication import Authentication
from salience_service.rpc.calls.exchange import Patience
from salience_service.rpc.calls.open_calls import OpenCalls
from salience_service.rpc.server.common_services import add_common_services
from salience_service.rpc.server.health import Health
from salience_service.rpc.server.options import server_options
from salience_service.rpc.server.port import bind
from salience_service.rpc.wire.field_count import CountFields
from salience_service.telemetry.witness import NOBODY, Witness

MOST_CALLS = 64
"""At a time, of all callers together; most wait for a version to be loaded."""
MOST_OPEN, MOST_OPEN_EACH = 32, 16
"""Health calls among them, in all and of one address: strangers shut no administrator out."""
MOST_CALLS_EACH = 16
"""Of one known caller: who may but describe shuts no administrator out either."""
LOCAL = Principal("local", Permissions(("*",), ("*",), frozenset({Call.ADMIN, Call.DESCRIBE})))
"""Every caller, where no identity is configured: the port is then this machine's alone."""
_log = logging.getLogger(__name__)


class AdminServer:
    """The admin service on its port. Made on the event loop.

    Args:
        engine: whose models.
        config: of the server; its `[tls]` and `[access]` guard this port too.
        admin: the address.
        witness: is told what is done, and what is refused.

    Raises:
        ConfigRefused: the address cannot be bound, or a file of `[tls]` or `[access]` be used.
    """

    def __init__(
        self,
        engine: Administered,
        config: ServeConfig,
        admin: AdminConfig,
        witness: Witness = NOBODY,
    ) -> None:
        self._health, connections = Health(), config.connections
        self._server = grpc.aio.server(
            interceptors=[
                Authentication(
                    gate_of(config.access, LOCAL),
                    witness,
                    Turnstile("calls", MOST_CALLS - MOST_OPEN, MOST_CALLS_EACH),
                    Patience(connections.slow_sender_seconds, connections.slow_reader_seconds),
                    OpenCalls(Turnstile("health calls", MOST_OPEN, MOST_OPEN_EACH)),
                ),
                CountFields(),
            ],
            options=server_options(config),
            maximum_concurrent_rpcs=MOST_CALLS,
        )
        pb_grpc.add_AdminServiceServicer_to_server(AdminServicer(engine, witness), self._server)  # type: ignore[no-untyped-call]
        add_common_services(self._server, self._health, (SERVICE,), config.reflection)
        self.address = bind(self._server, admin.address, config.tls)

    async def start(self) -> None:
        """Answers from here on."""
        await self._health.set(SERVICE, health_pb2.HealthCheckResponse.SERVING)
        await self._server.start()
        _log.info("the admin service listens on %s", self.address)

    async def stop(self) -> None:
        """Ends at once: what was loading goes on, and nobody waits for it."""
        await self._health.enter_graceful_shutdown()
        await self._server.stop(None)
