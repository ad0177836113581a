"""A models directory that comes and goes under a server: policies, looks, what is refused."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from salience_service.errors import (
    BundleRefused,
    ComputeFailed,
    ConfigRefused,
)
from salience_service.models.versions import State
from tests.support.model_versions import FakeLoad, fake_version, remove_version
from tests.support.opened_directory import Opened, served, settle, state_of, state_of_all
from tests.support.waiting import SOON_SECONDS


def test_the_policy_chooses_what_is_loaded_and_the_rest_is_available(
    tmp_path: Path, opened: Opened
) -> None:
    for version in ("1", "2", "10"):
        fake_version(tmp_path, "m", version)
        fake_version(tmp_path, "n", version)
    directory, repository = opened(policy="latest 1", policies={"n": ["1", "2"]})
    assert served(repository) == ["m/10", "n/1", "n/2"]
    assert state_of_all(directory)["m/1"] is State.AVAILABLE


def test_a_refused_version_gives_its_place_to_the_next(
    tmp_path: Path, opened: Opened, load: FakeLoad
) -> None:
    for version in ("1", "2", "3"):
        fake_version(tmp_path, "m", version)
    load.refused["m/3"] = "it drifts"
    directory, repository = opened(policy="latest 1")
    assert served(repository) == ["m/2"]
    assert state_of(directory, "3") == (State.REFUSED, "it drifts")


def test_a_directory_of_which_nothing_serves_is_refused_with_every_reason(
    tmp_path: Path, opened: Opened, load: FakeLoad
) -> None:
    fake_version(tmp_path, "m", "1")
    fake_version(tmp_path, "UPPER", "1")
    load.refused["m/1"] = "it drifts"
    with pytest.raises(BundleRefused, match=r"m/1: it drifts; UPPER: 'UPPER' is not a name"):
        opened()


@pytest.mark.parametrize("version", ["2", "3"])
def test_a_server_does_not_start_where_the_version_that_is_to_answer_cannot_serve(
    tmp_path: Path, opened: Opened, load: FakeLoad, version: str
) -> None:
    fake_version(tmp_path, "m", "1")
    fake_version(tmp_path, "m", "2")
    load.refused["m/2"] = "it drifts"
    with pytest.raises(ConfigRefused, match=f"answers: model m {version} is to answer"):
        opened(answers={"m": version})


def test_the_version_that_is_to_answer_is_loaded_whatever_the_policy_says(
    tmp_path: Path, opened: Opened
) -> None:
    for version in ("1", "2", "3"):
        fake_version(tmp_path, "m", version)
    directory, repository = opened(policy="latest 1", answers={"m": "1"})
    assert served(repository) == ["m/1", "m/3"]
    assert repository.model("m").version == "1"
    settle(directory)
    assert served(repository) == ["m/1", "m/3"]


def test_a_new_version_is_found_once_two_looks_saw_it_alike(tmp_path: Path, opened: Opened) -> None:
    fake_version(tmp_path, "m", "1")
    directory, repository = opened()
    fake_version(tmp_path, "m", "2")
    directory.look()
    assert served(repository) == ["m/1"]
    (tmp_path / "m" / "2" / "weights.bin").write_bytes(b"still being copied")
    directory.look()
    assert served(repository) == ["m/1"]
    directory.look()
    assert served(repository) == ["m/1", "m/2"]


def test_what_is_gone_is_retired_and_what_was_refused_is_tried_when_it_changed(
    tmp_path: Path, opened: Opened, load: FakeLoad
) -> None:
    fake_version(tmp_path, "m", "1")
    fake_version(tmp_path, "m", "2")
    load.refused["m/2"] = "it drifts"
    directory, repository = opened()
    remove_version(tmp_path, "m", "1")
    load.refused.clear()
    settle(directory)
    assert served(repository) == []
    fake_version(tmp_path, "m", "2", "mended")
    settle(directory)
    assert served(repository) == ["m/2"]
    assert state_of_all(directory) == {"m/2": State.SERVING}


def test_a_directory_that_is_empty_all_at_once_is_taken_for_one_that_is_not_mounted(
    tmp_path: Path, opened: Opened
) -> None:
    fake_version(tmp_path, "m", "1")
    fake_version(tmp_path, "n", "1")
    directory, repository = opened()
    remove_version(tmp_path, "m", "1")
    remove_version(tmp_path, "n", "1")
    settle(directory)
    assert served(repository) == ["m/1", "n/1"]
    tmp_path.joinpath("m").rmdir()
    tmp_path.joinpath("n").rmdir()
    tmp_path.rmdir()
    settle(directory)
    assert served(repository) == ["m/1", "n/1"]
    tmp_path.mkdir()


@contextmanager
def unreadable(place: Path) -> Iterator[None]:
    """What stands there instead cannot be looked into, by root neither: its name is too long."""
    aside = place.rename(place.with_name(f".{place.name}"))
    place.symlink_to("x" * 300)
    yield
    place.unlink()
    aside.rename(place)


def test_a_model_that_cannot_be_looked_at_stays_as_it_is(
    tmp_path: Path, opened: Opened, caplog: pytest.LogCaptureFixture
) -> None:
    for version in ("1", "2", "3"):
        fake_version(tmp_path, "m", version)
    fake_version(tmp_path, "n", "1")
    directory, repository = opened(policy="latest 1")
    directory.load("m", "1").result(SOON_SECONDS)
    before = repository.models()
    with unreadable(tmp_path / "m"):
        settle(directory)
        assert repository.models() == before
    assert caplog.text.count("refused: m: the model's directory cannot be read") == 1
    settle(directory)
    assert repository.models() == before, "nor is what was said by hand forgotten"


def test_what_was_retired_by_hand_stays_out_though_its_model_could_not_be_looked_at(
    tmp_path: Path, opened: Opened
) -> None:
    for name in ("m", "n"):
        fake_version(tmp_path, name, "1")
    directory, repository = opened()
    directory.retire("m", "1")
    with unreadable(tmp_path / "m"):
        settle(directory)
    settle(directory)
    assert served(repository) == ["n/1"]


def test_a_policy_for_a_model_that_is_not_there_is_told(
    tmp_path: Path, opened: Opened, caplog: pytest.LogCaptureFixture
) -> None:
    fake_version(tmp_path, "m", "1")
    directory, _ = opened(policies={"m": "all", "mm": "latest 1"})
    told = ["no version of 'mm' lies in the models directory: is its name right?"]
    assert list(directory.unmet()) == told
    assert f"repository.policies: {told[0]}" in caplog.text


def test_a_new_version_takes_the_place_of_an_old_one_only_once_it_serves(
    tmp_path: Path, opened: Opened, load: FakeLoad
) -> None:
    fake_version(tmp_path, "m", "1")
    directory, repository = opened(policy="latest 1")
    fake_version(tmp_path, "m", "2")
    load.refused["m/2"] = "it drifts"
    directory.look()
    assert served(repository) == ["m/1"], "what may yet be copied takes nobody's place"
    directory.look()
    assert served(repository) == ["m/1"]
    assert load.loaded == ["m/1"]
    load.refused.clear()
    fake_version(tmp_path, "m", "2", "mended")
    directory.look()
    assert served(repository) == ["m/1"]
    directory.look()
    assert served(repository) == ["m/2"]


def test_a_bundle_that_changes_under_its_version_is_told_and_not_swapped(
    tmp_path: Path, opened: Opened
) -> None:
    fake_version(tmp_path, "m", "1", "before")
    directory, repository = opened()
    before = repository.model("m")
    fake_version(tmp_path, "m", "1", "after")
    settle(directory)
    assert repository.model("m") is before
    state, reason = state_of(directory, "1")
    assert state is State.SERVING
    assert "load the version again" in reason
    directory.load("m", "1").result(SOON_SECONDS)
    assert repository.model("m") is not before
    assert before.closed  # type: ignore[attr-defined]
    settle(directory)
    assert state_of(directory, "1") == (State.SERVING, "")


def test_on_a_cpu_a_version_that_finds_no_memory_at_the_start_hides_no_other(
    tmp_path: Path, opened: Opened, load: FakeLoad
) -> None:
    fake_version(tmp_path, "m", "1")
    fake_version(tmp_path, "m", "2")
    load.broken["m/2"] = ComputeFailed("no memory is left")
    directory, repository = opened()
    assert served(repository) == ["m/1"]
    assert state_of(directory, "2")[0] is State.REFUSED


def test_an_error_from_inside_is_told_in_the_log_alone(
    tmp_path: Path, opened: Opened, load: FakeLoad
) -> None:
    fake_version(tmp_path, "m", "1")
    directory, _ = opened()
    fake_version(tmp_path, "m", "2")
    (tmp_path / "m" / "2" / "manifest.json").unlink()  # The fake does not expect that.
    settle(directory)
    state, reason = state_of(directory, "2")
    assert (state, reason) == (
        State.REFUSED,
        "it could not be loaded; the server's log says why",
    )


def test_a_failing_version_is_opened_anew_but_never_another_bundle_in_its_place(
    tmp_path: Path, opened: Opened
) -> None:
    fake_version(tmp_path, "m", "1", "before")
    directory, repository = opened()
    first = repository.model("m")
    directory.mend(first)
    second = repository.model("m")
    assert second is not first
    fake_version(tmp_path, "m", "1", "after")
    directory.mend(second)
    assert served(repository) == []
    settle(directory)
    assert served(repository) == [], "it was swapped in silence"
    state, reason = state_of(directory, "1")
    assert state is State.FAILED
    assert "another bundle" in reason
    directory.load("m", "1").result(SOON_SECONDS)
    assert served(repository) == ["m/1"]


def test_what_could_not_be_opened_anew_and_was_retired_comes_back_when_the_policy_wants_it(
    tmp_path: Path, opened: Opened, load: FakeLoad
) -> None:
    fake_version(tmp_path, "m", "1")
    directory, repository = opened(policy="latest 1")
    load.broken["m/1"] = ComputeFailed("the device has no memory left")
    with pytest.raises(ComputeFailed):
        directory.mend(repository.model("m"))
    load.broken.clear()
    fake_version(tmp_path, "m", "2")
    settle(directory)
    assert served(repository) == ["m/2"]
    remove_version(tmp_path, "m", "2")
    settle(directory)
    assert served(repository) == ["m/1"]


def test_the_directory_is_watched_where_that_is_configured(tmp_path: Path, opened: Opened) -> None:
    fake_version(tmp_path, "m", "1")
    _, repository = opened(poll_seconds=0.01)
    changed = threading.Event()
    repository.on_change(changed.set)
    fake_version(tmp_path, "m", "2")
    while served(repository) != ["m/1", "m/2"]:
        assert changed.wait(SOON_SECONDS)
        changed.clear()
