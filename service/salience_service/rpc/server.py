"""The server: grpc.aio with the service, health and reflection, from bind to graceful stop."""

import asyncio
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from salience.v1 import explanation_service_pb2 as pb
from salience.v1 import explanation_service_pb2_grpc as pb_grpc
from salience_service.config import ServeConfig
from salience_service.engine import Engine
from salience_service.errors import ConfigRefused
from salience_service.rpc.answer import Explainer
from salience_service.rpc.descriptions import DescribedModel
from salience_service.rpc.explanations import Explanations
from salience_service.rpc.servicer import ExplanationServicer
from salience_service.rpc.unreadable import KeepUnreadable

SERVICE = pb.DESCRIPTOR.services_by_name["ExplanationService"].full_name
Announce = Callable[[str, Sequence[DescribedModel]], None]

_SPARE_CALLS = 64
"""Calls beside the explanations: health, reflection, models."""
_LAST_WORDS_SECONDS = 1.0
"""For final statuses on their way when the last explanation ends."""


class Server:
    """A server around a warm engine, which its owner closes. Made on the event loop.

    Args:
        engine: who answers; warm.
        config: address and limits.

    Raises:
        ConfigRefused: the address cannot be bound.
    """

    def __init__(self, engine: Explainer, config: ServeConfig) -> None:
        self._engine = engine
        self._drain_seconds = config.drain_seconds
        self._explanations = Explanations(engine, config.max_explanations)
        self._health = health.aio.HealthServicer()  # type: ignore[attr-defined]
        self._server = grpc.aio.server(
            interceptors=[KeepUnreadable(SERVICE)],
            options=_options(config),
            maximum_concurrent_rpcs=config.max_explanations + _SPARE_CALLS,
        )
        self._register(config)
        self.address = self._bind(config.address)

    async def start(self) -> None:
        """Answers from here on, and says SERVING: for the server, the service and each model."""
        models = (model.name for model in self._engine.models())
        for name in ("", SERVICE, *models):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        await self._server.start()

    async def stop(self) -> None:
        """Says NOT_SERVING, takes no more calls, and lets running explanations end.

        Those that take longer than the drain time are cancelled.
        """
        await self._health.enter_graceful_shutdown()
        async with asyncio.TaskGroup() as group:
            draining = group.create_task(self._server.stop(self._drain_seconds))
            idle = group.create_task(self._explanations.idle())
            await asyncio.wait({draining, idle}, return_when=asyncio.FIRST_COMPLETED)
            idle.cancel()
            # Health watches have no end of their own: nobody waits for them. The draining ends
            # with this; cancelled, it would cancel gRPC's own shutdown.
            await self._server.stop(min(_LAST_WORDS_SECONDS, self._drain_seconds))
        await self._explanations.close()

    def _register(self, config: ServeConfig) -> None:
        servicer = ExplanationServicer(
            self._engine, self._explanations, config.max_in_flight_per_call
        )
        pb_grpc.add_ExplanationServiceServicer_to_server(servicer, self._server)  # type: ignore[no-untyped-call]
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        if config.reflection:
            health_name = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
            names = (SERVICE, health_name, reflection.SERVICE_NAME)
            reflection.enable_server_reflection(names, self._server)

    def _bind(self, address: str) -> str:
        host = address.rpartition(":")[0]
        try:
            return f"{host}:{self._server.add_insecure_port(address)}"
        except RuntimeError as error:
            raise ConfigRefused(
                f"cannot listen on {address}: the port is taken or the host is not this machine's"
            ) from error


def serve(config: ServeConfig, models: Path, announce: Announce) -> None:
    """Opens and warms every bundle, serves until SIGTERM or SIGINT, then stops gracefully.

    Args:
        config: address, provider and limits.
        models: the directory of bundles.
        announce: called once with the address and the models, when both can be used.

    Raises:
        BundleRefused: no bundle can be served.
        ConfigRefused: the address cannot be bound.
    """
    engine = Engine.open(models, config)
    try:
        asyncio.run(run_until_told(engine, config, announce))
    finally:
        engine.close()


async def run_until_told(engine: Explainer, config: ServeConfig, announce: Announce) -> None:
    """Serves a warm engine until SIGTERM or SIGINT, then stops gracefully."""
    told_to_stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told_to_stop.set)
    server = Server(engine, config)
    await server.start()
    announce(server.address, engine.models())
    await told_to_stop.wait()
    await server.stop()


def _options(config: ServeConfig) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", config.max_message_bytes),
        # Our messages are at most a chunk of 1 MiB and its head, a description apart.
        ("grpc.max_send_message_length", -1),
        # Linux would let a second server share the port without a word.
        ("grpc.so_reuseport", 0),
        # Finds callers that vanished, so that their explanations end.
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        # Callers may ping as often as every 10 s, also while nothing runs.
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
    ]
