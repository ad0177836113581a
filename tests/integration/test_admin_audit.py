"""The audit of the administration: before an action a line, and one of what became of it."""

import logging
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from prometheus_client import CollectorRegistry

from salience.v1 import admin_service_pb2 as pb
from salience_client.identity import bearer
from salience_service.audit.auditor import Auditor
from salience_service.audit.finding import actions_of
from salience_service.audit.trail import Upkeep
from salience_service.rpc.admin.action import begun
from salience_service.telemetry.log_format import TOLD
from salience_service.telemetry.log_lines import LogLines
from salience_service.telemetry.metrics import Metrics
from salience_service.telemetry.records import Action, ActionRecord
from salience_service.telemetry.witness import Ended, Witness, Witnesses
from tests.support.administered import Administered, administered
from tests.support.audit import KEYS, Disk, checked, fields, trail_of
from tests.support.every_rpc import call
from tests.support.identity import token_file
from tests.support.model_versions import fake_version
from tests.support.waiting import SOON_SECONDS, until

DURABLE = Upkeep(rotate_bytes=2**20)
FULL = grpc.StatusCode.UNAVAILABLE
LOAD = "/salience.v1.AdminService/LoadVersion"
UNRECORDED = {"head", "tail", "recovered"}


@dataclass
class Place:
    """An administered server, and its audit on a disk that may be full."""

    admin: Administered
    disk: Disk
    trail: Path
    auditor: Auditor
    registry: CollectorRegistry

    def lines(self) -> list[dict[str, object]]:
        """What is recorded, now."""
        return [line for line in fields(self.trail) if line["kind"] not in UNRECORDED]

    def refusals(self) -> dict[str, float]:
        return {
            sample.labels["reason"]: sample.value
            for family in self.registry.collect()
            for sample in family.samples
            if sample.name == "salience_refusals_total"
        }


@contextmanager
def placed(
    directory: Path, refuses: bool = True, access: object = None, also: tuple[Witness, ...] = ()
) -> Iterator[Place]:
    for version in ("1", "2"):
        fake_version(directory / "models", "m", version)
    disk, trail, registry = Disk(), directory / "audit", CollectorRegistry()
    auditor = Auditor(trail_of(trail, DURABLE, sync=disk.sync), KEYS, refuses)
    witness = Witnesses((auditor, LogLines(), Metrics(registry), *also))
    with administered(directory / "models", access, witness) as admin:
        yield Place(admin, disk, trail, auditor, registry)
    disk.full.clear()
    auditor.close()
    assert checked(trail).faults == []


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with placed(tmp_path) as made:
        yield made


def test_each_action_leaves_a_line_before_it_and_one_of_its_outcome(place: Place) -> None:
    stub = place.admin.stub
    fake_version(place.admin.models, "m", "3")
    shown = [("x-request-id", "change-42")]
    stub.LoadVersion(pb.LoadVersionRequest(model="m", version="3"), metadata=shown)
    stub.Rollback(pb.RollbackRequest(model="m", version="1"), metadata=shown)
    stub.RetireVersion(pb.RetireVersionRequest(model="m", version="2"), metadata=shown)
    stub.Rollback(pb.RollbackRequest(model="m", newest=True), metadata=shown)
    lines = place.lines()
    assert {(line["principal"], line["request"]) for line in lines} == {("local", "change-42")}
    asked = [(line["kind"], line["action"], line["model"], line["version"]) for line in lines]
    assert asked == [
        (kind, *action)
        for action in (
            ("load", "m", "3"),
            ("roll_back", "m", "1"),
            ("retire", "m", "2"),
            ("roll_forward", "m", ""),
        )
        for kind in ("action_began", "action_ended")
    ]
    for began, ended in zip(lines[::2], lines[1::2], strict=True):
        assert (ended["began"], ended["outcome"], ended["code"]) == (began["number"], "ok", "OK")
        assert began["time"] <= ended["time"]  # type: ignore[operator]
    assert place.refusals() == {}


def test_looking_is_no_action(place: Place) -> None:
    place.admin.stub.ListVersions(pb.ListVersionsRequest())
    place.admin.stub.GetStatus(pb.GetStatusRequest())
    assert place.lines() == []


def test_the_line_is_there_before_anything_is_loaded_and_the_outcome_before_it_is_told(
    place: Place,
) -> None:
    place.admin.load.let.clear()
    fake_version(place.admin.models, "m", "3")
    while place.admin.load.began.acquire(blocking=False):
        pass
    loading = place.admin.stub.LoadVersion.future(pb.LoadVersionRequest(model="m", version="3"))
    assert place.admin.load.began.acquire(timeout=SOON_SECONDS)
    assert [line["kind"] for line in place.lines()] == ["action_began"]
    assert "1 actions began and have not ended" in " ".join(checked(place.trail).notes)
    place.admin.load.let.set()
    loading.result(SOON_SECONDS)
    assert [line["kind"] for line in place.lines()] == ["action_began", "action_ended"]


def test_who_leaves_does_not_end_what_has_begun_nor_its_record(place: Place) -> None:
    place.admin.load.let.clear()
    fake_version(place.admin.models, "m", "3")
    while place.admin.load.began.acquire(blocking=False):
        pass
    loading = place.admin.stub.LoadVersion.future(pb.LoadVersionRequest(model="m", version="3"))
    assert place.admin.load.began.acquire(timeout=SOON_SECONDS)
    fake_version(place.admin.models, "m", "4")
    waiting = place.admin.stub.LoadVersion.future(pb.LoadVersionRequest(model="m", version="4"))
    until(lambda: len(place.lines()) == 2)
    for each in (loading, waiting):
        each.cancel()
    place.admin.load.let.set()
    until(lambda: len(place.lines()) == 4)
    assert [line["outcome"] for line in place.lines()[2:]] == ["ok", "ok"]
    assert {place.admin.states()[each] for each in ("m/3", "m/4")} == {"serving"}


def test_what_waits_when_the_server_ends_is_recorded_as_cancelled(tmp_path: Path) -> None:
    with placed(tmp_path) as place:
        place.admin.load.let.clear()
        while place.admin.load.began.acquire(blocking=False):
            pass
        asked = []
        for count, version in enumerate(("3", "4"), 1):
            fake_version(place.admin.models, "m", version)
            message = pb.LoadVersionRequest(model="m", version=version)
            asked.append(place.admin.stub.LoadVersion.future(message))
            until(lambda count=count: len(place.lines()) == count)  # type: ignore[misc]
        assert place.admin.load.began.acquire(timeout=SOON_SECONDS)
        assert place.admin.engine.directory is not None
        closing = threading.Thread(target=place.admin.engine.directory.close)
        closing.start()
        until(lambda: len(place.lines()) == 3)  # The fourth was cancelled, the third runs.
        place.admin.load.let.set()
        closing.join()
    ended = {line["version"]: line for line in place.lines() if line["kind"] == "action_ended"}
    assert (ended["3"]["outcome"], ended["4"]["outcome"]) == ("ok", "cancelled")


def test_nobody_is_told_of_an_outcome_before_its_witness() -> None:
    """Also where the job ends between its beginning and whoever waits for it."""
    heard, may_hear, job = threading.Event(), threading.Event(), Future[None]()

    class Slow(Witness):
        def acting(self, action: Action) -> Ended:
            def ended(_: ActionRecord) -> None:
                heard.set()
                may_hear.wait(SOON_SECONDS)

            return ended

    told = begun(Action("r", "root", "load", "m", "3"), lambda: job, Slow())
    ending = threading.Thread(target=job.set_result, args=(None,))
    ending.start()
    assert heard.wait(SOON_SECONDS)
    assert job.done()
    assert not told.done()
    may_hear.set()
    ending.join(SOON_SECONDS)
    assert told.done()


def test_an_action_that_fails_is_recorded_with_its_error_and_nothing_of_its_cause(
    place: Place,
) -> None:
    fake_version(place.admin.models, "m", "3")
    place.admin.load.refused["m/3"] = "it drifts beyond all bounds"
    asked = (
        (place.admin.stub.LoadVersion, pb.LoadVersionRequest(model="m", version="3")),
        (place.admin.stub.LoadVersion, pb.LoadVersionRequest(model="m", version="9")),
        (place.admin.stub.RetireVersion, pb.RetireVersionRequest(model="m", version="9")),
        (place.admin.stub.Rollback, pb.RollbackRequest(model="x", newest=True)),
    )
    for ask, request in asked:
        with pytest.raises(grpc.RpcError):
            ask(request)
    ended = [line for line in place.lines() if line["kind"] == "action_ended"]
    assert [line["error"] for line in ended] == ["BundleRefused", *["NotFound"] * 3]
    assert [line["code"] for line in ended] == ["FAILED_PRECONDITION", *["NOT_FOUND"] * 3]
    assert {line["outcome"] for line in ended} == {"refused"}
    assert len(place.lines()) == 2 * len(ended), "and no line of it as turned away"
    assert "drifts" not in str(place.lines())
    assert place.refusals() == {"BundleRefused": 1, "NotFound": 3}


def test_with_a_full_disk_nothing_is_done(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    stub, before = place.admin.stub, place.admin.states()
    fake_version(place.admin.models, "m", "3")
    loaded = place.admin.load.loaded
    place.disk.full.set()
    for ask, request in (
        (stub.LoadVersion, pb.LoadVersionRequest(model="m", version="3")),
        (stub.RetireVersion, pb.RetireVersionRequest(model="m", version="1")),
        (stub.Rollback, pb.RollbackRequest(model="m", version="1")),
    ):
        with pytest.raises(grpc.RpcError) as refused:
            ask(request)
        assert refused.value.code() is FULL
        assert "answers none unrecorded" in refused.value.details()
    assert place.admin.load.loaded == loaded
    assert place.admin.states() == before | {"m/3": "available"}
    assert place.admin.answers() == "2"
    assert place.refusals() == {"Unavailable": 3}
    told = [getattr(each, TOLD, {}) for each in caplog.records]
    assert not [line for line in told if "action" in line]


def test_where_it_is_allowed_actions_go_on_while_the_disk_is_full(tmp_path: Path) -> None:
    with placed(tmp_path, refuses=False) as place:
        place.disk.full.set()
        place.admin.stub.Rollback(pb.RollbackRequest(model="m", version="1"))
        assert place.admin.answers() == "1"
        assert place.auditor.failures == 2


def test_what_is_done_is_told_though_the_disk_filled_meanwhile(tmp_path: Path) -> None:
    class Filling(Witness):
        """Fills the disk once the beginning is recorded."""

        def acting(self, action: Action) -> Ended:
            place.disk.full.set()
            return super().acting(action)

    with placed(tmp_path, also=(Filling(),)) as place:
        place.admin.stub.Rollback(pb.RollbackRequest(model="m", version="1"))
        assert place.admin.answers() == "1"
        assert place.auditor.failures == 1
    assert place.lines()[0]["kind"] == "action_began"


def test_denied_calls_are_found_beside_the_actions_and_hold_no_word_of_theirs(
    tmp_path: Path,
) -> None:
    tokens = token_file(tmp_path / "tokens", "root", "reader", "ward")
    access = {
        "tokens_file": str(tmp_path / "tokens"),
        "principals": [
            {"name": "root", "calls": ["admin", "describe"]},
            {"name": "reader", "calls": ["describe"]},
            {"name": "ward", "calls": ["admin"], "models": ["ward-*"]},
        ],
    }
    secret = pb.LoadVersionRequest(model="jane-doe", version="1").SerializeToString()
    misnamed = pb.LoadVersionRequest(model="Jane Doe", version="1").SerializeToString()
    with (
        placed(tmp_path, access=access) as place,
        grpc.insecure_channel(place.admin.admin_address) as channel,
    ):
        for who, message in (("reader", secret), ("ward", secret), ("root", misnamed)):
            call(channel, LOAD, bearer(tokens[who]), [message])
        call(channel, LOAD, (), [secret])
        newest = pb.RollbackRequest(model="m", newest=True).SerializeToString()
        call(channel, LOAD.replace("LoadVersion", "Rollback"), bearer(tokens["root"]), [newest])
    found = list(actions_of(place.trail, KEYS))
    assert [(line["principal"], line.get("error")) for line in found if "rpc" in line] == [
        ("reader", "PermissionDenied"),
        ("ward", "NotFound"),
        ("root", "InvalidRequest"),
    ]
    assert [line["kind"] for line in found if "action" in line] == ["action_began", "action_ended"]
    assert {line["rpc"] for line in found if "rpc" in line} == {LOAD}
    assert "doe" not in str(found).lower()


def test_an_action_is_logged_before_it_and_at_its_end(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    place.admin.stub.Rollback(pb.RollbackRequest(model="m", version="1"))
    told = [each for each in caplog.records if "action" in getattr(each, TOLD, {})]
    assert [each.message for each in told] == ["acting", "acted"]
    assert getattr(told[1], TOLD)["outcome"] == "ok"
