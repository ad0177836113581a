"""A version that fails on the device is opened anew; where that is refused, it goes."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import onnxruntime as ort
import pytest
from onnxruntime.capi.onnxruntime_pybind11_state import Fail

from salience_service.bundle.reader import Bundle
from salience_service.directory.models_directory import ModelsDirectory
from salience_service.errors import ComputeFailed, ConfigRefused, NotFound, Unavailable
from salience_service.models.repository import ModelRepository
from salience_service.models.versions import State
from tests.support.model_versions import FakeLoad, add_version, config_of, fake_version
from tests.support.waiting import SOON_SECONDS


@pytest.fixture
def opened(tmp_path: Path, load: FakeLoad) -> Iterator[tuple[ModelsDirectory, ModelRepository]]:
    fake_version(tmp_path, "m", "1")
    repository = ModelRepository()
    directory = ModelsDirectory(tmp_path, config_of(), repository, load)
    directory.open()
    yield directory, repository
    directory.close()


def test_a_version_that_opens_well_anew_takes_the_place_of_the_one_that_failed(
    opened: tuple[ModelsDirectory, ModelRepository], load: FakeLoad
) -> None:
    directory, repository = opened
    failing = repository.model("m")
    directory.mend(failing)
    assert repository.model("m") is not failing
    assert load.made[0].closed
    assert [status.state for status in repository.statuses()] == [State.SERVING]
    assert repository.ready() == {"m": True}


def test_a_version_that_is_refused_anew_goes_out_of_service_and_callers_are_told_to_come_again(
    opened: tuple[ModelsDirectory, ModelRepository], load: FakeLoad
) -> None:
    directory, repository = opened
    load.refused["m/1"] = "it drifts from its golden example"
    directory.mend(repository.model("m"))
    assert repository.ready() == {"m": False}, "its health would say SERVING"
    (status,) = repository.statuses()
    assert status.state is State.FAILED
    assert "it drifts from its golden example" in status.reason
    for version in ("", "1"):
        with pytest.raises(Unavailable, match="fails on the device") as told:
            repository.model("m", version)
        assert told.value.retry_after
    with pytest.raises(NotFound):
        repository.model("m", "2")


@pytest.mark.parametrize(
    "error",
    [
        ComputeFailed("the device has no memory left"),
        ConfigRefused("bundles.keys: no such file"),
        FileNotFoundError(2, "No such file or directory", "/srv/models/m/1"),
    ],
)
def test_a_version_that_cannot_be_opened_anew_serves_on_and_is_tried_again(
    opened: tuple[ModelsDirectory, ModelRepository], load: FakeLoad, error: Exception
) -> None:
    directory, repository = opened
    failing = repository.model("m")
    load.broken["m/1"] = error
    with pytest.raises(type(error)):
        directory.mend(failing)
    assert repository.model("m") is failing
    (status,) = repository.statuses()
    assert status.state is State.SERVING
    assert "not loaded anew" in status.reason
    assert "/srv" not in status.reason
    load.broken.clear()
    directory.mend(failing)
    assert repository.model("m") is not failing
    assert [each.reason for each in repository.statuses()] == [""]


@pytest.mark.parametrize(
    ("call", "error"),
    [
        ("_create_inference_session", RuntimeError("pthread_create failed, error code: 12")),
        ("run", Fail("Failed to allocate memory for requested buffer of size 8388608")),
    ],
)
def test_a_healthy_model_for_which_memory_or_threads_lack_serves_on_on_a_cpu_too(
    tmp_path: Path,
    tiny_bundle: Bundle,
    monkeypatch: pytest.MonkeyPatch,
    call: str,
    error: Exception,
) -> None:
    add_version(tiny_bundle, tmp_path, "1", "tiny")
    repository = ModelRepository()
    directory = ModelsDirectory(tmp_path, config_of(), repository)
    directory.open()
    failing = repository.model("tiny")

    def fails(*_: object) -> None:
        raise error

    with closing(directory), closing(repository):
        monkeypatch.setattr(ort.InferenceSession, call, fails)
        with pytest.raises(ComputeFailed):
            directory.mend(failing)
        assert repository.model("tiny") is failing
        monkeypatch.undo()
        directory.mend(failing)
        assert repository.model("tiny") is not failing


def test_a_version_that_cannot_be_opened_anew_at_the_last_attempt_is_out(
    opened: tuple[ModelsDirectory, ModelRepository], load: FakeLoad
) -> None:
    directory, repository = opened
    load.broken["m/1"] = ComputeFailed("CUDA failure 700: /srv/driver")
    directory.mend(repository.model("m"), last=True)
    with pytest.raises(Unavailable):
        repository.model("m")
    (status,) = repository.statuses()
    assert status.state is State.FAILED
    assert "/srv" not in status.reason


def test_it_serves_again_once_it_is_loaded_by_hand(
    opened: tuple[ModelsDirectory, ModelRepository], load: FakeLoad
) -> None:
    directory, repository = opened
    load.refused["m/1"] = "it drifts"
    directory.mend(repository.model("m"))
    load.refused.clear()
    directory.load("m", "1").result(SOON_SECONDS)
    assert repository.model("m").version == "1"
    assert repository.ready() == {"m": True}


def test_while_it_is_loaded_by_hand_and_once_that_is_refused_callers_are_told_to_come_again(
    opened: tuple[ModelsDirectory, ModelRepository], load: FakeLoad
) -> None:
    directory, repository = opened
    load.refused["m/1"] = "it drifts"
    directory.mend(repository.model("m"))
    load.let.clear()
    while load.began.acquire(blocking=False):
        pass
    loading = directory.load("m", "1")
    assert load.began.acquire(timeout=SOON_SECONDS)
    with pytest.raises(Unavailable):  # It would serve all the same, once it is loaded.
        directory.retire("m", "1")
    for state in (State.LOADING, State.REFUSED):
        assert [status.state for status in repository.statuses()] == [state]
        for version in ("", "1"):
            with pytest.raises(Unavailable, match="fails on the device"):
                repository.model("m", version)
        load.let.set()
        assert loading.exception(SOON_SECONDS)


def test_an_older_version_answers_who_names_none_while_the_newest_is_out_of_service(
    tmp_path: Path, opened: tuple[ModelsDirectory, ModelRepository], load: FakeLoad
) -> None:
    directory, repository = opened
    fake_version(tmp_path, "m", "2")
    directory.load("m", "2").result(SOON_SECONDS)
    load.refused["m/2"] = "it drifts"
    directory.mend(repository.model("m", "2"))
    assert repository.model("m").version == "1"
    with pytest.raises(Unavailable):
        repository.model("m", "2")


def test_a_version_that_was_pinned_goes_out_of_service_too_and_no_other_steps_in(
    tmp_path: Path, opened: tuple[ModelsDirectory, ModelRepository], load: FakeLoad
) -> None:
    directory, repository = opened
    fake_version(tmp_path, "m", "2")
    directory.load("m", "2").result(SOON_SECONDS)
    directory.roll_back("m", "1").result(SOON_SECONDS)
    load.refused["m/1"] = "it drifts"
    directory.mend(repository.model("m"))
    assert repository.ready() == {"m": False}
    with pytest.raises(Unavailable):
        repository.model("m")
    assert repository.model("m", "2").version == "2"
