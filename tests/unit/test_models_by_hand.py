"""Versions that are loaded, retired and rolled back at an administrator's word, and its bounds."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from salience_service.directory.models_directory import MOST_WAITING
from salience_service.errors import (
    BundleRefused,
    ComputeFailed,
    InvalidRequest,
    NotFound,
    NotPossible,
    Overloaded,
)
from salience_service.models.versions import State
from tests.support.model_versions import FakeLoad, fake_version, remove_version
from tests.support.opened_directory import Opened, served, settle, state_of, state_of_all
from tests.support.waiting import SOON_SECONDS


def test_what_was_retired_by_hand_does_not_come_back_by_itself(
    tmp_path: Path, opened: Opened
) -> None:
    fake_version(tmp_path, "m", "1")
    fake_version(tmp_path, "m", "2")
    directory, repository = opened()
    directory.retire("m", "2")
    settle(directory)
    assert served(repository) == ["m/1"]
    assert state_of(directory, "2") == (State.AVAILABLE, "retired by hand")
    directory.load("m", "2").result(SOON_SECONDS)
    settle(directory)
    assert served(repository) == ["m/1", "m/2"]


def test_a_version_that_failed_is_retired_by_hand_and_does_not_come_back_by_itself(
    tmp_path: Path, opened: Opened, load: FakeLoad
) -> None:
    fake_version(tmp_path, "m", "1")
    fake_version(tmp_path, "m", "2")
    directory, repository = opened()
    load.broken["m/2"] = ComputeFailed("the device has no memory left")
    directory.mend(repository.model("m"), last=True)
    load.broken.clear()
    directory.retire("m", "2")
    settle(directory)
    assert served(repository) == ["m/1"]
    assert state_of(directory, "2") == (State.AVAILABLE, "retired by hand")
    with pytest.raises(NotFound):
        repository.model("m", "2")


def test_a_look_while_a_version_is_retired_by_hand_does_not_load_it_again(
    tmp_path: Path, opened: Opened
) -> None:
    fake_version(tmp_path, "m", "1")
    fake_version(tmp_path, "m", "2")
    directory, repository = opened()

    def look() -> None:
        end()
        settle(directory)

    end = repository.on_change(look)
    directory.retire("m", "2")
    assert served(repository) == ["m/1"]


def test_what_cannot_be_retired_by_hand_is_not_held_back(tmp_path: Path, opened: Opened) -> None:
    fake_version(tmp_path, "m", "1")
    fake_version(tmp_path, "m", "2")
    fake_version(tmp_path, "m", "3")
    directory, repository = opened(policy="latest 1")
    directory.roll_back("m", "1").result(SOON_SECONDS)
    with pytest.raises(NotPossible):
        directory.retire("m", "1")
    with pytest.raises(NotFound):
        directory.retire("m", "2")
    directory.roll_forward("m")
    remove_version(tmp_path, "m", "3")
    settle(directory)
    assert served(repository) == ["m/1", "m/2"]


def test_what_was_loaded_by_hand_stays_whatever_the_policy_says(
    tmp_path: Path, opened: Opened
) -> None:
    fake_version(tmp_path, "m", "1")
    fake_version(tmp_path, "m", "2")
    directory, repository = opened(policy="latest 1")
    directory.load("m", "1").result(SOON_SECONDS)
    settle(directory)
    assert served(repository) == ["m/1", "m/2"]


def test_a_rollback_loads_what_it_goes_back_to_and_outlives_new_versions(
    tmp_path: Path, opened: Opened
) -> None:
    fake_version(tmp_path, "m", "1")
    fake_version(tmp_path, "m", "2")
    directory, repository = opened(policy="latest 1")
    directory.roll_back("m", "1").result(SOON_SECONDS)
    fake_version(tmp_path, "m", "3")
    settle(directory)
    assert repository.model("m").version == "1"
    assert served(repository) == ["m/1", "m/3"]
    directory.roll_forward("m")
    assert repository.model("m").version == "3"


def test_a_pinned_version_whose_directory_is_gone_serves_on_and_says_so(
    tmp_path: Path, opened: Opened
) -> None:
    fake_version(tmp_path, "m", "1")
    fake_version(tmp_path, "m", "2")
    directory, repository = opened()
    directory.roll_back("m", "1").result(SOON_SECONDS)
    remove_version(tmp_path, "m", "1")
    settle(directory)
    assert served(repository) == ["m/1", "m/2"]
    assert "its directory is gone" in state_of(directory, "1")[1]


def test_a_broken_reload_leaves_what_served_serving(
    tmp_path: Path, opened: Opened, load: FakeLoad
) -> None:
    fake_version(tmp_path, "m", "1")
    directory, repository = opened()
    before = repository.model("m")
    load.refused["m/1"] = "it drifts"
    with pytest.raises(BundleRefused, match="it drifts"):
        directory.load("m", "1").result(SOON_SECONDS)
    assert repository.model("m") is before
    assert state_of(directory, "1") == (State.SERVING, "not loaded anew: it drifts")


@pytest.mark.parametrize(
    "name",
    ["..", ".", "", "../m", "m/1", "/etc", "m\0", ".hidden", "M", "é", "m" * 65, "m\n", "-m"],
)
@pytest.mark.parametrize("call", ["load", "retire", "roll_back"])
def test_names_that_could_lead_elsewhere_are_refused(
    tmp_path: Path, opened: Opened, load: FakeLoad, name: str, call: str
) -> None:
    fake_version(tmp_path, "m", "1")
    directory, _ = opened()
    before = load.loaded
    for model, version in ((name, "1"), ("m", name)):
        with pytest.raises(InvalidRequest, match="use a-z") as told:
            getattr(directory, call)(model, version)
        assert told.value.field in ("model", "version")
    assert load.loaded == before


def test_a_version_that_is_not_there_is_not_found_and_leaves_no_trace(
    tmp_path: Path, opened: Opened
) -> None:
    fake_version(tmp_path, "m", "1")
    directory, _ = opened()
    with pytest.raises(NotFound, match="no version '9' of 'm' lies in the models directory"):
        directory.load("m", "9").result(SOON_SECONDS)
    assert state_of_all(directory) == {"m/1": State.SERVING}


def test_no_more_versions_serve_than_may_and_one_loaded_anew_needs_no_room(
    tmp_path: Path, opened: Opened
) -> None:
    for version in ("1", "2", "3"):
        fake_version(tmp_path, "m", version)
    directory, repository = opened(max_versions=2)
    assert served(repository) == ["m/2", "m/3"]
    assert "2 versions serve, the limit" in state_of(directory, "1")[1]
    with pytest.raises(Overloaded, match="retire one first"):
        directory.load("m", "1").result(SOON_SECONDS)
    directory.load("m", "2").result(SOON_SECONDS)
    directory.retire("m", "3")
    directory.load("m", "1").result(SOON_SECONDS)
    assert served(repository) == ["m/1", "m/2"]


def test_no_more_versions_drain_than_may_serve(tmp_path: Path, opened: Opened) -> None:
    fake_version(tmp_path, "m", "1")
    directory, repository = opened(max_versions=1)
    with repository.lease("m"):
        directory.load("m", "1").result(SOON_SECONDS)
        with pytest.raises(Overloaded, match="1 retired versions still end what they began"):
            directory.load("m", "1").result(SOON_SECONDS)
    directory.load("m", "1").result(SOON_SECONDS)


def test_what_waits_to_be_loaded_is_bounded(tmp_path: Path, opened: Opened, load: FakeLoad) -> None:
    fake_version(tmp_path, "m", "1")
    directory, _ = opened()
    load.let.clear()
    waiting = [directory.load("m", "1") for _ in range(MOST_WAITING)]
    with pytest.raises(Overloaded, match=f"{MOST_WAITING} versions wait"):
        directory.load("m", "1")
    load.let.set()
    for each in waiting:
        each.result(SOON_SECONDS)
    directory.load("m", "1").result(SOON_SECONDS)


def test_while_a_version_is_loaded_it_says_so_and_the_others_serve_and_are_retired(
    tmp_path: Path, opened: Opened, load: FakeLoad
) -> None:
    for version in ("1", "2"):
        fake_version(tmp_path, "m", version)
    directory, repository = opened()
    fake_version(tmp_path, "m", "3")
    load.let.clear()
    while load.began.acquire(blocking=False):
        pass
    loading = directory.load("m", "3")
    assert load.began.acquire(timeout=SOON_SECONDS)
    assert state_of(directory, "3")[0] is State.LOADING
    with repository.lease("m") as model:
        assert model.version == "2"
    directory.retire("m", "1")
    directory.roll_back("m", "2").result(0)
    load.let.set()
    loading.result(SOON_SECONDS)
    assert served(repository) == ["m/2", "m/3"]


@pytest.mark.parametrize("refused", [{}, {"m/1": "it drifts"}])
@pytest.mark.parametrize("call", ["load", "mend"])
def test_a_version_retired_while_it_is_loaded_anew_does_not_come_back(
    tmp_path: Path, opened: Opened, load: FakeLoad, call: str, refused: dict[str, str]
) -> None:
    for version in ("1", "2"):
        fake_version(tmp_path, "m", version)
    directory, repository = opened()
    load.let.clear()
    while load.began.acquire(blocking=False):
        pass
    load.refused = refused
    with ThreadPoolExecutor(1) as aside:
        if call == "load":
            ending = aside.submit(directory.load("m", "1").result, SOON_SECONDS)
        else:
            ending = aside.submit(directory.mend, repository.model("m", "1"))
        assert load.began.acquire(timeout=SOON_SECONDS)
        directory.retire("m", "1")
        load.let.set()
        error = ending.exception(SOON_SECONDS)
    assert isinstance(error, BundleRefused if refused else NotFound) == (call == "load")
    assert served(repository) == ["m/2"]
    assert state_of(directory, "1")[0] is State.AVAILABLE
    assert all(model.closed for model in load.made if model.version == "1")
    with pytest.raises(NotFound):
        repository.model("m", "1")


def test_a_pinned_version_cannot_be_retired_by_hand(tmp_path: Path, opened: Opened) -> None:
    fake_version(tmp_path, "m", "1")
    directory, repository = opened()
    directory.roll_back("m", "1").result(SOON_SECONDS)
    with pytest.raises(NotPossible):
        directory.retire("m", "1")
    settle(directory)
    assert served(repository) == ["m/1"]
