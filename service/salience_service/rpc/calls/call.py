"""A call as gRPC has it: how long its caller waits, and how it ends with an error."""

import asyncio
import time
from typing import Any, NoReturn

import grpc

from salience_service.rpc.wire.status import grpc_status

Context = grpc.aio.ServicerContext[Any, Any]


def deadline_of(context: Context) -> float | None:
    """The caller's deadline in `time.monotonic()` seconds, or None."""
    remaining: float | None = context.time_remaining()
    return None if remaining is None else time.monotonic() + remaining


def heard(done: asyncio.Future[Any]) -> None:
    """To be called when it is done: an error that nobody waits for any more is no news."""
    if not done.cancelled():
        done.exception()


async def abort(context: Any, error: Exception) -> NoReturn:
    """Ends the call with the status of an error."""
    await context.abort_with_status(grpc_status(error))
    raise AssertionError("abort_with_status returned") from error
