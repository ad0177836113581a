"""The outlet of a call: what is said to its caller, who must read it in time."""

import asyncio
from typing import Any

import grpc

from salience_service.errors import Cancelled, DeadlineExceeded, anew
from salience_service.rpc.calls.call import abort


class Outlet:
    """Sends the messages of one call, one at a time.

    gRPC takes a message when the caller has left room for the one before. So whoever reads
    nothing holds one message there and a few more that wait, until the time is over; then their
    explanation ends, and only gRPC's message is left, to the end of the connection.

    Args:
        context: of the call. seconds: that one message may take; None = any time.
    """

    def __init__(self, context: Any, seconds: float | None) -> None:
        self._context, self._seconds = context, seconds
        self._not_read: DeadlineExceeded | None = None

    async def send(self, message: Any) -> None:
        """Sends a message.

        Raises:
            Cancelled: the call ended meanwhile; that is the caller's doing, not our failure.
            DeadlineExceeded: the caller did not read it in time, or one before it.
        """
        self.check_read()
        try:
            async with asyncio.timeout(self._seconds):
                await self._context.write(message)
        except grpc.aio.BaseError as error:
            raise Cancelled("the caller went away") from error
        except TimeoutError as error:
            self._not_read = DeadlineExceeded(
                f"a message of the answer was not read within {self._seconds:g} s, the limit: "
                "read answers as they come"
            )
            raise anew(self._not_read) from error

    async def abort(self, error: Exception) -> None:
        """Ends the call with the status of an error, which waits behind what is not read yet."""
        try:
            await abort(self._context, error)
        except grpc.aio.AbortError:
            raise
        except grpc.aio.BaseError:
            pass  # They left without reading it.

    @property
    def given_up(self) -> bool:
        """Whether a message was not read in time."""
        return self._not_read is not None

    def check_read(self) -> None:
        """Raises DeadlineExceeded where a message was not read in time."""
        if self._not_read:
            raise anew(self._not_read)
