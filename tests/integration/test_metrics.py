"""Prometheus's view of a real engine behind a real server."""

import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import grpc
import pytest

from salience.v1 import explanation_service_pb2 as pb
from salience.v1 import explanation_service_pb2_grpc as pb_grpc
from salience_service.bundle.reader import Bundle
from salience_service.config import ServeConfig
from salience_service.engine import Engine
from salience_service.errors import ConfigRefused
from salience_service.explanation.telling import Pace
from salience_service.image.pixels import ImageLimits
from salience_service.models.model import ServedModel
from salience_service.models.warm_up import warm_up
from salience_service.runtime.session import Device
from salience_service.telemetry.opening import telemetry
from salience_service.telemetry.witness import Witness
from tests.support.identity import Authority
from tests.support.image_files import blank_png
from tests.support.prometheus import Scrape, scrape
from tests.support.serving import calling, serving

FREE = "127.0.0.1:0"
LONG_ROWS = 4000
LONG_RISE = {"name": "rise", "options": {"masks": {"integer": LONG_ROWS}}}


@pytest.fixture(scope="module")
def engine(tiny_bundle: Bundle) -> Iterator[Engine]:
    model = ServedModel(tiny_bundle, Device(threads=1), 4)
    warm_up(model)
    opened = Engine([model], ImageLimits(), Pace(60, 0.4), 8, cache_bytes=2**20)
    yield opened
    opened.close()


class Metered:
    """A server whose figures are read before and after what a test does."""

    def __init__(self, stub: pb_grpc.ExplanationServiceStub, address: str) -> None:
        self.stub, self.address = stub, address

    def scrape(self) -> Scrape:
        return scrape(self.address)


@contextmanager
def metered(engine: Engine, audit: Witness | None = None, **metrics: object) -> Iterator[Metered]:
    config = ServeConfig.model_validate({"metrics": {"address": FREE, **metrics}})
    with ExitStack() as stack:
        watching = stack.enter_context(telemetry(config, engine, audit))
        server = stack.enter_context(serving(engine, watching))
        stub = stack.enter_context(calling(server))
        yield Metered(stub, watching.metrics_address)


def _request(seed: int, **fields: object) -> pb.ExplainRequest:
    """A request whose answer is not in the cache yet."""
    stated = {
        "model": "softmax",
        "image": {"encoded": blank_png(40, 40 + seed)},
        "methods": [{"name": "score-cam"}],
    }
    return pb.ExplainRequest(**{**stated, **fields})


def _finished(answers: list[pb.ExplainResponse]) -> pb.Finished:
    return answers[-1].finished


def test_an_answered_explanation_is_counted_with_its_rows_and_times(engine: Engine) -> None:
    with metered(engine) as server:
        before = server.scrape()
        finished = _finished(list(server.stub.Explain(_request(1))))
        after = server.scrape()
    told = {"model": "softmax"}
    assert after.value("salience_explanations_total", **told, outcome="ok") == 1
    assert after.value("salience_maps_total", method="score-cam", gradient_side="none") == 1
    # The clean run is a call, and counts as a row of the explanation.
    rows = after.value("salience_rows_total") - before.value("salience_rows_total")
    calls = after.value("salience_calls_total") - before.value("salience_calls_total")
    assert rows + calls == finished.rows
    for stage, seconds in (
        ("explanation", None),
        ("queue", finished.queue_seconds),
        ("compute", finished.compute_seconds),
        ("first_event", None),
    ):
        assert after.value(f"salience_{stage}_seconds_count", **told) == 1
        found = after.value(f"salience_{stage}_seconds_sum", **told)
        assert seconds is None or found == pytest.approx(seconds)
    assert after.value("salience_map_seconds_count", method="score-cam") == 1


def test_device_time_is_told_by_graph_and_adds_up(engine: Engine) -> None:
    with metered(engine) as server:
        before = server.scrape()
        finished = _finished(list(server.stub.Explain(_request(2))))
        after = server.scrape()
    taken = [
        after.value("salience_device_seconds_total", graph=graph)
        - before.value("salience_device_seconds_total", graph=graph)
        for graph in ("forward", "masked")
    ]
    assert min(taken) > 0
    assert sum(taken) == pytest.approx(finished.compute_seconds)


def test_batch_fill_is_rows_over_places(engine: Engine) -> None:
    with metered(engine) as server:
        list(server.stub.Explain(_request(3)))
        told = server.scrape()
    fill = told.value("salience_rows_total") / told.value("salience_batch_places_total")
    assert fill == pytest.approx(engine.workload.fill)


def test_a_refused_explanation_is_counted_by_its_reason_and_names_no_model(
    engine: Engine,
) -> None:
    with metered(engine) as server:
        for model, methods in (("absent", "score-cam"), ("softmax", "absent")):
            with pytest.raises(grpc.RpcError):
                list(server.stub.Explain(_request(4, model=model, methods=[{"name": methods}])))
        told = server.scrape()
    assert told.value("salience_explanations_total", model="", outcome="NotFound") == 1
    assert told.value("salience_refusals_total", reason="NotFound") == 1
    assert told.value("salience_refusals_total", reason="InvalidRequest") == 1
    assert "absent" not in told.text


def test_an_answer_from_the_cache_is_a_hit_and_runs_nothing(engine: Engine) -> None:
    with metered(engine) as server:
        list(server.stub.Explain(_request(5)))
        before = server.scrape()
        assert _finished(list(server.stub.Explain(_request(5)))).from_cache
        after = server.scrape()
    name = "salience_cache_hits_total"
    assert after.value(name) - before.value(name) == 1
    assert after.value("salience_rows_total") == before.value("salience_rows_total")
    assert after.value("salience_cache_bytes") > 0
    assert after.value("salience_map_seconds_count", method="score-cam") == 1


def test_a_served_model_is_told_with_its_digest_provider_and_drift(engine: Engine) -> None:
    (model,) = engine.models()
    with metered(engine) as server:
        told = server.scrape()
    who = {"model": "softmax", "version": "1"}
    named = {"digest": model.digest, "provider": model.provider, "precision": "float32"}
    assert told.value("salience_model_info", **who, **named) == 1
    assert told.value("salience_model_drift_ratio", **who) == pytest.approx(model.drift)
    assert 0 < model.drift < 1e-3
    assert told.value("salience_model_ready", model="softmax") == 1


def test_what_waits_and_runs_is_told_beside_its_limits(engine: Engine) -> None:
    with metered(engine) as server:
        told = server.scrape()
    assert told.value("salience_lanes") == 1
    for name in ("explanations_running", "queued_rows", "queued_bytes", "waiting_rows"):
        assert told.value(f"salience_{name}") == 0, name
    assert told.value("salience_explanations_limit") == 8
    assert told.value("process_resident_memory_bytes") > 1e6


def test_the_gauges_follow_an_explanation_that_runs(engine: Engine) -> None:
    with metered(engine) as server:
        long = _request(6, methods=[LONG_RISE] * 4)
        running = server.stub.Explain(long)
        while not next(running).HasField("progress"):
            pass
        during = server.scrape()
        running.cancel()
    assert during.value("salience_explanations_running") == 1
    assert during.value("salience_queued_rows") >= 4 * LONG_ROWS
    assert during.value("salience_queued_bytes") > 0


def test_rows_that_a_caller_no_longer_wanted_are_counted(engine: Engine) -> None:
    with metered(engine) as server:
        long = _request(7, methods=[LONG_RISE] * 4)
        running = server.stub.Explain(long)
        while not next(running).HasField("progress"):
            pass
        running.cancel()
        told = server.scrape()
        while not told.value("salience_explanations_total", outcome="Cancelled"):
            told = server.scrape()
    assert 0 < told.value("salience_rows_cancelled_total", model="softmax") <= 4 * LONG_ROWS


def test_callers_are_told_apart_only_where_that_is_configured(engine: Engine) -> None:
    found = []
    for principals in (False, True):
        with metered(engine, principals=principals) as server:
            list(server.stub.Explain(_request(8)))
            told = server.scrape()
        found.append(told.value("salience_explanations_total", principal="anonymous"))
    assert found == [0, 1]


def test_what_the_audit_could_not_write_is_counted(engine: Engine) -> None:
    class Failing(Witness):
        failures = 3

    with metered(engine, Failing()) as server:
        assert server.scrape().value("salience_audit_failures_total") == 3


def test_what_runs_out_is_told_of_the_certificate_and_the_audit_that_are_configured(
    engine: Engine, tmp_path: Path
) -> None:
    stated = {
        "metrics": {"address": FREE},
        "tls": Authority(tmp_path).tls_section(),
        "audit": {"directory": str(tmp_path), "key_file": "none"},
    }
    with telemetry(ServeConfig.model_validate(stated), engine) as watching:
        told = scrape(watching.metrics_address)
    ends = told.value("salience_tls_certificate_expiry_timestamp_seconds")
    assert ends == pytest.approx(time.time() + 24 * 3600, abs=600)
    free = told.value("salience_audit_free_bytes")
    assert free == pytest.approx(shutil.disk_usage(tmp_path).free, abs=2**30)
    with telemetry(ServeConfig.model_validate({"metrics": {"address": FREE}}), engine) as watching:
        told = scrape(watching.metrics_address)
    assert not {name for name in told.names if "expiry" in name or "free_bytes" in name}


def test_a_port_that_is_taken_is_refused(engine: Engine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        config = ServeConfig.model_validate({"metrics": {"address": address}})
        with pytest.raises(ConfigRefused, match="the port is taken"), telemetry(config, engine):
            raise AssertionError("served on a port that was taken")


def test_nothing_listens_where_no_address_is_configured(engine: Engine) -> None:
    with telemetry(ServeConfig(), engine) as watching:
        assert watching.metrics_address == ""
        assert watching.tracer is None


def test_a_scrape_reads_no_more_than_the_counts(engine: Engine) -> None:
    """However much was explained: a figure a model, method or reason, and none a request."""
    with metered(engine) as server:
        list(server.stub.Explain(_request(9)))
        few = len(server.scrape().samples)
        for seed in range(10, 20):
            list(server.stub.Explain(_request(seed)))
        assert len(server.scrape().samples) == few
