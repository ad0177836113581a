"""The gRPC transport against a real server on loopback with a made-up servicer."""

import asyncio
import contextlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest

from salience.v1 import explanation_service_pb2 as pb
from salience.v1 import explanation_service_pb2_grpc as pb_grpc
from salience_client import (
    AsyncClient,
    Client,
    DeadlineExceeded,
    Failed,
    Finished,
    NotFound,
    SaliencyMap,
    Unavailable,
    explain_request,
)
from salience_client.errors import ERROR_OF_STATUS
from salience_client.grpc_transport import CHANNEL_OPTIONS
from tests.support import fake_answers as fake

LARGE = fake.ramp(1500, 1200)  # 7.2 MB: more than gRPC lets one message hold


class Servicer(pb_grpc.ExplanationServiceServicer):
    """Does what the model's name says.

    Attributes:
        cancelled: set when a call that sleeps was cancelled.
    """

    def __init__(self):
        self.cancelled = threading.Event()

    def Explain(self, request, context):  # noqa: N802
        if request.model.startswith("status-"):
            number = int(request.model.removeprefix("status-"))
            code = next(code for code in grpc.StatusCode if code.value[0] == number)
            context.abort(code, f"made to fail with {number}")
        if request.model == "large":
            yield fake.started()
            yield fake.prediction()
            yield from fake.in_pieces(fake.map_message(LARGE), 2**20)
            yield fake.finished(1, 1.0)
        elif request.model == "sleep":
            context.add_callback(self.cancelled.set)
            yield fake.started()
            self.cancelled.wait(30)
        else:
            yield from fake.simple_answer()

    def ExplainMany(self, requests, context):  # noqa: N802
        for request in requests:
            if request.request.model == "lost":
                error = pb.RequestError(code=5, message="no model 'lost' here")
                yield pb.ExplainManyResponse(tag=request.tag, error=error)
                continue
            for response in fake.simple_answer():
                yield pb.ExplainManyResponse(tag=request.tag, response=response)

    def ListModels(self, request, context):  # noqa: N802
        return fake.listing()

    def DescribeModel(self, request, context):  # noqa: N802
        if request.model != "lite0":
            context.abort(grpc.StatusCode.NOT_FOUND, f"no model {request.model!r} here")
        return fake.description()


@pytest.fixture(scope="module")
def server():
    server = grpc.server(ThreadPoolExecutor(8))
    server.servicer = Servicer()
    pb_grpc.add_ExplanationServiceServicer_to_server(server.servicer, server)
    server.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    yield server
    server.stop(None).wait()


@pytest.fixture
def client(server):
    server.servicer.cancelled.clear()
    with Client(server.address, retries=None) as client:
        yield client


@pytest.mark.parametrize("status", list(ERROR_OF_STATUS))
def test_every_status_of_a_server_reaches_the_caller_as_our_error(client, status):
    number = status.value[0]

    with pytest.raises(ERROR_OF_STATUS[status], match=f"made to fail with {number}") as caught:
        client.explain(b"png", model=f"status-{number}", methods="score-cam")

    assert caught.value.code is status
    assert isinstance(caught.value.__cause__, grpc.RpcError)


def test_a_map_beyond_grpcs_message_limit_comes_whole(client):
    explanation = client.explain(b"png", model="large", methods="score-cam")

    np.testing.assert_array_equal(explanation["score-cam"].array, LARGE)


def test_the_channel_keeps_grpcs_own_receive_limit():
    assert not [key for key, _ in CHANNEL_OPTIONS if "receive_message_length" in key]


def test_a_deadline_ends_the_call_on_both_sides(server, client):
    client.models()  # Connected, so that no time goes on that.
    began = time.monotonic()

    with pytest.raises(DeadlineExceeded):
        client.explain(b"png", model="sleep", methods="score-cam", timeout=1)

    assert time.monotonic() - began < 20
    assert server.servicer.cancelled.wait(20)


def test_closing_a_stream_cancels_the_call_on_the_server(server, client):
    stream = client.stream(b"png", model="sleep", methods="score-cam")
    next(stream)
    assert not server.servicer.cancelled.is_set()

    stream.close()

    assert server.servicer.cancelled.wait(5)


def test_leaving_a_loop_early_cancels_the_call_on_the_server(server, client):
    with contextlib.closing(client.stream(b"png", model="sleep", methods="score-cam")) as events:
        for _event in events:
            break

    assert server.servicer.cancelled.wait(5)


def test_a_server_that_is_not_there_is_unavailable():
    with Client("127.0.0.1:1", retries=None) as client, pytest.raises(Unavailable) as caught:
        client.models(timeout=5)

    assert caught.value.retryable


def test_a_model_that_is_not_there_is_not_found(client):
    with pytest.raises(NotFound, match="no model 'nothing' here"):
        client.describe("nothing")
    assert client.describe("lite0").summary.name == "lite0"
    assert client.models()[0].name == "lite0"


def many():
    for tag, model in (("a", "lite0"), ("b", "lost"), ("c", "lite0")):
        yield tag, explain_request(b"png", model=model, methods="score-cam")


def test_many_requests_share_a_call(client):
    events = list(client.explain_many(many()))

    assert [tag for tag, event in events if isinstance(event, Finished)] == ["a", "c"]
    assert [type(e.error) for _, e in events if isinstance(e, Failed)] == [NotFound]


def test_an_error_in_the_callers_own_requests_is_not_lost_in_grpcs_thread(client):
    def requests():
        yield next(many())
        raise FileNotFoundError("cat.jpg")

    with pytest.raises(FileNotFoundError):
        list(client.explain_many(requests()))


def test_the_asynchronous_client_gives_the_same(server):
    async def ask():
        async with AsyncClient(server.address) as client:
            large = await client.explain(b"png", model="large", methods="score-cam")
            tags = [t async for t, e in client.explain_many(many()) if isinstance(e, SaliencyMap)]
            models = await client.models()
            with pytest.raises(NotFound, match="made to fail with 5"):
                await client.explain(b"png", model="status-5", methods="score-cam")
            with pytest.raises(NotFound):
                await client.describe("nothing")
            with pytest.raises(DeadlineExceeded):
                await client.explain(b"png", model="sleep", methods="score-cam", timeout=0.3)
            return large, tags, models

    large, tags, models = asyncio.run(ask())

    np.testing.assert_array_equal(large["score-cam"].array, LARGE)
    assert tags == ["a", "c"]
    assert models[0].name == "lite0"


def test_closing_an_asynchronous_stream_cancels_the_call_on_the_server(server):
    server.servicer.cancelled.clear()

    async def ask():
        async with AsyncClient(server.address) as client:
            stream = client.stream(b"png", model="sleep", methods="score-cam")
            await anext(stream)
            await stream.aclose()
            return await asyncio.to_thread(server.servicer.cancelled.wait, 5)

    assert asyncio.run(ask())
