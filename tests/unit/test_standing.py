"""How a model stands: which failures count, and when it is mended."""

import gc
import threading
import weakref
from contextlib import suppress

import pytest

from salience_service.errors import (
    Cancelled,
    ComputeFailed,
    DeadlineExceeded,
    Overloaded,
    SalienceError,
    anew,
)
from salience_service.models.model import ServedModel
from salience_service.models.standing import Standing
from tests.support.waiting import SOON_SECONDS, until


class Named(ServedModel):
    """A model that has only its words."""

    def __init__(self, name: str = "m") -> None:
        self.name, self.version = name, "1"


class Workshop:
    """Where models are brought; work there takes until `done` is set."""

    def __init__(self) -> None:
        self.came = threading.Semaphore(0)
        self.models: list[ServedModel] = []
        self.last: list[bool] = []
        self.fault: SalienceError | None = None
        self.done = threading.Event()
        self.done.set()

    def mend(self, model: ServedModel, last: bool) -> None:
        self.models.append(model)
        self.last.append(last)
        self.came.release()
        self.done.wait(SOON_SECONDS)
        if self.fault:
            raise anew(self.fault)


def explain(standing: Standing, model: ServedModel, *ends: SalienceError | None) -> None:
    for end in ends:
        with suppress(SalienceError), standing.told(model):
            if end:
                raise end


def failed() -> ComputeFailed:
    return ComputeFailed("the model failed on the device")


def test_failures_in_a_row_bring_the_model_to_be_mended() -> None:
    shop, model = Workshop(), Named()
    standing = Standing(3, shop.mend)
    explain(standing, model, failed(), failed())
    assert not shop.models
    explain(standing, model, failed())
    assert shop.came.acquire(timeout=SOON_SECONDS)
    assert shop.models == [model]


def test_explanations_that_shared_a_failed_batch_count_as_one_failure() -> None:
    shop, model = Workshop(), Named()
    standing = Standing(3, shop.mend)
    one, other = failed(), failed()
    explain(standing, model, anew(one), anew(other), anew(one), anew(one), anew(other))
    assert not shop.models
    explain(standing, model, failed())
    assert shop.came.acquire(timeout=SOON_SECONDS)


def test_a_good_end_forgets_the_failures_before_it() -> None:
    shop, model = Workshop(), Named()
    explain(Standing(3, shop.mend), model, failed(), failed(), None, failed(), failed())
    assert not shop.models


@pytest.mark.parametrize("end", [Cancelled("x"), DeadlineExceeded("x")])
def test_what_says_nothing_of_the_model_neither_counts_nor_forgets(end: SalienceError) -> None:
    shop, model = Workshop(), Named()
    standing = Standing(3, shop.mend)
    explain(standing, model, failed(), end, failed(), end)
    assert not shop.models
    explain(standing, model, failed())
    assert shop.came.acquire(timeout=SOON_SECONDS)


def test_each_model_is_counted_by_itself() -> None:
    shop = Workshop()
    standing = Standing(2, shop.mend)
    one, other = Named("one"), Named("other")
    explain(standing, one, failed())
    explain(standing, other, failed())
    assert not shop.models
    explain(standing, other, failed())
    assert shop.came.acquire(timeout=SOON_SECONDS)
    assert shop.models == [other]


def test_a_model_that_is_being_mended_is_not_brought_again() -> None:
    shop, model = Workshop(), Named()
    shop.done.clear()
    standing = Standing(1, shop.mend)
    explain(standing, model, failed())
    assert shop.came.acquire(timeout=SOON_SECONDS)
    explain(standing, model, failed(), failed())
    assert shop.models == [model]
    shop.done.set()


def test_the_second_attempt_is_the_last_unless_something_was_answered_between() -> None:
    shop, model = Workshop(), Named()
    shop.fault = ComputeFailed("no memory for a second copy")
    standing = Standing(1, shop.mend)

    def brought(*ends: SalienceError | None) -> bool:
        explain(standing, model, *ends)
        assert shop.came.acquire(timeout=SOON_SECONDS)
        until(lambda: model not in standing._mending)
        return shop.last[-1]

    assert [brought(failed()), brought(failed())] == [False, True]
    assert not brought(None, failed())


def test_an_attempt_that_was_not_made_is_none() -> None:
    """Too many wait to be loaded, or a version before it drains."""
    shop, model = Workshop(), Named()
    shop.fault = Overloaded("too many wait")
    standing = Standing(1, shop.mend)
    for _ in range(3):
        explain(standing, model, failed())
        assert shop.came.acquire(timeout=SOON_SECONDS)
        until(lambda: model not in standing._mending)
    assert shop.last == [False] * 3


def test_a_model_that_is_gone_is_not_held_for_its_failures() -> None:
    standing, model = Standing(3, Workshop().mend), Named()
    failure = failed()
    explain(standing, model, failure)
    gone = weakref.ref(model)
    del model
    failure.__traceback__ = None
    gc.collect()
    assert gone() is None
