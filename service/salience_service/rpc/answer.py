"""One request message in, its answer's messages out: what every transport shares."""

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from typing import Protocol

from salience.v1 import explanation_service_pb2 as pb
from salience_service.access.permits import permit_model
from salience_service.access.principal import Principal
from salience_service.control import Control
from salience_service.errors import NotFound, Unavailable
from salience_service.events import Event
from salience_service.field_path import read
from salience_service.inference.order import InferOrder, Inferred
from salience_service.request import ExplainOrder
from salience_service.rpc.calls.observation import Observation
from salience_service.rpc.wire.descriptions import DescribedModel, model_description, model_summary
from salience_service.rpc.wire.gathering import gathered
from salience_service.rpc.wire.requests import order_of
from salience_service.rpc.wire.responses import responses_of
from salience_service.rpc.wire.wording import at_most_long, stated


class Explainer(Protocol):
    """What the wire needs of the engine."""

    def models(self) -> Sequence[DescribedModel]:
        """Every version of every model."""
        ...

    def model(self, name: str, version: str = "") -> DescribedModel:
        """The model of that name; where no version is named, the one that answers then."""
        ...

    def ready(self) -> Mapping[str, bool]:
        """Every model that is known, and whether it answers requests."""
        ...

    def on_change(self, listener: Callable[[], None], /) -> Callable[[], None]:
        """Calls `listener` whenever `ready` may be another; what is returned ends that."""
        ...

    def explain(self, order: ExplainOrder, control: Control) -> Generator[Event, None, None]:
        """Explains one image in the thread that iterates."""
        ...

    def infer(self, order: InferOrder, control: Control) -> Inferred:
        """Predicts for a batch in the calling thread."""
        ...


def explain(
    engine: Explainer,
    request: pb.ExplainRequest,
    control: Control,
    observation: Observation | None = None,
) -> Generator[pb.ExplainResponse, None, None]:
    """Explains in the thread that iterates; closing the iterator stops the work.

    Raises:
        SalienceError: from `next()`, for anything that ends the answer.
    """
    messages = _messages(engine, request, control, observation or Observation())
    with closing(messages):
        yield from gathered(messages) if request.gather else messages


def _messages(
    engine: Explainer, request: pb.ExplainRequest, control: Control, observed: Observation
) -> Generator[pb.ExplainResponse, None, None]:
    try:
        with observed.until_the_end(control):
            order = order_of(request)
            observed.asked(order)
            with closing(engine.explain(order, control)) as events:
                for event in events:
                    observed.said(event, control)
                    yield from responses_of(event)
    finally:
        control.cancel()


def list_models(engine: Explainer, caller: Principal) -> pb.ListModelsResponse:
    """The models served that exist for the caller, one entry a version."""
    visible = [model for model in engine.models() if caller.may.sees(model.name)]
    return pb.ListModelsResponse(
        models=[model_summary(model, _is_default(engine, model)) for model in visible]
    )


def describe_model(
    engine: Explainer, request: pb.DescribeModelRequest, caller: Principal
) -> pb.DescribeModelResponse:
    """All of one model; methods that the caller may not ask for are told as not available.

    Raises:
        InvalidRequest: no model named.
        NotFound: no such model or version, or not for this caller.
    """
    permit_model(caller, request.model)
    name = read("model", stated, request.model, "the model's name")
    version = read("version", at_most_long, request.version, "the model's version")
    model = engine.model(name, version)
    description = model_description(model, _is_default(engine, model))
    for method in description.methods:
        if not caller.may.has_method(method.name):
            method.available = False
            method.unavailable_reason = f"{caller.name} may not ask for it"
    return description


def _is_default(engine: Explainer, model: DescribedModel) -> bool:
    """Whether this version answers when none is named."""
    try:
        return engine.model(model.name) is model
    except (NotFound, Unavailable):  # All were retired meanwhile, or the one that does has failed.
        return False
