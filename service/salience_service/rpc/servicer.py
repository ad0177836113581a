"""The gRPC service: each call runs on the engine and stops with its caller.

What a call raises is told by the table of statuses, by the interceptor of `authentication.py`.
"""

import asyncio
from collections.abc import AsyncIterator

from salience.v1 import explanation_service_pb2 as pb
from salience.v1 import explanation_service_pb2_grpc as pb_grpc
from salience_service.errors import Cancelled, DeadlineExceeded
from salience_service.rpc import answer
from salience_service.rpc.answer import Explainer
from salience_service.rpc.calls.call import Context, deadline_of
from salience_service.rpc.calls.caller import current_caller
from salience_service.rpc.calls.explanations import Explanations
from salience_service.rpc.calls.many import ManyCall
from salience_service.rpc.calls.outlet import Outlet


class ExplanationServicer(pb_grpc.ExplanationServiceServicer):
    """Answers the four calls on the event loop; explanations run in threads of their own.

    Args:
        engine: who answers.
        explanations: where explanations run.
        window: requests of one ExplainMany call in flight, ≥ 1.
        patience: seconds that a caller may take to read one message of an answer.
    """

    def __init__(
        self,
        engine: Explainer,
        explanations: Explanations,
        window: int,
        patience: float | None = None,
    ) -> None:
        self._engine = engine
        self._explanations = explanations
        self._window = window
        self._patience = patience

    async def Explain(self, request: pb.ExplainRequest, context: Context) -> None:  # noqa: N802
        """Explains one image; the answer streams."""
        # Writes instead of yields: gRPC closes no generator of a cancelled call.
        outlet = Outlet(context, self._patience)
        try:
            async with self._explanations.run(request, deadline_of(context)) as responses:
                async for response in responses:
                    await outlet.send(response)
        except Exception as error:
            if outlet.given_up:  # The call lasts until it is read; what it asked need not.
                request.Clear()
            await outlet.abort(error)

    async def ExplainMany(  # noqa: N802
        self, requests: AsyncIterator[pb.ExplainManyRequest], context: Context
    ) -> None:
        """Explains many images; answers come as they are ready, tagged."""
        outlet = Outlet(context, self._patience)
        call = ManyCall(self._explanations, outlet.send, self._window, deadline_of(context))
        try:
            with self._explanations.call_of_many():
                try:
                    await call.answer(requests)
                except* (Cancelled, DeadlineExceeded):
                    pass  # Nobody is left to be told, or one thing once.
            outlet.check_read()
        except Exception as error:
            await outlet.abort(error)

    async def ListModels(  # noqa: N802
        self, _: pb.ListModelsRequest, __: Context
    ) -> pb.ListModelsResponse:
        """Lists the models served."""
        return answer.list_models(self._engine, current_caller())

    async def DescribeModel(  # noqa: N802
        self, request: pb.DescribeModelRequest, _: Context
    ) -> pb.DescribeModelResponse:
        """Says all of one model; in a thread, for labels can be many."""
        caller = current_caller()
        return await asyncio.to_thread(answer.describe_model, self._engine, request, caller)
