"""Versions that come and go under a real engine that is never idle: no request is dropped."""

import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from salience_service.bundle.reader import Bundle
from salience_service.control import Control
from salience_service.engine import Engine
from salience_service.errors import BundleRefused, Cancelled, NotFound, Overloaded, SalienceError
from salience_service.events import Finished, FinishedMap, GradientSide, Progress, Started
from salience_service.models.versions import State, VersionName
from salience_service.request import ExplainOrder, MethodCall, PreparedImage
from tests.support.freed import without_the_collector
from tests.support.model_versions import (
    add_version,
    config_of,
    directory_of,
    drifting_version,
    remove_version,
    versions,
)
from tests.support.waiting import SOON_SECONDS

IMAGE = PreparedImage(np.random.default_rng(0).normal(size=(3, 32, 32)).astype(np.float32))
QUICK = (MethodCall("score-cam"),)
LONG = ExplainOrder("softmax", IMAGE, (MethodCall("rise", {"masks": 4000}),))
Opened = Callable[..., Engine]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opened]:
    """An engine over `tmp_path`; keys of `[repository]` as given."""
    engines: list[Engine] = []

    def open_with(cache_bytes: int = 0, **settings: object) -> Engine:
        config = config_of(**settings).model_copy(update={"cache_bytes": cache_bytes})
        engines.append(Engine.open(tmp_path, config))
        return engines[-1]

    yield open_with
    for engine in engines:
        engine.close()


def test_a_version_that_gave_way_before_it_was_leased_is_brought_again(
    tmp_path: Path, tiny_bundle: Bundle, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_version(tiny_bundle, tmp_path, "1")
    engine = opened(load_on_demand=True)
    directory = directory_of(engine)
    bring, repository, taken = directory.bring, engine._repository, list[str]()

    def taken_at_once(model: str, version: str, control: Control) -> None:
        bring(model, version, control)
        if not taken:
            taken.append(model)
            name = VersionName(model, "1")
            repository.retire(name, "gave way to another", State.ON_DEMAND)

    monkeypatch.setattr(directory, "bring", taken_at_once)
    asked = ExplainOrder("softmax", IMAGE, QUICK)
    assert any(isinstance(event, Finished) for event in engine.explain(asked, Control()))
    assert taken == ["softmax"]
    with pytest.raises(NotFound):
        list(engine.explain(replace(asked, model="another"), Control()))


def test_a_version_that_gives_way_again_and_again_is_refused_to_who_waits(
    tmp_path: Path, tiny_bundle: Bundle, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_version(tiny_bundle, tmp_path, "1")
    engine = opened(load_on_demand=True)
    directory, brought = directory_of(engine), list[str]()
    name = VersionName("softmax", "1")

    def never_there(model: str, version: str, control: Control) -> None:
        brought.append(model)
        engine._repository.note(name, State.ON_DEMAND)

    monkeypatch.setattr(directory, "bring", never_there)
    with pytest.raises(Overloaded, match=r"more are asked for than may serve.*max_versions"):
        list(engine.explain(ExplainOrder("softmax", IMAGE, QUICK), Control()))
    assert len(brought) == 8


def order(version: str = "", *methods: MethodCall) -> ExplainOrder:
    return ExplainOrder("softmax", IMAGE, methods or QUICK, version=version)


def answered_by(engine: Engine, asked: ExplainOrder) -> str:
    """The version that answered, as the map's provenance tells it."""
    events = list(engine.explain(asked, Control()))
    (made,) = [event for event in events if isinstance(event, FinishedMap)]
    assert isinstance(events[-1], Finished)
    assert isinstance(events[0], Started)
    assert events[0].version == made.provenance.version
    return made.provenance.version


@dataclass
class Load:
    """What callers who ask without a pause were answered: when they asked, and by which version."""

    answers: list[tuple[float, str]] = field(default_factory=list)
    failures: list[BaseException] = field(default_factory=list)
    some: threading.Condition = field(default_factory=threading.Condition)

    def wait(self, more: int) -> None:
        """Until so many more are answered."""
        with self.some:
            wanted = len(self.answers) + more
            enough = self.some.wait_for(
                lambda: len(self.answers) >= wanted or self.failures, SOON_SECONDS
            )
        assert enough
        assert not self.failures

    def since(self, moment: float) -> set[str]:
        """The versions that answered who asked after a moment."""
        return {version for asked, version in self.answers if asked > moment}


@contextmanager
def under_load(engine: Engine, callers: int = 4) -> Iterator[Load]:
    """Callers that ask for explanations, one after the other, while the block lasts."""
    load, stop = Load(), threading.Event()

    def ask() -> None:
        try:
            while not stop.is_set():
                asked = time.monotonic()
                version = answered_by(engine, order())
                with load.some:
                    load.answers.append((asked, version))
                    load.some.notify_all()
        except BaseException as failure:
            with load.some:
                load.failures.append(failure)
                load.some.notify_all()

    threads = [threading.Thread(target=ask) for _ in range(callers)]
    for thread in threads:
        thread.start()
    try:
        load.wait(callers)
        yield load
        load.wait(callers)
    finally:
        stop.set()
        for thread in threads:
            thread.join(SOON_SECONDS)
    assert not load.failures


def test_a_rollback_under_load_drops_nothing_and_the_old_version_answers_all_that_follows(
    tiny_bundle: Bundle, tmp_path: Path, opened: Opened
) -> None:
    add_version(tiny_bundle, tmp_path, "1")
    add_version(tiny_bundle, tmp_path, "2")
    engine = opened(policy="latest 1")
    with under_load(engine) as load:
        assert load.since(0) == {"2"}
        directory_of(engine).roll_back("softmax", "1").result(SOON_SECONDS)
        rolled_back = time.monotonic()
        load.wait(12)
        directory_of(engine).retire("softmax", "2")
        load.wait(12)
    assert load.since(rolled_back) == {"1"}
    assert load.since(0) == {"1", "2"}
    assert versions(engine) == ["1"]


def test_versions_are_added_loaded_anew_and_retired_under_load_and_nothing_is_dropped(
    tiny_bundle: Bundle, tmp_path: Path, opened: Opened
) -> None:
    add_version(tiny_bundle, tmp_path, "1")
    engine = opened()
    directory = directory_of(engine)
    with under_load(engine) as load:
        add_version(tiny_bundle, tmp_path, "2")
        directory.load("softmax", "2").result(SOON_SECONDS)
        added = time.monotonic()
        load.wait(8)
        for _ in range(3):
            directory.load("softmax", "2").result(SOON_SECONDS)
        load.wait(8)
        assert load.since(added) == {"2"}
        directory.retire("softmax", "2")
        retired = time.monotonic()
        load.wait(8)
    assert load.since(retired) == {"1"}


def test_polling_finds_a_new_version_and_drops_a_removed_one_under_load(
    tiny_bundle: Bundle, tmp_path: Path, opened: Opened
) -> None:
    add_version(tiny_bundle, tmp_path, "1")
    engine = opened(poll_seconds=0.05)
    changed = threading.Event()
    engine.on_change(changed.set)

    def until(wanted: list[str]) -> None:
        while versions(engine) != wanted:
            assert changed.wait(SOON_SECONDS)
            changed.clear()

    with under_load(engine, 2) as load:
        add_version(tiny_bundle, tmp_path, "2")
        until(["1", "2"])
        remove_version(tmp_path, "softmax", "1")
        until(["2"])
        moment = time.monotonic()
        load.wait(4)
    assert load.since(moment) == {"2"}


def test_a_version_that_is_broken_or_drifts_is_refused_and_the_old_one_serves_on(
    tiny_bundle: Bundle, tmp_path: Path, opened: Opened
) -> None:
    add_version(tiny_bundle, tmp_path, "1")
    engine = opened()
    directory = directory_of(engine)
    with under_load(engine, 2) as load:
        drifting_version(tiny_bundle, tmp_path, "2")
        with pytest.raises(BundleRefused, match="drifts from its golden example"):
            directory.load("softmax", "2").result(SOON_SECONDS)
        damaged = add_version(tiny_bundle, tmp_path, "3")
        (damaged / "weights.bin").unlink()
        (damaged / "weights.bin").write_bytes(b"half of it")
        with pytest.raises(BundleRefused, match="weights"):
            directory.load("softmax", "3").result(SOON_SECONDS)
    assert load.since(0) == {"1"}
    found = {each.name.version: each for each in directory.versions()}
    assert [found[version].state for version in "123"] == [
        State.SERVING,
        State.REFUSED,
        State.REFUSED,
    ]
    assert str(tmp_path) not in found["2"].reason + found["3"].reason


def test_a_running_explanation_ends_on_the_version_it_began_with(
    tiny_bundle: Bundle, tmp_path: Path, opened: Opened
) -> None:
    add_version(tiny_bundle, tmp_path, "1")
    add_version(tiny_bundle, tmp_path, "2")
    engine = opened()
    events = engine.explain(order("2"), Control())
    assert isinstance(next(events), Started)
    directory_of(engine).retire("softmax", "2")
    assert answered_by(engine, order()) == "1"
    with pytest.raises(NotFound):
        next(engine.explain(order("2"), Control()))
    drained = [each for each in directory_of(engine).versions() if each.state is State.DRAINING]
    assert [(each.name.version, each.leases) for each in drained] == [("2", 1)]
    rest = list(events)
    assert [each.provenance.version for each in rest if isinstance(each, FinishedMap)] == ["2"]
    assert isinstance(rest[-1], Finished)
    assert all(each.state is not State.DRAINING for each in directory_of(engine).versions())


@pytest.mark.parametrize("end", ["finished", "closed", "cancelled"])
def test_a_drained_version_is_freed_with_all_that_it_opened(
    tiny_bundle: Bundle, tmp_path: Path, opened: Opened, end: str
) -> None:
    """By counting references alone: memory comes back at once, not at some later collection."""
    add_version(tiny_bundle, tmp_path, "1")
    add_version(tiny_bundle, tmp_path, "2")
    engine = opened()
    # Its threads are there from now on.
    directory_of(engine).load("softmax", "1").result(SOON_SECONDS)
    opened_by_use(engine)
    held = sessions(engine, "2")
    threads = threading.active_count()
    control = Control()
    events = engine.explain(ExplainOrder("softmax", IMAGE, LONG.methods, version="2"), control)
    with without_the_collector():
        while not isinstance(next(events), Progress):
            pass
        directory_of(engine).retire("softmax", "2")
        assert all(each() is not None for each in held)
        finish(events, control, end)
        del events
        gone(held)
    assert threading.active_count() <= threads  # Those of earlier tests may end meanwhile.


def opened_by_use(engine: Engine) -> None:
    """Opens what is opened on the way: a tail, and the sides that take gradients."""
    for name in ("ablation-cam", "grad-cam"):
        answered_by(engine, order("2", MethodCall(name)))


def sessions(engine: Engine, version: str) -> list[weakref.ref[object]]:
    """Ways to all that holds memory of a version, which hold nothing."""
    model = engine.model("softmax", version)
    tail = model.tails.open(model.manifest.taps[-1]).result()
    gradients = model.gradients.open(GradientSide.ONNX).result()
    tail_gradient = model.tail_gradients.open(model.manifest.taps[-1]).result()
    assert model.pixel_masked is not None
    held = (model, model._forward, model.masked, model.pixel_masked, tail, gradients, tail_gradient)
    runtimes = [each for row in model._forward._at for each in row]
    return [weakref.ref(each) for each in (*held, *runtimes)]


def finish(events: Iterator[object], control: Control, end: str) -> None:
    if end == "finished":
        assert isinstance(list(events)[-1], Finished)
    elif end == "closed":
        events.close()  # type: ignore[attr-defined]
    else:
        control.cancel()
        with pytest.raises(Cancelled):
            list(events)


def gone(held: list[weakref.ref[object]]) -> None:
    """A lane may still be at the batch that was cancelled: it is done within it."""
    deadline = time.monotonic() + 10
    while any(each() is not None for each in held) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert [each() for each in held] == [None] * len(held)


def test_answers_of_a_version_are_forgotten_with_it_and_kept_while_it_serves(
    tiny_bundle: Bundle, tmp_path: Path, opened: Opened
) -> None:
    add_version(tiny_bundle, tmp_path, "1")
    add_version(tiny_bundle, tmp_path, "2")
    engine = opened(cache_bytes=2**24)
    assert engine.cache is not None
    for version in "12":
        answered_by(engine, order(version))
    # The same bundle: the same answers.
    directory_of(engine).load("softmax", "2").result(SOON_SECONDS)
    assert engine.cache.count == 2
    directory_of(engine).retire("softmax", "2")
    assert engine.cache.count == 1
    assert from_cache(engine, "1")


def from_cache(engine: Engine, version: str) -> bool:
    end = list(engine.explain(order(version), Control()))[-1]
    assert isinstance(end, Finished)
    return end.from_cache


def test_on_demand_the_first_who_asks_waits_and_is_answered(
    tiny_bundle: Bundle, tmp_path: Path, opened: Opened
) -> None:
    for name in ("softmax", "other"):
        add_version(tiny_bundle, tmp_path, "1", name)
    engine = opened(load_on_demand=True, max_versions=1)
    assert engine.models() == ()
    for name in ("softmax", "other", "softmax"):
        assert answered_by(engine, ExplainOrder(name, IMAGE, QUICK)) == "1"
    assert [model.name for model in engine.models()] == ["softmax"]
    with pytest.raises(SalienceError, match="no model 'x' here"):
        next(engine.explain(ExplainOrder("x", IMAGE, QUICK), Control()))


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * 4096


def test_memory_stays_flat_over_many_reloads(
    tiny_bundle: Bundle, tmp_path: Path, opened: Opened
) -> None:
    add_version(tiny_bundle, tmp_path, "1")
    engine = opened()

    def reload(times: int) -> int:
        for _ in range(times):
            directory_of(engine).load("softmax", "1").result(SOON_SECONDS)
            answered_by(engine, order())
        return resident_bytes()

    reload(4)  # Until the allocator has what it takes.
    before = reload(4)
    after = reload(16)
    assert after - before < 8 * 2**20  # Versions that were kept would take 17 MiB.
