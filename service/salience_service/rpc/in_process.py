"""The service without a network: the wire's messages, answered by an engine in this process."""

import time
from collections.abc import Generator

from salience.v1 import explanation_service_pb2 as pb
from salience_service.access.principal import ANONYMOUS
from salience_service.control import Control
from salience_service.rpc import answer
from salience_service.rpc.answer import Explainer


class InProcessTransport:
    """Answers as the server does; errors are those of `errors.py`, `status.code_of` numbers them.

    Args:
        engine: who answers; its owner closes it.
    """

    def __init__(self, engine: Explainer) -> None:
        self._engine = engine

    def explain(
        self, request: pb.ExplainRequest, timeout: float | None = None
    ) -> Generator[pb.ExplainResponse, None, None]:
        """Explains in the thread that iterates; closing the iterator stops the work.

        Args:
            request: what to explain.
            timeout: seconds from now until DeadlineExceeded, or None.

        Raises:
            SalienceError: from `next()`, for anything that ends the answer.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        return answer.explain(self._engine, request, Control(deadline))

    def list_models(self) -> pb.ListModelsResponse:
        """The models served."""
        return answer.list_models(self._engine, ANONYMOUS)

    def describe_model(self, request: pb.DescribeModelRequest) -> pb.DescribeModelResponse:
        """All of one model.

        Raises:
            NotFound: no such model or version.
        """
        return answer.describe_model(self._engine, request, ANONYMOUS)
