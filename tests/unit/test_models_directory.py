"""A models directory that comes and goes under a server, with models that load at our word."""

import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from salience_service.control import Control
from salience_service.directory.models_directory import MOST_WAITING, ModelsDirectory
from salience_service.errors import (
    BundleRefused,
    ComputeFailed,
    ConfigRefused,
    DeadlineExceeded,
    InvalidRequest,
    NotFound,
    NotPossible,
    Overloaded,
    SalienceError,
)
from salience_service.models.repository import ModelRepository
from salience_service.models.versions import State
from tests.support.freed import is_freed, without_the_collector
from tests.support.model_versions import FakeLoad, config_of, fake_version, remove_version

SOON = 10.0
Opened = Callable[..., tuple[ModelsDirectory, ModelRepository]]


@pytest.fixture
def load() -> FakeLoad:
    return FakeLoad()


@pytest.fixture
def opened(tmp_path: Path, load: FakeLoad) -> Iterator[Opened]:
    """Opens `tmp_path`; keys of `[repository]` as given."""
    directories = []

    def open_with(**settings: object) -> tuple[ModelsDirectory, ModelRepository]:
        config = config_of(**settings)
        repository = ModelRepository(pins=config.repository.answers)
        directory = ModelsDirectory(tmp_path, config, repository, load)
        directories.append(directory)
        directory.open()
        return directory, repository

    yield open_with
    for directory in directories:
        directory.close()


def served(repository: ModelRepository) -> list[str]:
    return [f"{model.name}/{model.version}" for model in repository.models()]


def settle(directory: ModelsDirectory) -> None:
    """Two looks: what was copied between the first and this is left alone by the first."""
    directory.look()
    directory.look()


def state_of(directory: ModelsDirectory, version: str) -> tuple[State, str]:
    (found,) = [each for each in directory.versions() if each.name.version == version]
    return found.state, found.reason


def test_the_policy_chooses_what_is_loaded_and_the_rest_is_available(
    tmp_path: Path, opened: Opened
) -> None:
    for version in ("1", "2", "10"):
        fake_version(tmp_path, "m", version)
        fake_version(tmp_path, "n", version)
    directory, repository = opened(policy="latest 1", policies={"n": ["1", "2"]})
    assert served(repository) == ["m/10", "n/1", "n/2"]
    assert state_of_all(directory)["m/1"] is State.AVAILABLE


def state_of_all(directory: ModelsDirectory) -> dict[str, State]:
    return {f"{each.name.model}/{each.name.version}": each.state for each in directory.versions()}


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
    directory.load("m", "1").result(SOON)
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
    directory.load("m", "1").result(SOON)
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
    directory.load("m", "1").result(SOON)
    assert repository.model("m") is not before
    assert before.closed  # type: ignore[attr-defined]
    settle(directory)
    assert state_of(directory, "1") == (State.SERVING, "")


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
    directory.load("m", "2").result(SOON)
    settle(directory)
    assert served(repository) == ["m/1", "m/2"]


def test_on_a_cpu_a_version_that_finds_no_memory_at_the_start_hides_no_other(
    tmp_path: Path, opened: Opened, load: FakeLoad
) -> None:
    fake_version(tmp_path, "m", "1")
    fake_version(tmp_path, "m", "2")
    load.broken["m/2"] = ComputeFailed("no memory is left")
    directory, repository = opened()
    assert served(repository) == ["m/1"]
    assert state_of(directory, "2")[0] is State.REFUSED


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
        assert waits.acquire(timeout=SOON)
        directory.retire("m", "2")
        load.let.set()
        first.result(SOON)
        waiting.result(SOON)
    settle(directory)
    directory.bring("m", "", Control())
    assert load.loaded == ["m/1"]
    assert state_of(directory, "2") == (State.AVAILABLE, "retired by hand")


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
    directory.roll_back("m", "1").result(SOON)
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
    directory.load("m", "1").result(SOON)
    settle(directory)
    assert served(repository) == ["m/1", "m/2"]


def test_a_rollback_loads_what_it_goes_back_to_and_outlives_new_versions(
    tmp_path: Path, opened: Opened
) -> None:
    fake_version(tmp_path, "m", "1")
    fake_version(tmp_path, "m", "2")
    directory, repository = opened(policy="latest 1")
    directory.roll_back("m", "1").result(SOON)
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
    directory.roll_back("m", "1").result(SOON)
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
        directory.load("m", "1").result(SOON)
    assert repository.model("m") is before
    assert state_of(directory, "1") == (State.SERVING, "not loaded anew: it drifts")


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
    directory.load("m", "1").result(SOON)
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
        directory.load("m", "9").result(SOON)
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
        directory.load("m", "1").result(SOON)
    directory.load("m", "2").result(SOON)
    directory.retire("m", "3")
    directory.load("m", "1").result(SOON)
    assert served(repository) == ["m/1", "m/2"]


def test_no_more_versions_drain_than_may_serve(tmp_path: Path, opened: Opened) -> None:
    fake_version(tmp_path, "m", "1")
    directory, repository = opened(max_versions=1)
    with repository.lease("m"):
        directory.load("m", "1").result(SOON)
        with pytest.raises(Overloaded, match="1 retired versions still end what they began"):
            directory.load("m", "1").result(SOON)
    directory.load("m", "1").result(SOON)


def test_what_waits_to_be_loaded_is_bounded(tmp_path: Path, opened: Opened, load: FakeLoad) -> None:
    fake_version(tmp_path, "m", "1")
    directory, _ = opened()
    load.let.clear()
    waiting = [directory.load("m", "1") for _ in range(MOST_WAITING)]
    with pytest.raises(Overloaded, match=f"{MOST_WAITING} versions wait"):
        directory.load("m", "1")
    load.let.set()
    for each in waiting:
        each.result(SOON)
    directory.load("m", "1").result(SOON)


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
    assert load.began.acquire(timeout=SOON)
    assert state_of(directory, "3")[0] is State.LOADING
    with repository.lease("m") as model:
        assert model.version == "2"
    directory.retire("m", "1")
    directory.roll_back("m", "2").result(0)
    load.let.set()
    loading.result(SOON)
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
            ending = aside.submit(directory.load("m", "1").result, SOON)
        else:
            ending = aside.submit(directory.mend, repository.model("m", "1"))
        assert load.began.acquire(timeout=SOON)
        directory.retire("m", "1")
        load.let.set()
        error = ending.exception(SOON)
    assert isinstance(error, BundleRefused if refused else NotFound) == (call == "load")
    assert served(repository) == ["m/2"]
    assert state_of(directory, "1")[0] is State.AVAILABLE
    assert all(model.closed for model in load.made if model.version == "1")
    with pytest.raises(NotFound):
        repository.model("m", "1")


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
            assert waits.acquire(timeout=SOON)
        gone = [weakref.ref(control) for control in controls]
        load.let.set()
        for each in waiting:
            with pytest.raises(BundleRefused, match="it drifts"):
                each.result(SOON)
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
        thread.join(SOON)
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
    assert load.began.acquire(timeout=SOON)
    assert repository.to_load("m") == ("m", "2")  # Not the older one, in its stead.
    threads[1].start()
    load.let.set()
    for thread in threads:
        thread.join(SOON)
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
        directory.load("m", "1").result(SOON)
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
        directory.load("m", "2").result(SOON)
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


def test_the_directory_is_watched_where_that_is_configured(tmp_path: Path, opened: Opened) -> None:
    fake_version(tmp_path, "m", "1")
    _, repository = opened(poll_seconds=0.01)
    changed = threading.Event()
    repository.on_change(changed.set)
    fake_version(tmp_path, "m", "2")
    while served(repository) != ["m/1", "m/2"]:
        assert changed.wait(SOON)
        changed.clear()


def test_a_pinned_version_cannot_be_retired_by_hand(tmp_path: Path, opened: Opened) -> None:
    fake_version(tmp_path, "m", "1")
    directory, repository = opened()
    directory.roll_back("m", "1").result(SOON)
    with pytest.raises(NotPossible):
        directory.retire("m", "1")
    settle(directory)
    assert served(repository) == ["m/1"]
