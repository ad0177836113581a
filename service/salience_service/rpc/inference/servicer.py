"""The Open Inference Protocol's service: predictions beside explanations, on the same port."""

from functools import partial
from typing import Any

from salience.inference import grpc_service_pb2 as pb
from salience.inference import grpc_service_pb2_grpc as pb_grpc
from salience_service.rpc.answer import Explainer
from salience_service.rpc.calls.call import Context, abort, deadline_of
from salience_service.rpc.calls.caller import current_caller, request_id
from salience_service.rpc.calls.explanations import Explanations
from salience_service.rpc.inference import answer
from salience_service.rpc.inference.observation import InferenceObservation
from salience_service.telemetry.witness import NOBODY, Witness

CONTRACT = pb.DESCRIPTOR
SERVICE = CONTRACT.services_by_name["GRPCInferenceService"].full_name


class InferenceServicer(pb_grpc.GRPCInferenceServiceServicer):
    """Answers the six calls on the event loop; predictions run in the threads of explanations.

    Args:
        engine: who answers.
        explanations: where predictions run, and are counted as one explanation each.
        witness: is told of every prediction.
    """

    def __init__(
        self, engine: Explainer, explanations: Explanations, witness: Witness = NOBODY
    ) -> None:
        self._engine = engine
        self._explanations = explanations
        self._witness = witness

    async def ServerLive(  # noqa: N802
        self, _: pb.ServerLiveRequest, __: Context
    ) -> pb.ServerLiveResponse:
        """Whether the server runs: it answers."""
        return pb.ServerLiveResponse(live=True)

    async def ServerReady(  # noqa: N802
        self, _: pb.ServerReadyRequest, __: Context
    ) -> pb.ServerReadyResponse:
        """Whether any model answers."""
        return answer.server_ready(self._engine)

    async def ModelReady(  # noqa: N802
        self, request: pb.ModelReadyRequest, _: Context
    ) -> pb.ModelReadyResponse:
        """Whether one model answers."""
        return answer.model_ready(self._engine, request, current_caller())

    async def ServerMetadata(  # noqa: N802
        self, _: pb.ServerMetadataRequest, __: Context
    ) -> pb.ServerMetadataResponse:
        """What the server is."""
        return answer.server_metadata()

    async def ModelMetadata(  # noqa: N802
        self, request: pb.ModelMetadataRequest, _: Context
    ) -> pb.ModelMetadataResponse:
        """What a model takes and puts out."""
        return answer.model_metadata(self._engine, request, current_caller())

    async def ModelInfer(  # noqa: N802
        self, request: pb.ModelInferRequest, context: Context
    ) -> pb.ModelInferResponse:
        """Predicts for a batch; rows of callers who went away, or came too late, do not run."""
        caller = current_caller()
        observation = InferenceObservation(self._witness, caller.name, request_id())
        try:
            with observation.until_the_end():
                answer.permit(request, caller)
                work = partial(answer.infer, self._engine, request, observation.answered)
                return await self._explanations.once(work, deadline_of(context))
        except Exception as error:  # Its record tells of it; the interceptor would once more.
            await abort(context, error)


def add_to_server(servicer: InferenceServicer, server: Any) -> None:
    """Lets a gRPC server answer with it; before the server starts."""
    pb_grpc.add_GRPCInferenceServiceServicer_to_server(servicer, server)  # type: ignore[no-untyped-call]
