"""The Open Inference Protocol's answers: who is told of which model, and by which field."""

import pytest

from salience.inference import grpc_service_pb2 as pb
from salience_service.access.principal import ANONYMOUS, Call, Permissions, Principal
from salience_service.errors import NotFound
from salience_service.rpc.inference.answer import model_metadata, model_ready, permit
from tests.support.serving import FakeEngine, plain

WARD = Principal("ward", Permissions(("tin*",), ("*",), frozenset({Call.INFER})))
ENGINE = FakeEngine({"tiny": plain, "hidden": plain})


@pytest.mark.parametrize(
    ("caller", "name", "ready"),
    [
        (WARD, "tiny", True),
        (WARD, "hidden", False),
        (WARD, "absent", False),
        (ANONYMOUS, "hidden", True),
    ],
)
def test_a_model_that_does_not_exist_for_a_caller_is_not_ready(
    caller: Principal, name: str, ready: bool
) -> None:
    assert model_ready(ENGINE, pb.ModelReadyRequest(name=name), caller).ready is ready


def test_a_hidden_model_is_told_of_in_the_words_of_one_that_is_not_there() -> None:
    told = []
    for name in ("hidden", "absent"):
        with pytest.raises(NotFound) as refused:
            model_metadata(ENGINE, pb.ModelMetadataRequest(name=name), WARD)
        told.append((str(refused.value).replace(name, "NAME"), refused.value.field))
    assert told[0] == told[1]
    assert told[0][1] == "name"
    assert model_metadata(ENGINE, pb.ModelMetadataRequest(name="hidden"), ANONYMOUS).name


def test_a_prediction_of_a_hidden_model_is_refused_by_its_own_field() -> None:
    permit(pb.ModelInferRequest(model_name="tiny"), WARD)
    with pytest.raises(NotFound) as refused:
        permit(pb.ModelInferRequest(model_name="hidden"), WARD)
    assert refused.value.field == "model_name"
