"""One message of the Open Inference Protocol in, its answer out: what its calls are made of."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from salience.inference import grpc_service_pb2 as pb
from salience_service.access.permits import permit_model
from salience_service.access.principal import Principal
from salience_service.control import Control
from salience_service.errors import NotFound, Unavailable
from salience_service.field_path import read
from salience_service.inference.order import Inferred
from salience_service.rpc.answer import Explainer
from salience_service.rpc.inference.metadata import metadata_of
from salience_service.rpc.inference.requests import order_of, sent_raw
from salience_service.rpc.inference.responses import response_of
from salience_service.rpc.wire.wording import at_most_long, stated
from salience_service.version import SOFTWARE_VERSION

SERVER_NAME = "salience"


def infer(
    engine: Explainer,
    request: pb.ModelInferRequest,
    tell: Callable[[Inferred], None],
    control: Control,
) -> pb.ModelInferResponse:
    """Predicts in the calling thread; `tell` hears what the response says, before it goes out.

    Raises:
        SalienceError: for anything that ends it, also of `tell`.
    """
    with _by("model_name", "model_version"):
        inferred = engine.infer(order_of(request), control)
    response = response_of(inferred, request.id, sent_raw(request))
    tell(inferred)
    return response


def permit(request: pb.ModelInferRequest, caller: Principal) -> None:
    """Lets pass who may know of the model.

    Raises:
        NotFound: it may not.
    """
    with _by("model_name", "model_version"):
        permit_model(caller, request.model_name)


def model_ready(
    engine: Explainer, request: pb.ModelReadyRequest, caller: Principal
) -> pb.ModelReadyResponse:
    """Whether a model answers; one that does not exist for the caller does not.

    Raises:
        InvalidRequest: no model named.
    """
    name, version = _model_of(request)
    ready = caller.may.sees(name) and _is_ready(engine, name, version)
    return pb.ModelReadyResponse(ready=ready)


def server_ready(engine: Explainer) -> pb.ServerReadyResponse:
    """Whether any model answers."""
    return pb.ServerReadyResponse(ready=any(engine.ready().values()))


def server_metadata() -> pb.ServerMetadataResponse:
    """What the server is; it speaks no extension."""
    return pb.ServerMetadataResponse(name=SERVER_NAME, version=SOFTWARE_VERSION)


def model_metadata(
    engine: Explainer, request: pb.ModelMetadataRequest, caller: Principal
) -> pb.ModelMetadataResponse:
    """What a model takes and puts out.

    Raises:
        InvalidRequest: no model named.
        NotFound: no such model or version, or not for this caller.
    """
    name, version = _model_of(request)
    with _by("name", "version"):
        permit_model(caller, name)
        model = engine.model(name, version)
    return metadata_of(model, [each.version for each in engine.models() if each.name == name])


def _model_of(request: pb.ModelReadyRequest | pb.ModelMetadataRequest) -> tuple[str, str]:
    name = read("name", stated, request.name, "the model's name")
    return name, read("version", at_most_long, request.version, "the model's version")


def _is_ready(engine: Explainer, name: str, version: str) -> bool:
    """Whether it answers; also a model that is loaded when it is first asked for."""
    if not version:
        return engine.ready().get(name, False)
    try:
        engine.model(name, version)
    except (NotFound, Unavailable):
        return False
    return True


@contextmanager
def _by(model: str, version: str) -> Iterator[None]:
    """Gives the fields that name a model, in a refusal that leaves the block, their names here."""
    try:
        yield
    except NotFound as refusal:
        refusal.field = {"model": model, "version": version}.get(refusal.field, refusal.field)
        raise
