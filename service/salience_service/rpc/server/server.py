"""The server: grpc.aio with the service, health and reflection, from bind to graceful stop."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import grpc
from google.protobuf.descriptor import FileDescriptor
from grpc_health.v1 import health_pb2

from salience.v1 import explanation_service_pb2 as pb
from salience.v1 import explanation_service_pb2_grpc as pb_grpc
from salience_service.access.gate import gate_of
from salience_service.access.quotas import Quotas
from salience_service.access.turnstile import Turnstile
from salience_service.config import ServeConfig
from salience_service.errors import SalienceError
from salience_service.rpc.answer import Explainer
from salience_service.rpc.calls.authentication import Authentication, Traced, untraced
from salience_service.rpc.calls.door import Door, RefuseAtDoor
from salience_service.rpc.calls.exchange import Patience
from salience_service.rpc.calls.explanations import Explanations
from salience_service.rpc.calls.open_calls import OpenCalls
from salience_service.rpc.inference import servicer as inference
from salience_service.rpc.server.common_services import add_common_services
from salience_service.rpc.server.departure import Departure
from salience_service.rpc.server.health import Health
from salience_service.rpc.server.model_health import ModelHealth
from salience_service.rpc.server.options import (
    MOST_OPEN,
    MOST_OPEN_EACH,
    most_calls,
    server_options,
)
from salience_service.rpc.server.port import bind
from salience_service.rpc.servicer import ExplanationServicer
from salience_service.rpc.wire.field_count import CountFields
from salience_service.telemetry.witness import NOBODY, Witness

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

SERVICE = pb.DESCRIPTOR.services_by_name["ExplanationService"].full_name


class Server:
    """A server around a warm engine, which its owner closes. Made on the event loop.

    Args:
        engine: who answers; warm.
        config: address and limits.
        witness: is told what happens (`telemetry/witness.py`).
        tracer: makes spans of calls; None = there are none.

    Raises:
        ConfigRefused: the address cannot be bound, or a file of `[tls]` or `[access]` be used.
    """

    def __init__(
        self,
        engine: Explainer,
        config: ServeConfig,
        witness: Witness = NOBODY,
        tracer: "Tracer | None" = None,
    ) -> None:
        self._engine = engine
        door, connections = Door(), config.connections
        each = config.max_running_per_client
        calls = Turnstile("calls", connections.max_calls, each)
        self._explanations = Explanations(
            engine, config.max_explanations, witness, door, each, Quotas(config.quotas)
        )
        self._health = Health()
        self._model_health = ModelHealth(self._health, engine)
        self._server = grpc.aio.server(
            interceptors=[
                Authentication(
                    gate_of(config.access),
                    witness,
                    calls,
                    Patience(connections.slow_sender_seconds, connections.slow_reader_seconds),
                    OpenCalls(Turnstile("health calls", MOST_OPEN, MOST_OPEN_EACH)),
                    _traced(tracer),
                ),
                RefuseAtDoor(door),
                CountFields(),
            ],
            options=server_options(config),
            maximum_concurrent_rpcs=most_calls(config),
        )
        self._departure = Departure(
            self._health, door, self._explanations, self._server, config.drain_seconds
        )
        self._register(config, witness)
        self.address = bind(self._server, config.address, config.tls)

    async def start(self) -> None:
        """Answers from here on, and says SERVING: for the server, the service and each model."""
        for name in ("", SERVICE, inference.SERVICE):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        await self._model_health.begin()
        await self._server.start()

    async def stop(self) -> None:
        """Says NOT_SERVING, takes no more calls, and lets running explanations end.

        Those that take longer than the drain time are ended with UNAVAILABLE.
        """
        await self._model_health.end()
        await self._departure.in_peace()
        await self._explanations.close()

    async def abandon(self, because: SalienceError) -> None:
        """Says NOT_SERVING, tells everyone who waits why, and takes no more calls."""
        await self._model_health.end()
        await self._departure.at_once(because)

    def _register(self, config: ServeConfig, witness: Witness) -> None:
        servicer = ExplanationServicer(
            self._engine,
            self._explanations,
            config.max_in_flight_per_call,
            config.connections.slow_reader_seconds,
        )
        pb_grpc.add_ExplanationServiceServicer_to_server(servicer, self._server)  # type: ignore[no-untyped-call]
        predicting = inference.InferenceServicer(self._engine, self._explanations, witness)
        inference.add_to_server(predicting, self._server)
        services = (SERVICE, inference.SERVICE)
        add_common_services(self._server, self._health, services, config.reflection)


def _traced(tracer: "Tracer | None") -> Traced:
    if tracer is None:
        return untraced
    from salience_service.rpc.calls.tracing import CallSpans  # OpenTelemetry may not be installed.

    names = [*_full_names(pb.DESCRIPTOR), *_full_names(inference.CONTRACT)]
    return CallSpans(tracer, names).traced


def _full_names(file: FileDescriptor) -> Iterator[str]:
    """SERVICE/METHOD of all that a contract knows."""
    for service in file.services_by_name.values():
        yield from (f"{service.full_name}/{method.name}" for method in service.methods)
