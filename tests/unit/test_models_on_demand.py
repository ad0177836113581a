"""Versions that are loaded when a request first asks for them, and who waits meanwhile."""

import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from salience_service.control import Control
from salience_service.errors import (
    BundleRefused,
    ComputeFailed,
    ConfigRefused,
    DeadlineExceeded,
    NotFound,
    Overloaded,
    SalienceError,
)
from salience_service.models.versions import State
from tests.support.freed import is_freed, without_the_collector
from tests.support.model_versions import FakeLoad, fake_version
from tests.support.opened_directory import Opened, served, settle, state_of, state_of_all
from tests.support.waiting import SOON_SECONDS


def test_on_demand_a_version_whose_place_a_newer_one_took_is_not_loaded_any_more(
    tmp_path: Path, opened: Opened
) -> None:
    fake_version(tmp_path, "m", "1")
    directory, repository = opened(policy="latest 1", load_on_demand=True)
    fake_version(tmp_path, "m", "2")
    directory.look()
    assert state_of_all(directory) == {"m/1": State.ON_DEMAND, "m/2": State.AVAILABLE}
    directory.look()
    assert state_of_all(directory) == {"m/1": State.AVAILABLE, "m/2": State.ON_DEMAND}
    directory.bring("m", "1", Control())
    assert served(repository) == []
    directory.load("m", "1").result(SOON_SECONDS)
    settle(directory)
    assert served(repository) == ["m/1"]


def test_on_demand_a_displaced_version_that_requests_are_pinned_to_is_still_loaded(
    tmp_path: Path, opened: Opened
) -> None:
    fake_version(tmp_path, "m", "1")
    directory, repository = opened(policy="latest 1", load_on_demand=True, answers={"m": "1"})
    fake_version(tmp_path, "m", "2")
    settle(directory)
    directory.bring("m", "", Control())
    assert served(repository) == ["m/1"]


def test_a_version_that_waits_on_demand_is_retired_by_hand_and_no_request_brings_it_back(
    tmp_path: Path, opened: Opened, load: FakeLoad
) -> None:
    fake_version(tmp_path, "m", "1")
    fake_version(tmp_path, "m", "2")
    directory, _ = opened(load_on_demand=True)
    load.let.clear()
    with ThreadPoolExecutor(1) as callers:
        first = directory.load("m", "1")
        waits = threading.Semaphore(0)
        waiting = callers.submit(directory.bring, "m", "2", Waiting(waits))
        assert waits.acquire(timeout=SOON_SECONDS)
        directory.retire("m", "2")
        load.let.set()
        first.result(SOON_SECONDS)
        waiting.result(SOON_SECONDS)
    settle(directory)
    directory.bring("m", "", Control())
    assert load.loaded == ["m/1"]
    assert state_of(directory, "2") == (State.AVAILABLE, "retired by hand")


class Waiting(Control):
    """Says when its caller looks whether to wait on."""

    def __init__(self, waits: threading.Semaphore) -> None:
        super().__init__()
        self._waits: threading.Semaphore | None = waits

    def check(self) -> None:
        if self._waits:  # It looks again and again.
            self._waits.release()
            self._waits = None
        super().check()


def test_who_waited_for_a_version_that_is_refused_is_held_by_nobody(
    tmp_path: Path, opened: Opened, load: FakeLoad
) -> None:
    fake_version(tmp_path, "m", "1")
    load.refused["m/1"] = "it drifts"
    directory, _ = opened(load_on_demand=True)
    load.let.clear()
    with without_the_collector(), ThreadPoolExecutor(4) as callers:
        waits = threading.Semaphore(0)
        controls = [Waiting(waits) for _ in range(4)]
        waiting = [callers.submit(directory.bring, "m", "", control) for control in controls]
        for _ in range(4):
            assert waits.acquire(timeout=SOON_SECONDS)
        gone = [weakref.ref(control) for control in controls]
        load.let.set()
        for each in waiting:
            with pytest.raises(BundleRefused, match="it drifts"):
                each.result(SOON_SECONDS)
        del controls, waiting, each
        assert all(map(is_freed, gone))


def test_on_demand_a_version_is_loaded_once_for_all_who_wait(
    tmp_path: Path, opened: Opened, load: FakeLoad
) -> None:
    fake_version(tmp_path, "m", "1")
    fake_version(tmp_path, "m", "2")
    directory, repository = opened(load_on_demand=True)
    assert load.loaded == []
    assert repository.ready() == {"m": True}
    threads = [
        threading.Thread(target=directory.bring, args=("m", "", Control())) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SOON_SECONDS)
    assert load.loaded == ["m/2"]
    directory.bring("m", "1", Control())
    directory.bring("m", "1", Control())
    directory.bring("nothing", "", Control())
    assert load.loaded == ["m/2", "m/1"]


def test_who_comes_while_the_newest_is_loaded_on_demand_waits_for_it(
    tmp_path: Path, opened: Opened, load: FakeLoad
) -> None:
    for version in ("1", "2"):
        fake_version(tmp_path, "m", version)
    directory, repository = opened(load_on_demand=True)
    load.let.clear()
    threads = [
        threading.Thread(target=directory.bring, args=("m", "", Control())) for _ in range(2)
    ]
    threads[0].start()
    assert load.began.acquire(timeout=SOON_SECONDS)
    assert repository.to_load("m") == ("m", "2")  # Not the older one, in its stead.
    threads[1].start()
    load.let.set()
    for thread in threads:
        thread.join(SOON_SECONDS)
    assert load.loaded == ["m/2"]


def test_on_demand_the_one_used_longest_ago_gives_way(
    tmp_path: Path, opened: Opened, load: FakeLoad
) -> None:
    for name in ("a", "b", "c"):
        fake_version(tmp_path, name, "1")
    directory, repository = opened(load_on_demand=True, max_versions=2)
    for name in ("a", "b", "a", "c"):
        directory.bring(name, "", Control())
        with repository.lease(name):
            pass
    assert served(repository) == ["a/1", "c/1"]
    assert state_of_all(directory)["b/1"] is State.ON_DEMAND
    with (
        repository.lease("a"),
        repository.lease("c"),
        pytest.raises(Overloaded, match="2 versions serve"),
    ):
        directory.bring("b", "", Control())
    directory.bring("b", "", Control())
    assert "b/1" in served(repository)


def test_on_demand_who_waits_hears_nothing_of_the_version_that_was_to_give_way(
    tmp_path: Path, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An administrator retired it or pinned it, between the choice of it and its turn."""
    for name in ("secret", "other"):
        fake_version(tmp_path, name, "1")
    directory, repository = opened(load_on_demand=True, max_versions=1)
    directory.bring("secret", "", Control())

    def retired_meanwhile(*_: object) -> None:
        raise NotFound("no version 1 of secret serves")

    monkeypatch.setattr(repository, "retire", retired_meanwhile)
    with pytest.raises(Overloaded, match="try again") as told:
        directory.bring("other", "", Control())
    assert "secret" not in str(told.value)


def test_on_demand_a_refused_version_is_refused_to_all_and_tried_no_more(
    tmp_path: Path, opened: Opened, load: FakeLoad
) -> None:
    fake_version(tmp_path, "m", "1")
    directory, repository = opened(load_on_demand=True)
    load.refused["m/1"] = "it drifts"
    with pytest.raises(BundleRefused, match="it drifts"):
        directory.bring("m", "", Control())
    load.refused.clear()
    directory.bring("m", "", Control())
    assert load.loaded == []
    assert repository.ready() == {"m": False}


@pytest.mark.parametrize(
    "error",
    [MemoryError(), ComputeFailed("no thread is left"), ConfigRefused("keys: no such file")],
)
def test_on_demand_what_passes_is_tried_again_for_the_next_who_asks(
    tmp_path: Path, opened: Opened, load: FakeLoad, error: Exception
) -> None:
    fake_version(tmp_path, "m", "1")
    directory, repository = opened(load_on_demand=True)
    load.broken["m/1"] = error
    with pytest.raises(SalienceError):
        directory.bring("m", "", Control())
    state, reason = state_of(directory, "1")
    assert state is State.ON_DEMAND
    assert reason
    settle(directory)
    load.broken.clear()
    directory.bring("m", "", Control())
    assert served(repository) == ["m/1"]
    assert state_of(directory, "1") == (State.SERVING, "")


def test_on_demand_what_was_retired_and_fails_when_it_is_loaded_by_hand_stays_retired(
    tmp_path: Path, opened: Opened, load: FakeLoad
) -> None:
    fake_version(tmp_path, "m", "1")
    directory, repository = opened(load_on_demand=True)
    directory.retire("m", "1")
    load.broken["m/1"] = MemoryError()
    with pytest.raises(MemoryError):
        directory.load("m", "1").result(SOON_SECONDS)
    load.broken.clear()
    directory.bring("m", "", Control())
    assert served(repository) == []


def test_on_demand_a_pinned_version_that_is_refused_is_told_though_another_waits(
    tmp_path: Path, opened: Opened, load: FakeLoad
) -> None:
    fake_version(tmp_path, "m", "1")
    fake_version(tmp_path, "m", "2")
    load.refused["m/1"] = "it drifts"
    directory, repository = opened(load_on_demand=True, answers={"m": "1"})
    assert repository.ready() == {"m": True}
    with pytest.raises(BundleRefused, match="it drifts"):
        directory.bring("m", "", Control())
    assert repository.ready() == {"m": False}, "its health would say SERVING"
    directory.roll_forward("m")
    directory.bring("m", "", Control())
    assert repository.model("m").version == "2"


def test_on_demand_the_next_version_answers_where_the_newest_is_refused(
    tmp_path: Path, opened: Opened, load: FakeLoad
) -> None:
    fake_version(tmp_path, "m", "1")
    fake_version(tmp_path, "m", "2")
    load.refused["m/2"] = "it drifts"
    directory, repository = opened(load_on_demand=True)
    directory.bring("m", "", Control())
    assert repository.model("m").version == "1"
    with pytest.raises(BundleRefused):
        directory.load("m", "2").result(SOON_SECONDS)
    directory.bring("m", "", Control())
    assert repository.model("m").version == "1"


def test_who_waits_for_a_version_on_demand_waits_no_longer_than_their_deadline(
    tmp_path: Path, opened: Opened, load: FakeLoad
) -> None:
    fake_version(tmp_path, "m", "1")
    directory, _ = opened(load_on_demand=True)
    load.let.clear()
    with pytest.raises(DeadlineExceeded):
        directory.bring("m", "", Control(deadline=0.0))
    load.let.set()
