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
from salience_service.errors import SalienceError
from salience_service.explanation.cache import ExplanationCache
from salience_service.rpc.calls.observation import UNEXPECTED
from salience_service.scheduling.workload import Occupancy, Workload
from salience_service.telemetry.files_in_force import FilesInForce
from salience_service.telemetry.gauges import Gauges
from salience_service.telemetry.metrics import Metrics
from salience_service.telemetry.records import (
    OK,
    Arrival,
    ExplanationRecord,
    InferenceRecord,
    Refusal,
)
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
RATE = re.compile(r"sum\(rate\((\w+)\{([^}]*)\}\[\$__rate_interval\]\)\)")
ERRORS = re.compile(r"(reason|outcome)(=~|!~|=)\"([^\"]*)\"")


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


def _errors(kind: type[SalienceError] = SalienceError) -> set[str]:
    """The names of our family."""
    below = (_errors(each) | {each.__name__} for each in kind.__subclasses__())
    return set[str]().union(*below)


def _asked(title: str) -> set[str]:
    """The outcomes and reasons that the queries of this title name."""
    words = (word for name, query in QUERIES if name == title for *_, word in ERRORS.findall(query))
    return {name for word in words for name in word.split("|")}


def test_the_page_names_every_outcome_and_reason() -> None:
    page = (DEPLOY.parent / "docs/observability.md").read_text("utf-8")
    table = page.partition("| `reason`, `outcome` |")[2].partition("\n\n")[0]
    rows = table.splitlines()[2:]
    named = [name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])]
    assert sorted(named) == sorted(_errors() | {OK, UNEXPECTED})


@pytest.mark.parametrize("title", sorted({title for title, _ in QUERIES}))
def test_outcomes_and_reasons_asked_for_are_told(title: str) -> None:
    assert _asked(title) <= _errors() | {OK, UNEXPECTED}


def test_every_error_is_the_callers_own_or_an_alert_or_left_to_the_eye() -> None:
    (left_out,) = re.findall(r"outcome!~\"([^\"]*)\"", _answered())
    own = set(left_out.split("|")) - {"Overloaded", "Unavailable"}  # These are counted as refusals.
    eye = {"Unauthenticated", "Unavailable", "DeadlineExceeded", "ConfigRefused"}
    groups = (own, _asked("SalienceFull"), _asked("SalienceFailing"), eye)
    assert sorted(name for group in groups for name in group) == sorted(_errors() | {UNEXPECTED})


def _answered() -> str:
    (query,) = (query for title, query in QUERIES if title == "Answered")
    return query


def _worth(query: str, registry: CollectorRegistry) -> float:
    """What a query of sums and quotients is worth, of counters that grew from nothing.

    A sum of no series is nothing, with which Prometheus reckons no further.
    """
    samples = [sample for family in registry.collect() for sample in family.samples]

    def total(found: re.Match[str]) -> str:
        (label, sign, names), *_ = ERRORS.findall(found[2])
        values = [
            sample.value
            for sample in samples
            if sample.name == found[1]
            and (sample.labels[label] in names.split("|")) == (sign != "!~")
        ]
        return str(sum(values)) if values else "None"

    worth: float = eval(RATE.sub(total, query), {"vector": float})
    return worth


def test_who_is_turned_away_at_the_door_was_not_answered_and_counts_once() -> None:
    """One answered; turned away for want of room: one read, two not, and predictions beside."""
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    for outcome in (OK, "Overloaded", "QuotaExceeded", "NotFound", "Cancelled"):
        metrics.explained(ExplanationRecord("", "", outcome, 0, 1.0))
    for reason in ("Overloaded", "Unavailable", "QuotaExceeded", "Unauthenticated"):
        metrics.refused(Refusal(reason))
    for outcome in (OK, "Overloaded", "Unavailable"):
        metrics.inferred(InferenceRecord("", "", outcome, 0, 1.0))
    assert _worth(_answered(), registry) == pytest.approx(1 / 4)


@pytest.mark.parametrize(("outcome", "share"), [(OK, 1.0), ("ComputeFailed", 0.0)])
def test_the_share_is_told_where_nobody_was_turned_away(outcome: str, share: float) -> None:
    registry = CollectorRegistry()
    Metrics(registry).explained(ExplanationRecord("", "", outcome, 0, 1.0))
    assert _worth(_answered(), registry) == share


def test_where_all_are_turned_away_at_the_door_none_is_answered() -> None:
    registry = CollectorRegistry()
    Metrics(registry).refused(Refusal("Overloaded"))
    assert _worth(_answered(), registry) == 0.0


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
