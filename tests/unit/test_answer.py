"""What the calls that list models say while one of them is out of service."""

from salience.inference import grpc_service_pb2 as inference
from salience.v1 import explanation_service_pb2 as pb
from salience_service.access.principal import ANONYMOUS
from salience_service.errors import Unavailable
from salience_service.rpc import answer
from salience_service.rpc.inference.answer import model_ready
from tests.support.serving import FakeEngine, FakeModel, plain


class OfAFailedPin(FakeEngine):
    """Its default version has failed; the one that is named serves."""

    def model(self, name: str, version: str = "") -> FakeModel:
        if name == "pinned" and not version:
            raise Unavailable("model pinned failed on the device: try again later")
        return super().model(name, version)


class Failed(FakeEngine):
    """Its only version has failed."""

    def model(self, name: str, version: str = "") -> FakeModel:
        raise Unavailable(f"model {name} failed on the device: try again later")


def test_models_are_listed_and_described_while_the_default_version_of_one_has_failed() -> None:
    engine = OfAFailedPin({"pinned": plain, "sound": plain})
    told = answer.list_models(engine, ANONYMOUS).models
    assert {(each.name, each.is_default) for each in told} == {("pinned", False), ("sound", True)}
    (version,) = {each.version for each in told if each.name == "pinned"}
    request = pb.DescribeModelRequest(model="pinned", version=version)
    assert answer.describe_model(engine, request, ANONYMOUS).summary.name == "pinned"


def test_a_version_that_has_failed_is_not_ready() -> None:
    request = inference.ModelReadyRequest(name="tiny", version="1")
    assert not model_ready(Failed(), request, ANONYMOUS).ready
