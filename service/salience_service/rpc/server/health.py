"""Health as strangers may see it: a status of the server, and of the models they may know of."""

import asyncio
from typing import Any

from grpc_health.v1 import health, health_pb2

from salience_service.rpc.calls.caller import current_caller

_NEVER_SET = "\0"
"""A name that has no status: what hidden names are asked as."""
_SERVING_STATUS = health_pb2.HealthCheckResponse


class Health(health.aio.HealthServicer):  # type: ignore[misc, name-defined]
    """gRPC's health service, which answers callers without a credential too.

    A model that does not exist for a caller has no status, as one that is not there. Names of
    services and the empty one, the server, are open to all: they hold a capital or nothing,
    and names of models hold none.

    gRPC's own watches write while they hold a lock that whoever sets a status needs: a stranger
    that reads nothing would keep the server from stopping. Here nobody waits for a reader.
    """

    def __init__(self) -> None:
        super().__init__()
        self._changed = asyncio.Event()
        self._watches = 0

    @property
    def is_watched(self) -> bool:
        """Whether anybody hears of changes as they come."""
        return self._watches > 0

    async def Check(  # noqa: N802
        self, request: health_pb2.HealthCheckRequest, context: Any
    ) -> health_pb2.HealthCheckResponse:
        """The status of a name; NOT_FOUND where it has none."""
        return await super().Check(_asked(request), context)

    async def Watch(self, request: health_pb2.HealthCheckRequest, context: Any) -> None:  # noqa: N802
        """The status of a name, and every change of it."""
        name, last = _asked(request).service, None
        self._watches += 1
        try:
            while True:
                changed = self._changed  # Before the status is read: no change is missed meanwhile.
                status = self._server_status.get(name, _SERVING_STATUS.SERVICE_UNKNOWN)
                if status != last:
                    await context.write(_SERVING_STATUS(status=status))
                last = status
                await changed.wait()
        finally:
            self._watches -= 1

    async def _set(self, service: str, status: Any) -> None:
        """What all statuses are set by; wakes the watches."""
        self._server_status[service] = status
        self._changed.set()
        self._changed = asyncio.Event()

    async def forget(self, name: str) -> None:
        """Drops the status of a name; who watches it hears SERVICE_UNKNOWN."""
        await self.set(name, _SERVING_STATUS.SERVICE_UNKNOWN)
        if not self._gracefully_shutting_down:
            self._server_status.pop(name, None)

    async def List(  # noqa: N802
        self, _: health_pb2.HealthListRequest, __: Any
    ) -> health_pb2.HealthListResponse:
        """The status of every name that exists for the caller."""
        visible = {name: status for name, status in self._server_status.items() if _is_told(name)}
        return health_pb2.HealthListResponse(
            statuses={name: _SERVING_STATUS(status=status) for name, status in visible.items()}
        )


def _asked(request: health_pb2.HealthCheckRequest) -> health_pb2.HealthCheckRequest:
    if _is_told(request.service):
        return request
    return health_pb2.HealthCheckRequest(service=_NEVER_SET)


def _is_told(name: str) -> bool:
    is_model = name != "" and name == name.lower()
    return not is_model or current_caller().may.sees(name)
