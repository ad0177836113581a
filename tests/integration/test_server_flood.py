"""500 clients, or 150, at once on one small model: each is answered, or told when to come again."""

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from salience.v1 import explanation_service_pb2 as pb
from salience.v1 import explanation_service_pb2_grpc as pb_grpc
from salience.v1 import image_pb2
from salience_service.admission import Load
from salience_service.bundle.reader import Bundle
from tests.support.engines import engine_over
from tests.support.serving import calling, serving

PATIENCE_SECONDS = 200


def _request(seed: int) -> pb.ExplainRequest:
    numbers = np.random.default_rng(seed).normal(size=(3, 32, 32)).astype("<f4")
    tensor = {
        "meaning": image_pb2.TENSOR_MEANING_PREPROCESSED,
        "data_type": image_pb2.DATA_TYPE_FLOAT32,
        "axes": "CHW",
        "shape": numbers.shape,
        "data": numbers.tobytes(),
    }
    return pb.ExplainRequest(
        model="softmax", image={"tensor": tensor}, methods=[{"name": "score-cam"}]
    )


def _asked(address: str, seed: int, start: threading.Barrier) -> str:
    """What became of one client with a connection of its own."""
    own = [("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(address, options=own) as channel:
        stub = pb_grpc.ExplanationServiceStub(channel)
        start.wait(PATIENCE_SECONDS)
        try:
            events = list(stub.Explain(_request(seed), timeout=PATIENCE_SECONDS))
        except grpc.RpcError as told:
            return f"{told.code().name}, {'with' if _says_when(told) else 'without'} when to retry"
        return "answered" if events[-1].HasField("finished") else "cut off"


def _says_when(told: grpc.RpcError) -> bool:
    status = rpc_status.from_call(told)
    return status is not None and any(
        detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR) for detail in status.details
    )


@pytest.mark.parametrize(
    ("clients", "limits"),
    [(500, {}), (150, {"max_running_per_client": 4096, "max_explanations": 16})],
)
def test_many_clients_at_once_are_answered_or_told_when_to_come_again(
    tiny_bundle: Bundle, clients: int, limits: dict[str, int]
) -> None:
    start = threading.Barrier(clients)
    with engine_over(tiny_bundle) as engine, serving(engine, **limits) as server:
        with ThreadPoolExecutor(clients) as threads:
            asked = [threads.submit(_asked, server.address, n, start) for n in range(clients)]
            outcomes = Counter(each.result() for each in asked)
        assert set(outcomes) <= {"answered", "RESOURCE_EXHAUSTED, with when to retry"}, outcomes
        assert outcomes["answered"] >= 16
        with calling(server) as stub:
            began = time.monotonic()
            assert list(stub.Explain(_request(0)))[-1].HasField("finished")
            assert time.monotonic() - began < 60
        assert engine.load == Load(0, 0, 0)
