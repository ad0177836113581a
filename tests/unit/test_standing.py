"""How a model stands: which failures count, and when it is mended."""

import gc
import threading
import weakref
from contextlib import suppress

import pytest

from salience_service.errors import Cancelled, ComputeFailed, DeadlineExceeded, SalienceError
from salience_service.models.model import ServedModel
from salience_service.models.standing import Standing

SOON_SECONDS = 20.0


class Named(ServedModel):
    """A model that has only its words."""

    def __init__(self, name: str = "m") -> None:
        self.name, self.version = name, "1"


class Workshop:
    """Where models are brought; work there takes until `done` is set."""

    def __init__(self) -> None:
        self.came = threading.Semaphore(0)
        self.models: list[ServedModel] = []
        self.done = threading.Event()
        self.done.set()

    def mend(self, model: ServedModel) -> None:
        self.models.append(model)
        self.came.release()
        self.done.wait(SOON_SECONDS)


def explain(standing: Standing, model: ServedModel, *ends: SalienceError | None) -> None:
    for end in ends:
        with suppress(SalienceError), standing.told(model):
            if end:
                raise end


FAILED = ComputeFailed("the model failed on the device")


def test_failures_in_a_row_bring_the_model_to_be_mended() -> None:
    shop, model = Workshop(), Named()
    standing = Standing(3, shop.mend)
    explain(standing, model, FAILED, FAILED)
    assert not shop.models
    explain(standing, model, FAILED)
    assert shop.came.acquire(timeout=SOON_SECONDS)
    assert shop.models == [model]


def test_a_good_end_forgets_the_failures_before_it() -> None:
    shop, model = Workshop(), Named()
    explain(Standing(3, shop.mend), model, FAILED, FAILED, None, FAILED, FAILED)
    assert not shop.models


@pytest.mark.parametrize("end", [Cancelled("x"), DeadlineExceeded("x")])
def test_what_says_nothing_of_the_model_neither_counts_nor_forgets(end: SalienceError) -> None:
    shop, model = Workshop(), Named()
    standing = Standing(3, shop.mend)
    explain(standing, model, FAILED, end, FAILED, end)
    assert not shop.models
    explain(standing, model, FAILED)
    assert shop.came.acquire(timeout=SOON_SECONDS)


def test_each_model_is_counted_by_itself() -> None:
    shop = Workshop()
    standing = Standing(2, shop.mend)
    one, other = Named("one"), Named("other")
    explain(standing, one, FAILED)
    explain(standing, other, FAILED)
    assert not shop.models
    explain(standing, other, FAILED)
    assert shop.came.acquire(timeout=SOON_SECONDS)
    assert shop.models == [other]


def test_a_model_that_is_being_mended_is_not_brought_again() -> None:
    shop, model = Workshop(), Named()
    shop.done.clear()
    standing = Standing(1, shop.mend)
    explain(standing, model, FAILED)
    assert shop.came.acquire(timeout=SOON_SECONDS)
    explain(standing, model, FAILED, FAILED)
    assert shop.models == [model]
    shop.done.set()


def test_a_model_that_is_gone_is_not_held_for_its_failures() -> None:
    standing, model = Standing(3, Workshop().mend), Named()
    explain(standing, model, FAILED)
    gone = weakref.ref(model)
    del model
    FAILED.__traceback__ = None
    gc.collect()
    assert gone() is None
