"""One request message in, its answer's messages out: what every transport shares."""

from collections.abc import Generator, Sequence
from contextlib import closing
from typing import Protocol

from salience.v1 import explanation_service_pb2 as pb
from salience_service.control import Control
from salience_service.events import Event
from salience_service.request import ExplainOrder
from salience_service.rpc.descriptions import DescribedModel, model_description, model_summary
from salience_service.rpc.requests import order_of
from salience_service.rpc.responses import responses_of
from salience_service.rpc.wording import at_most_long, stated


class Explainer(Protocol):
    """What the wire needs of the engine."""

    def models(self) -> Sequence[DescribedModel]:
        """Every version of every model."""
        ...

    def model(self, name: str, version: str = "") -> DescribedModel:
        """The model of that name; the newest version where none is named."""
        ...

    def explain(self, order: ExplainOrder, control: Control) -> Generator[Event, None, None]:
        """Explains one image in the thread that iterates."""
        ...


def explain(
    engine: Explainer, request: pb.ExplainRequest, control: Control
) -> Generator[pb.ExplainResponse, None, None]:
    """Explains in the thread that iterates; closing the iterator stops the work.

    Raises:
        SalienceError: from `next()`, for anything that ends the answer.
    """
    try:
        with closing(engine.explain(order_of(request), control)) as events:
            for event in events:
                yield from responses_of(event)
    finally:
        control.cancel()


def list_models(engine: Explainer) -> pb.ListModelsResponse:
    """The models served, one entry a version."""
    return pb.ListModelsResponse(
        models=[model_summary(model, _is_default(engine, model)) for model in engine.models()]
    )


def describe_model(engine: Explainer, request: pb.DescribeModelRequest) -> pb.DescribeModelResponse:
    """All of one model.

    Raises:
        InvalidRequest: no model named.
        NotFound: no such model or version.
    """
    name = stated(request.model, "the model's name")
    model = engine.model(name, at_most_long(request.version, "the model's version"))
    return model_description(model, _is_default(engine, model))


def _is_default(engine: Explainer, model: DescribedModel) -> bool:
    """Whether this version answers when none is named."""
    return engine.model(model.name) is model
