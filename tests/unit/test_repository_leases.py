"""The model repository: who answers, who is pinned, and when what was retired is closed."""

import threading

import pytest

from salience_service.errors import ConfigRefused, NotFound, NotPossible, Unavailable
from salience_service.models.repository import ModelRepository
from salience_service.models.versions import State, VersionName
from salience_service.runtime.device import Device, Lane
from tests.support.model_versions import FakeModel

ONE, TWO = VersionName("m", "1"), VersionName("m", "2")


def repository(*versions: str) -> tuple[ModelRepository, list[FakeModel]]:
    models = [FakeModel("m", version, f"digest {version}") for version in versions]
    return ModelRepository(models), models  # type: ignore[arg-type]


def states(held: ModelRepository) -> dict[str, State]:
    return {status.name.version: status.state for status in held.statuses()}


def test_the_newest_version_answers_where_none_is_named_whatever_came_last() -> None:
    held, models = repository("2", "10", "9")
    assert held.model("m") is models[1]
    assert [model.version for model in held.models()] == ["2", "9", "10"]


def test_what_is_not_there_is_not_found_and_no_other_model_is_named() -> None:
    held, _ = repository("1")
    with pytest.raises(NotFound, match="no model 'n' here") as told:
        held.model("n")
    assert told.value.resource == ("model", "n")
    assert "'m'" not in str(told.value)
    with pytest.raises(NotFound, match="model m has no version '3'; served are: 1"):
        held.model("m", "3")


def test_a_version_in_use_is_closed_when_its_last_lease_ends_and_not_before() -> None:
    held, (one, two) = repository("1", "2")
    first, second = held.lease("m", "1"), held.lease("m", "1")
    assert first.__enter__() is second.__enter__() is one
    held.retire(ONE)
    assert states(held) == {"1": State.DRAINING, "2": State.SERVING}
    with pytest.raises(NotFound), held.lease("m", "1"):
        pass
    first.__exit__(None, None, None)
    assert not one.closed
    second.__exit__(None, None, None)
    assert (one.closed, two.closed) == (True, False)
    assert states(held) == {"2": State.SERVING}


def test_a_version_that_nobody_uses_is_closed_at_once_and_its_closing_told() -> None:
    held, (one, _) = repository("1", "2")
    told: list[object] = []
    held.on_closed(told.append)
    held.retire(ONE)
    assert one.closed
    assert told == [one]


def test_a_lease_ends_with_its_block_also_where_that_fails() -> None:
    held, (one,) = repository("1")
    with pytest.raises(RuntimeError), held.lease("m"):
        raise RuntimeError
    held.retire(ONE)
    assert one.closed


def test_a_version_loaded_anew_answers_what_comes_and_the_one_before_drains() -> None:
    held, (before,) = repository("1")
    after = FakeModel("m", "1", "another")
    with held.lease("m") as leased:
        held.serve(after)  # type: ignore[arg-type]
        assert leased is before
        assert held.model("m") is after
        assert not before.closed
    assert (before.closed, after.closed) == (True, False)


def test_a_pinned_version_answers_though_newer_ones_come_and_go() -> None:
    held, (one, two) = repository("1", "2")
    held.pin(ONE)
    three = FakeModel("m", "3")
    held.serve(three)  # type: ignore[arg-type]
    assert held.model("m") is one
    held.retire(VersionName("m", "3"))
    assert held.model("m") is one
    held.unpin("m")
    assert held.model("m") is two


def test_a_pinned_version_is_not_retired_and_one_that_is_not_there_not_pinned() -> None:
    held, (one, _) = repository("1", "2")
    held.pin(ONE)
    with pytest.raises(NotPossible, match="roll back to another"):
        held.retire(ONE)
    assert not one.closed
    with pytest.raises(NotFound):
        held.pin(VersionName("m", "3"))
    assert held.model("m") is one


def test_a_pin_that_no_other_version_could_take_over_from_stays() -> None:
    held, _ = repository("1")
    held.pin(ONE)
    held.fail(ONE, "it fails on the device")
    with pytest.raises(Unavailable):
        held.unpin("m")
    assert held.is_pinned(ONE)


def test_a_version_that_failed_says_so_until_it_serves_whatever_is_noted_of_it() -> None:
    held, (one,) = repository("1")
    held.fail(ONE, "it fails on the device")
    for state in (State.LOADING, State.REFUSED):
        held.note(ONE, state)
        for version in ("", "1"):
            with pytest.raises(Unavailable):
                held.model("m", version)
    held.serve(one)  # type: ignore[arg-type]
    held.retire(ONE)
    with pytest.raises(NotFound):
        held.model("m")


def test_a_version_that_failed_and_is_forgotten_is_not_found() -> None:
    held, _ = repository("1")
    held.fail(ONE, "it fails on the device")
    held.forget(ONE)
    with pytest.raises(NotFound):
        held.model("m")


def test_statuses_tell_leases_who_answers_and_why_others_do_not() -> None:
    held, _ = repository("1", "2")
    held.note(VersionName("m", "3"), State.REFUSED, "its weights are damaged")
    held.pin(ONE)
    with held.lease("m"):
        one, two, three = held.statuses()
    assert (one.leases, one.answers_unnamed, one.pinned, one.digest) == (1, True, True, "digest 1")
    assert (two.leases, two.answers_unnamed, two.pinned) == (0, False, False)
    assert (three.state, three.reason) == (State.REFUSED, "its weights are damaged")


def test_a_model_is_ready_while_a_version_answers_and_unknown_once_nothing_is() -> None:
    held, _ = repository("1")
    assert held.ready() == {"m": True}
    held.retire(ONE, "retired by hand")
    assert held.ready() == {"m": False}
    held.forget(ONE)
    assert held.ready() == {}
    held.note(TWO, State.ON_DEMAND)
    assert held.ready() == {"m": True}


def test_every_change_is_told_after_it_was_made() -> None:
    held, _ = repository("1", "2")
    seen: list[tuple[str, ...]] = []
    held.on_change(lambda: seen.append(tuple(model.version for model in held.models())))
    held.retire(TWO)
    held.serve(FakeModel("m", "3"))  # type: ignore[arg-type]
    assert seen == [("1",), ("1", "3")]


def test_the_one_used_longest_ago_is_told_but_none_in_use_and_none_pinned() -> None:
    held, _ = repository("1", "2", "3")
    for version in ("1", "2", "3"):
        with held.lease("m", version):
            pass
    held.pin(ONE)
    with held.lease("m", "2"):
        assert held.longest_unused() == VersionName("m", "3")
    with held.lease("m", "3"):
        assert held.longest_unused() == TWO


def test_models_on_other_devices_are_refused() -> None:
    held, _ = repository("1")
    with pytest.raises(ConfigRefused, match="share its devices"):
        held.serve(FakeModel("m", "2", device=Device(calls=2)))  # type: ignore[arg-type]
    assert held.lanes == (Lane(),)


def test_leases_and_changes_from_many_threads_lose_nothing() -> None:
    held, (one,) = repository("1")
    made, stop, failures = [one], threading.Event(), []

    def use() -> None:
        try:
            while not stop.is_set():
                with held.lease("m") as model:
                    assert not model.closed  # type: ignore[attr-defined]
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(300):
        made.append(FakeModel("m", "1", str(number)))
        held.serve(made[-1])  # type: ignore[arg-type]
    stop.set()
    for thread in threads:
        thread.join()
    assert not failures
    assert [model.closed for model in made] == [True] * 300 + [False]
    assert held.counts == (1, 0)
