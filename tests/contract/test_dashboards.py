"""The dashboard and the alerts ask for figures that the server tells, with labels these have."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

from salience_service.access.expiry import Expiry
from salience_service.admission import Load
from salience_service.config import ServeConfig
from salience_service.config.tls import TlsConfig
from salience_service.explanation.cache import ExplanationCache
from salience_service.scheduling.workload import Occupancy, Workload
from salience_service.telemetry.files_in_force import FilesInForce
from salience_service.telemetry.gauges import Gauges
from salience_service.telemetry.metrics import Metrics
from salience_service.telemetry.records import Arrival, ExplanationRecord, InferenceRecord, Refusal
from salience_service.telemetry.supplies import Supplies
from salience_service.telemetry.witness import Witness
from tests.support.identity import HOST, Authority
from tests.support.serving import FINISHED, PROVENANCE, finished_map

DEPLOY = Path(__file__).parents[2] / "deploy"
OURS = re.compile(r"\b((?:salience|process)_[a-z_]+)(?:\{([^}]*)\})?")
GROUPED = re.compile(r"\bby \(([^)]*)\)")
LABEL = re.compile(r"([a-z_]+)\s*(?:=~|!~|!=|=)")
OF_THE_SCRAPE = {"job", "instance", "le"}
"""Labels that Prometheus adds."""


class Model:
    """A served model, as far as the gauges look."""

    name, version, digest = "tiny", "1", "d" * 64
    provider, precision = "CPUExecutionProvider", "float32"
    drift, drift_limit = 1e-6, 1e-4


class Engine:
    """An engine that has run a little of everything."""

    workload = Workload(1, 2, 3, 4, {"masked": 1.0}, 0.1)
    occupancy = Occupancy(1, 1, 1)
    load = limit = Load(1, 2, 3)
    cache = ExplanationCache(2**20)

    def models(self) -> tuple[Model, ...]:
        return (Model(),)

    def ready(self) -> dict[str, bool]:
        return {"tiny": True}


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """The labels of every figure that a server tells, by its name."""
    registry = CollectorRegistry()
    registry.register(Gauges(Engine(), Witness()))
    directory = tmp_path_factory.mktemp("told")
    certificate, key = Authority(directory).issue(HOST, name="server")
    tls = TlsConfig(certificate=str(certificate), key=str(key))
    registry.register(Supplies(Expiry(tls), directory))
    registry.register(FilesInForce(ServeConfig(tls=tls)))
    metrics = Metrics(registry)
    watch = metrics.began(Arrival("", "", 0.0))
    for event in (finished_map(), FINISHED):
        watch.said(event)
    watch.ended(
        ExplanationRecord("", "", "ok", 0, 1.0, provenances=(PROVENANCE,), first_event_seconds=0.1)
    )
    metrics.inferred(InferenceRecord("", "", "ok", 0, 1.0))
    metrics.refused(Refusal("Overloaded"))
    samples = [sample for family in registry.collect() for sample in family.samples]
    ours = {sample.name: set(sample.labels) for sample in samples}
    return ours | {name: set[str]() for name in OF_A_PROCESS}


OF_A_PROCESS = (
    "process_cpu_seconds_total",
    "process_max_fds",
    "process_open_fds",
    "process_resident_memory_bytes",
    "process_start_time_seconds",
    "process_virtual_memory_bytes",
)
"""What prometheus_client's ProcessCollector tells."""


def _dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((DEPLOY / "grafana/salience.json").read_text("utf-8"))
    return found


def _rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((DEPLOY / "prometheus/alerts.yml").read_text("utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def _queries() -> Iterator[tuple[str, str]]:
    for panel in _dashboard()["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]
    for rule in _rules():
        yield rule["alert"], rule["expr"]


QUERIES = list(_queries())


@pytest.mark.parametrize(("title", "query"), QUERIES, ids=[title for title, _ in QUERIES])
def test_every_figure_asked_for_is_told_and_has_the_labels(
    title: str, query: str, told: dict[str, set[str]]
) -> None:
    if title == "SalienceDown":
        assert query.startswith("up{")
        return
    asked = OURS.findall(query)
    assert asked, query
    grouped = {label.strip() for group in GROUPED.findall(query) for label in group.split(",")}
    for name, braces in asked:
        assert name in told, name
        labels = set(LABEL.findall(re.sub(r'"[^"]*"', '""', braces))) | grouped
        assert labels <= told[name] | OF_THE_SCRAPE, name


def test_every_figure_told_is_on_the_dashboard(told: dict[str, set[str]]) -> None:
    shown = {name for _, query in QUERIES for name, _ in OURS.findall(query)}
    ours = {name for name in told if name.startswith("salience_")}
    derived = {name for name in ours if name.endswith(("_created", "_sum", "_count"))}
    assert ours - derived - shown == set()


def test_panels_have_their_own_numbers_and_do_not_overlap() -> None:
    panels = _dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {(at["x"] + i, at["y"] + j) for i in range(at["w"]) for j in range(at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells


def test_every_alert_says_how_bad_it_is_what_it_means_and_what_to_do() -> None:
    for rule in _rules():
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert {"summary", "remedy"} <= set(rule["annotations"])


def test_the_page_says_what_every_figure_means(told: dict[str, set[str]]) -> None:
    page = (DEPLOY.parent / "docs/observability.md").read_text("utf-8")
    lasting = {name for name in told if not name.endswith("_created")}
    families = {re.sub(r"_(bucket|sum|count)$", "", name) for name in lasting}
    missing = [n for n in families if n.startswith("salience_") and f"`{n}`" not in page]
    assert missing == []
