"""One trace of an explanation: the client's span, the server's, and what the time went into."""

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent import futures
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.trace import SpanKind, StatusCode, Tracer

from salience_client import AsyncClient, Client, SalienceError
from salience_service.bundle.reader import Bundle
from salience_service.config import ServeConfig
from salience_service.config.tracing import TracingConfig
from salience_service.telemetry.opening import Telemetry, telemetry
from salience_service.telemetry.tracing import Traces, tracing
from tests.support.engines import engine_over
from tests.support.identity import token_file
from tests.support.image_files import blank_png
from tests.support.serving import FakeEngine, calling, patient, plain, request, serving
from tests.support.spans import Collected
from tests.support.waiting import until

AT_THE_END_SECONDS = 10.0
FIGURELESS: Any = None
"""An engine of which no figures are told."""
EXPLAIN = "salience.v1.ExplanationService/Explain"


@contextmanager
def traced(collected: Collected, ratio: float = 1.0) -> Iterator[tuple[Tracer, Telemetry]]:
    with tracing(TracingConfig(sample_ratio=ratio), collected) as tracer:
        yield tracer, Telemetry((Traces(tracer),), tracer)


@pytest.fixture(scope="module")
def real(tiny_bundle: Bundle) -> Collected:
    """The spans of one explanation by two methods with scores, asked through the client."""
    collected = Collected()
    with ExitStack() as stack:
        tracer, watching = stack.enter_context(traced(collected))
        engine = stack.enter_context(engine_over(tiny_bundle))
        server = stack.enter_context(serving(engine, watching))
        client = stack.enter_context(Client(server.address, tracer=tracer))
        client.explain(
            blank_png(40, 40), model="softmax", methods=["score-cam", "cam"], scores=["ad"]
        )
    return collected


def test_client_call_and_explanation_are_one_trace_each_inside_the_one_before(
    real: Collected,
) -> None:
    client, server = real.one(EXPLAIN, SpanKind.CLIENT), real.one(EXPLAIN, SpanKind.SERVER)
    explanation = real.one("explanation")
    assert client.parent is None
    assert server.parent is not None
    assert server.parent.span_id == client.context.span_id
    assert explanation.parent is not None
    assert explanation.parent.span_id == server.context.span_id
    assert len({span.context.trace_id for span in real.spans}) == 1


def test_an_explanation_has_a_span_for_each_thing_its_time_went_into(real: Collected) -> None:
    explanation = real.one("explanation")
    inside = [
        span
        for span in real.spans
        if span.parent is not None and span.parent.span_id == explanation.context.span_id
    ]
    told = [(span.name, (span.attributes or {}).get("salience.method", "")) for span in inside]
    assert told == [
        ("decode", ""),
        ("queue", ""),
        ("clean_run", ""),
        ("method", "score-cam"),
        ("render", "score-cam"),
        ("scores", "score-cam"),
        ("method", "cam"),
        ("render", "cam"),
        ("scores", "cam"),
    ]


def test_the_spans_of_stages_lie_where_the_time_passed(real: Collected) -> None:
    explanation = real.one("explanation")
    assert explanation.start_time is not None
    assert explanation.end_time is not None
    decode, clean = real.one("decode"), real.one("clean_run")
    for span in (decode, clean):
        assert span.start_time is not None
        assert span.end_time is not None
        assert explanation.start_time - 1_000_000 <= span.start_time <= span.end_time
        assert span.end_time <= explanation.end_time + 1_000_000
    assert decode.end_time is not None
    assert clean.start_time is not None
    assert decode.end_time <= clean.start_time


def test_spans_say_by_the_conventions_what_the_call_was_and_came_to(real: Collected) -> None:
    server = real.one(EXPLAIN, SpanKind.SERVER).attributes or {}
    assert server["rpc.system.name"] == "grpc"
    assert server["rpc.method"] == EXPLAIN
    assert server["rpc.response.status_code"] == "OK"
    client = real.one(EXPLAIN, SpanKind.CLIENT).attributes or {}
    assert client["rpc.response.status_code"] == "OK"
    explanation = real.one("explanation").attributes or {}
    assert explanation["salience.model.name"] == "softmax"
    assert explanation["salience.methods"] == ("score-cam", "cam")
    assert explanation["salience.outcome"] == "ok"
    assert explanation["salience.request_id"] == server["salience.request_id"] != ""


def test_a_refused_call_says_its_status_and_holds_no_text_of_the_error() -> None:
    collected = Collected()
    with (
        traced(collected) as (tracer, watching),
        serving(FakeEngine(), watching) as server,
        Client(server.address, tracer=tracer) as client,
        pytest.raises(SalienceError),
    ):
        client.explain(blank_png(4, 4), model="jane-doe", methods="score-cam")
    told = collected.one(EXPLAIN, SpanKind.SERVER).attributes or {}
    assert told["rpc.response.status_code"] == "NOT_FOUND"
    explanation = collected.one("explanation")
    assert (explanation.attributes or {})["salience.outcome"] == "NotFound"
    assert explanation.status.status_code is StatusCode.ERROR
    for span in collected.spans:
        assert "jane-doe" not in span.to_json()
        assert not span.events


def test_a_call_that_its_caller_leaves_ends_its_spans_as_cancelled() -> None:
    collected = Collected()
    engine = FakeEngine({"slow": patient})
    with (
        traced(collected) as (_, watching),
        serving(engine, watching) as server,
        calling(server) as stub,
    ):
        running = stub.Explain(request("slow"))
        next(running)
        running.cancel()
        assert engine.ended.acquire(timeout=60)
    told = collected.one(EXPLAIN, SpanKind.SERVER).attributes or {}
    assert told["rpc.response.status_code"] == "CANCELLED"
    assert (collected.one("explanation").attributes or {})["salience.outcome"] == "Cancelled"


def test_an_answer_that_its_reader_closes_ends_the_span_of_its_call() -> None:
    collected = Collected()
    engine = FakeEngine({"slow": patient})
    with (
        traced(collected) as (tracer, watching),
        serving(engine, watching) as server,
        Client(server.address, tracer=tracer) as client,
    ):
        answer = client.stream(blank_png(40, 40), model="slow", methods="cam")
        next(answer)
        answer.close()
        assert engine.ended.acquire(timeout=60)
        ended: Any = tracer
        until(lambda: ended.span_processor.force_flush() and len(collected.named(EXPLAIN)) == 2)
    told = collected.one(EXPLAIN, SpanKind.CLIENT).attributes or {}
    assert told["rpc.response.status_code"] == "CANCELLED"


def test_every_explanation_of_explain_many_has_a_span_in_that_of_the_call() -> None:
    collected = Collected()

    async def ask(address: str, tracer: Tracer) -> None:
        from salience_client import explain_request

        pairs = [
            (tag, explain_request(blank_png(4, 4), model="tiny", methods="score-cam"))
            for tag in "ab"
        ]
        async with AsyncClient(address, tracer=tracer) as client:
            async for _ in client.explain_many(pairs):
                pass

    with traced(collected) as (tracer, watching), serving(FakeEngine(), watching) as server:
        asyncio.run(ask(server.address, tracer))
    many = "salience.v1.ExplanationService/ExplainMany"
    call = collected.one(many, SpanKind.SERVER)
    parents = [span.parent for span in collected.named("explanation")]
    assert [parent.span_id for parent in parents if parent] == [call.context.span_id] * 2
    client = collected.one(many, SpanKind.CLIENT).attributes or {}
    assert client["rpc.response.status_code"] == "OK"


def test_a_trace_that_is_not_sampled_is_not_sent_but_the_callers_choice_holds() -> None:
    collected = Collected()
    sampled = f"00-{1:032x}-{2:016x}-01"
    with (
        traced(collected, ratio=0.0) as (_, watching),
        serving(FakeEngine(), watching) as server,
        calling(server) as stub,
    ):
        list(stub.Explain(request()))
        list(stub.Explain(request(), metadata=(("traceparent", sampled),)))
    assert {span.context.trace_id for span in collected.spans} == {1}
    parent = collected.one(EXPLAIN).parent
    assert parent is not None
    assert parent.span_id == 2


def test_who_is_not_known_has_no_span_whatever_trace_they_name(tmp_path: Path) -> None:
    """Or strangers would fill the collector, whatever share of traces it is to have."""
    collected, sampled = Collected(), ("traceparent", f"00-{1:032x}-{2:016x}-01")
    tokens = token_file(tmp_path / "tokens", "viewer")
    access = {"tokens_file": str(tmp_path / "tokens"), "principals": [{"name": "viewer"}]}
    shown = ("authorization", f"Bearer {tokens['viewer']}")
    with (
        traced(collected) as (_, watching),
        serving(FakeEngine(), watching, access=access) as server,
        calling(server) as stub,
    ):
        with suppress(grpc.RpcError):
            list(stub.Explain(request(), metadata=(sampled,)))
        assert list(stub.Explain(request(), metadata=(shown,)))
    assert collected.one(EXPLAIN).parent is None


def test_a_call_refused_for_its_message_says_its_status() -> None:
    collected = Collected()
    with (
        traced(collected) as (_, watching),
        serving(FakeEngine(), watching) as server,
        grpc.insecure_channel(server.address) as channel,
        pytest.raises(grpc.RpcError),
    ):
        channel.unary_unary(f"/{EXPLAIN}")(b"\xff" * 64)
    told = collected.one(EXPLAIN).attributes or {}
    assert told["rpc.response.status_code"] == "INVALID_ARGUMENT"


@pytest.mark.parametrize("damaged", ["", "00-zz", "x" * 4000])
def test_a_damaged_traceparent_begins_a_trace_of_its_own(damaged: str) -> None:
    collected = Collected()
    with (
        traced(collected) as (_, watching),
        serving(FakeEngine(), watching) as server,
        calling(server) as stub,
    ):
        list(stub.Explain(request(), metadata=(("traceparent", damaged),)))
    assert collected.one(EXPLAIN).parent is None


def test_a_call_that_does_not_exist_has_no_span_with_the_callers_text_as_its_name() -> None:
    collected = Collected()
    with (
        traced(collected) as (_, watching),
        serving(FakeEngine({"tiny": plain}), watching) as server,
        grpc.insecure_channel(server.address) as channel,
        pytest.raises(grpc.RpcError),
    ):
        channel.unary_unary("/salience.v1.ExplanationService/JaneDoe")(b"")
    assert collected.spans == []


class Taking(grpc.GenericRpcHandler):
    """An OTLP collector: takes what it is sent."""

    def __init__(self) -> None:
        self.sent: list[ExportTraceServiceRequest] = []

    def service(self, details: grpc.HandlerCallDetails) -> object:
        def take(data: bytes, context: object) -> bytes:
            self.sent.append(ExportTraceServiceRequest.FromString(data))
            return b""

        return grpc.unary_unary_rpc_method_handler(take)


def test_spans_reach_the_collector_that_the_configuration_names() -> None:
    collector, taking = grpc.server(futures.ThreadPoolExecutor(1)), Taking()
    collector.add_generic_rpc_handlers((taking,))
    port = collector.add_insecure_port("127.0.0.1:0")
    collector.start()
    stated = {"endpoint": f"http://127.0.0.1:{port}", "sample_ratio": 1}
    config = ServeConfig.model_validate({"tracing": stated})
    with (
        telemetry(config, FIGURELESS) as watching,
        serving(FakeEngine(), watching) as server,
        calling(server) as stub,
    ):
        list(stub.Explain(request()))
    collector.stop(None)
    resources = [each for sent in taking.sent for each in sent.resource_spans]
    names = [s.name for each in resources for scope in each.scope_spans for s in scope.spans]
    assert sorted(names) == ["explanation", EXPLAIN]
    told = {a.key: a.value.string_value for a in resources[0].resource.attributes}
    assert told["service.name"] == "salience"


def test_a_collector_that_is_not_there_costs_a_server_little_at_its_end() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with tracing(TracingConfig(endpoint=f"http://127.0.0.1:{port}", sample_ratio=1)) as tracer:
        tracer.start_span("lost").end()
        ending = time.monotonic()
    assert time.monotonic() - ending < AT_THE_END_SECONDS


OFF = """
import sys
import salience_client
import salience_service.rpc.server.process
from salience_service.config import ServeConfig
from salience_service.telemetry.opening import telemetry
with telemetry(ServeConfig(), None) as watching:
    loaded = {name.partition(".")[0] for name in sys.modules}
    print(sorted(loaded & {"opentelemetry", "prometheus_client"}))
"""


def test_what_is_off_is_not_even_loaded() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", OFF], capture_output=True, text=True, env=os.environ, check=True
    )
    assert ran.stdout.strip() == "[]"
