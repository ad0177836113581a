"""What is opened for the first who asks: errors for each who waited, their cause in the log."""

import logging
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from salience_service.control import Control
from salience_service.errors import BundleRefused, Cancelled, ComputeFailed, Overloaded, anew
from salience_service.openings import Openings, opened
from tests.support.freed import is_freed, without_the_collector
from tests.support.waiting import until

LOG = "salience_service.openings"


@pytest.fixture
def openings() -> Iterator[Callable[[Callable[[str], str]], Openings[str, str]]]:
    with ThreadPoolExecutor(1) as opener:
        yield lambda opens: Openings(opener, opens)


def _fails(error: Exception) -> Callable[[str], str]:
    def opens(_: str) -> str:
        raise error

    return opens


def test_one_that_failed_is_tried_anew_by_the_next_who_asks(
    openings: Callable[[Callable[[str], str]], Openings[str, str]],
) -> None:
    asked = list[str]()

    def opens(key: str) -> str:
        asked.append(key)
        if len(asked) == 1:
            raise BundleRefused("its weights are damaged")
        return key

    known = openings(opens)
    first = known.of("a")
    assert isinstance(first.exception(10), BundleRefused)
    assert opened(known.of("a")) == opened(known.of("a")) == "a"
    assert asked == ["a", "a"]


def test_each_who_waited_has_an_error_of_their_own_and_the_log_the_cause(
    openings: Callable[[Callable[[str], str]], Openings[str, str]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    first = openings(_fails(BundleRefused("its weights are damaged"))).of("a")
    first.exception(10)
    told = []
    for _ in range(2):
        with pytest.raises(BundleRefused, match="its weights are damaged") as raised:
            opened(first)
        told.append(raised.value)
    assert told[0] is not told[1] is not first.exception()
    until(lambda: any(record.name == LOG for record in caplog.records))
    assert [record.levelno for record in caplog.records if record.name == LOG] == [logging.ERROR]


def test_one_failure_from_inside_is_one_however_many_waited(
    openings: Callable[[Callable[[str], str]], Openings[str, str]],
) -> None:
    first = openings(_fails(MemoryError())).of("a")
    first.exception(10)
    told = []
    for _ in range(2):
        with pytest.raises(ComputeFailed) as raised:
            opened(first)
        told.append(raised.value)
    assert told[0] is not told[1]
    assert told[0].origin is told[1].origin


def test_an_error_from_inside_is_told_in_the_log_alone(
    openings: Callable[[Callable[[str], str]], Openings[str, str]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    first = openings(_fails(FileNotFoundError(2, "No such file", "/srv/models/a"))).of("a")
    first.exception(10)
    with pytest.raises(ComputeFailed) as told:
        opened(first)
    assert "/srv" not in str(told.value)
    until(lambda: "/srv" in caplog.text)


def test_one_given_up_because_its_model_was_retired_is_no_news(
    openings: Callable[[Callable[[str], str]], Openings[str, str]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    openings(_fails(Cancelled("the model was retired"))).of("a").exception(10)
    assert not [record for record in caplog.records if record.name == LOG]


def test_who_waits_for_what_is_given_up_is_told_so_in_an_error_of_ours(
    openings: Callable[[Callable[[str], str]], Openings[str, str]],
) -> None:
    begun, may_end = threading.Event(), threading.Event()

    def opens(key: str) -> str:
        begun.set()
        assert may_end.wait(10)
        return key

    known = openings(opens)
    known.of("a")
    assert begun.wait(10)
    waiting = known.of("b")
    assert waiting.cancel()  # As a pool does that is shut down.
    may_end.set()
    with pytest.raises(Cancelled, match="the server ended first"):
        opened(waiting)


def test_an_error_raised_anew_is_the_same_but_for_where_it_was() -> None:
    first = Overloaded("full", field="methods", retry_after=3.0, resource=("model", "m"))
    with pytest.raises(Overloaded) as told:
        raise first
    second = anew(told.value)
    assert second is not first
    assert second.__traceback__ is None
    assert (str(second), second.field, second.retry_after, second.resource) == (
        "full",
        "methods",
        3.0,
        ("model", "m"),
    )


def test_what_ends_many_explanations_at_once_holds_none_of_them() -> None:
    because, controls = Overloaded("the server stops"), [Control() for _ in range(2)]
    with without_the_collector():
        for control in controls:
            control.cancel(because)
            with pytest.raises(Overloaded, match="the server stops"):
                control.check()
        gone = [weakref.ref(control) for control in controls]
        del controls, control
        assert all(map(is_freed, gone))
