"""The service in this process: an engine behind the same seam, with no network between.

The service is imported when it is first called for, never with the client.
"""

from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

from salience.v1.explanation_service_pb2 import (
    DescribeModelRequest,
    DescribeModelResponse,
    ExplainManyRequest,
    ExplainManyResponse,
    ExplainRequest,
    ExplainResponse,
    ListModelsRequest,
    ListModelsResponse,
)
from salience_client.errors import (
    CLOSED,
    Cancelled,
    SalienceError,
    error_of_message,
    message_of_error,
)
from salience_client.extras import require
from salience_client.retries import Deadline

_FOR = "calling the service in this process"


def open_in_process(models: str | PathLike[str], **config: object) -> "InProcess":
    """A transport for `Client` to an engine that serves the bundles in a directory.

    Args:
        models: the directory; each bundle in it is opened, checked and warmed here.
        **config: keys of the server's configuration, such as `threads=4`. Unless `bundles` says
            otherwise, unsigned bundles are opened: they are one's own, in one's own process.

    Raises:
        MissingExtra: the service is not installed.
        SalienceError: no bundle can be opened, or the configuration is wrong.
    """
    engines = require("salience_service.engine", "service", "explaining in this process")
    configs = require("salience_service.config", "service", "explaining in this process")
    config = {"bundles": {"unsigned": "allow"}, **config}
    with translated():
        return InProcess(engines.Engine.open(Path(models), configs.read_config(**config)))


class InProcess:
    """Carries messages to an engine in this process; owns the engine.

    Args:
        engine: a `salience_service.engine.Engine`.
    """

    def __init__(self, engine: Any) -> None:
        from salience_service.rpc.in_process import InProcessTransport

        self._engine = engine
        self._closed = False
        self._answers = InProcessTransport(engine)

    def explain(self, request: ExplainRequest, timeout: float | None) -> Generator[ExplainResponse]:
        """The work begins when the first message is read, in the thread that reads."""
        with self._translated():
            yield from self._answers.explain(request, timeout)

    def explain_many(
        self, requests: Iterable[ExplainManyRequest], timeout: float | None
    ) -> Generator[ExplainManyResponse]:
        """One request after the other; `timeout` is of all, and `requests` ends in it too."""
        deadline = Deadline(timeout)
        for request in requests:
            try:
                for response in self.explain(request.request, deadline.remaining()):
                    yield ExplainManyResponse(tag=request.tag, response=response)
            except SalienceError as error:
                if self._closed or deadline.remaining() == 0:  # As the call to a server ends.
                    raise
                yield ExplainManyResponse(tag=request.tag, error=message_of_error(error))

    def list_models(self, request: ListModelsRequest, timeout: float | None) -> ListModelsResponse:  # noqa: ARG002
        """Lists the models served; takes no time worth a deadline."""
        with self._translated():
            return self._answers.list_models()

    def describe_model(
        self,
        request: DescribeModelRequest,
        timeout: float | None,  # noqa: ARG002
    ) -> DescribeModelResponse:
        """Says all of one model; takes no time worth a deadline."""
        with self._translated():
            return self._answers.describe_model(request)

    def close(self) -> None:
        """Ends running explanations and the lanes."""
        self._closed = True
        self._engine.close()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """As `translated`; an engine that was closed says that it stops, or has no such model."""
        if self._closed:
            raise Cancelled(CLOSED)
        try:
            with translated():
                yield
        except SalienceError as error:
            if self._closed:
                raise Cancelled(CLOSED) from error
            raise


@contextmanager
def translated() -> Iterator[None]:
    """The service's errors become the client's; for code that calls the service itself."""
    errors = require("salience_service.errors", "service", _FOR)
    status = require("salience_service.rpc.wire.status", "service", _FOR)
    try:
        yield
    except errors.SalienceError as error:
        told = status.request_error_of(error)
        told.message = str(error)  # Whole: no header bounds it here.
        raise error_of_message(told) from error
