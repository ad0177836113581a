"""The gRPC service: each call runs on the engine, stops with its caller, and fails by the table."""

import asyncio
import time
from collections.abc import AsyncIterator
from functools import partial
from typing import Any, NoReturn

import grpc

from salience.v1 import explanation_service_pb2 as pb
from salience.v1 import explanation_service_pb2_grpc as pb_grpc
from salience_service.errors import Cancelled
from salience_service.rpc import answer
from salience_service.rpc.answer import Explainer
from salience_service.rpc.explanations import Explanations
from salience_service.rpc.many import ManyCall
from salience_service.rpc.status import grpc_status
from salience_service.rpc.unreadable import readable

Context = grpc.aio.ServicerContext[Any, Any]


class ExplanationServicer(pb_grpc.ExplanationServiceServicer):
    """Answers the four calls on the event loop; explanations run in threads of their own.

    Args:
        engine: who answers.
        explanations: where explanations run.
        window: requests of one ExplainMany call in flight, ≥ 1.
    """

    def __init__(self, engine: Explainer, explanations: Explanations, window: int) -> None:
        self._engine = engine
        self._explanations = explanations
        self._window = window

    async def Explain(self, request: pb.ExplainRequest, context: Context) -> None:  # noqa: N802
        """Explains one image; the answer streams."""
        # Writes instead of yields: gRPC closes no generator of a cancelled call.
        try:
            message = readable(request)
            async with self._explanations.run(message, _deadline(context)) as responses:
                async for response in responses:
                    await _write(context, response)
        except Exception as error:
            await _abort(context, error)

    async def ExplainMany(  # noqa: N802
        self, requests: AsyncIterator[pb.ExplainManyRequest], context: Context
    ) -> None:
        """Explains many images; answers come as they are ready, tagged."""
        write = partial(_write, context)
        call = ManyCall(self._explanations, write, self._window, _deadline(context))
        try:
            with self._explanations.call_of_many():
                try:
                    await call.answer(requests)
                except* Cancelled:
                    pass  # Nobody is left to be told.
        except Exception as error:
            await _abort(context, error)

    async def ListModels(  # noqa: N802
        self, _: pb.ListModelsRequest, context: Context
    ) -> pb.ListModelsResponse:
        """Lists the models served."""
        try:
            return answer.list_models(self._engine)
        except Exception as error:
            await _abort(context, error)

    async def DescribeModel(  # noqa: N802
        self, request: pb.DescribeModelRequest, context: Context
    ) -> pb.DescribeModelResponse:
        """Says all of one model; in a thread, for labels can be many."""
        try:
            return await asyncio.to_thread(answer.describe_model, self._engine, readable(request))
        except Exception as error:
            await _abort(context, error)


def _deadline(context: Context) -> float | None:
    """The caller's deadline in `time.monotonic()` seconds, or None."""
    remaining: float | None = context.time_remaining()
    return None if remaining is None else time.monotonic() + remaining


async def _write(context: Context, message: Any) -> None:
    """Sends a message; a call that ended meanwhile is the caller's doing, not our failure."""
    try:
        await context.write(message)
    except grpc.aio.BaseError as error:
        raise Cancelled("the caller went away") from error


async def _abort(context: Any, error: Exception) -> NoReturn:
    await context.abort_with_status(grpc_status(error))
    raise AssertionError("abort_with_status returned") from error
