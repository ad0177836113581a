"""A moment without threads: what needs one is refused, and nothing of it stays."""

import asyncio
import threading
from collections.abc import Callable, Iterator

import pytest

from salience_service.access.principal import ANONYMOUS
from salience_service.control import Control
from salience_service.errors import Overloaded
from salience_service.events import Event
from salience_service.request import ExplainOrder
from salience_service.rpc.calls.caller import enter
from salience_service.rpc.calls.explanations import Explanations
from tests.support.serving import FINISHED, STARTED, FakeEngine, finished_map, plain, request
from tests.support.waiting import SOON_SECONDS
from tests.support.witnesses import Recorder


class Machine:
    """Starts threads, but so many as it refuses."""

    def __init__(self, start: Callable[[threading.Thread], None]) -> None:
        self._start, self.refuses = start, 0

    def start(self, thread: threading.Thread) -> None:
        if self.refuses and thread.name.startswith("salience-explain"):
            self.refuses -= 1
            raise RuntimeError("can't start new thread")
        self._start(thread)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine(threading.Thread.start)
    monkeypatch.setattr(threading.Thread, "start", lambda thread: made.start(thread))
    return made


def long(order: ExplainOrder, control: Control) -> Iterator[Event]:
    """More than a mailbox holds."""
    yield STARTED
    for number in range(20):
        yield finished_map(map_id=number)
    yield FINISHED


async def explained(explanations: Explanations) -> int:
    """Messages of an answer."""
    async with explanations.run(request(), None) as responses:
        return len([response async for response in responses])


def test_an_explanation_without_a_thread_is_refused_and_leaves_its_place(machine: Machine) -> None:
    engine, witness = FakeEngine({"tiny": long}), Recorder()

    async def run() -> None:
        enter(ANONYMOUS, "1")
        explanations = Explanations(engine, 1, witness)
        machine.refuses = 2
        for _ in range(2):  # The second finds the place of the first.
            with pytest.raises(Overloaded, match="no thread"):
                await explained(explanations)
        assert await explained(explanations) == 22
        async with explanations.run(request(), None):
            with pytest.raises(Overloaded, match="1 explanations are running"):
                await explained(explanations)
        await asyncio.wait_for(explanations.close(), SOON_SECONDS)

    asyncio.run(run())
    assert [each.reason for each in witness.refusals] == ["Overloaded"] * 3
    assert len(witness.records) == 2
    assert len(engine.controls) == 2


def test_a_thread_that_comes_free_does_not_take_up_what_was_refused(machine: Machine) -> None:
    began, may_end = threading.Event(), threading.Event()

    def held(order: ExplainOrder, control: Control) -> Iterator[Event]:
        began.set()
        assert may_end.wait(SOON_SECONDS)
        yield from plain(order, control)

    engine = FakeEngine({"tiny": held})

    async def run() -> None:
        enter(ANONYMOUS, "1")
        explanations = Explanations(engine, 2)
        first = asyncio.create_task(explained(explanations))
        await asyncio.to_thread(began.wait, SOON_SECONDS)
        machine.refuses = 1
        with pytest.raises(Overloaded, match="no thread"):
            await explained(explanations)
        may_end.set()
        assert await first == 4
        assert await asyncio.gather(explained(explanations), explained(explanations)) == [4, 4]
        await asyncio.wait_for(explanations.close(), SOON_SECONDS)

    asyncio.run(run())
    assert len(engine.controls) == 3


def test_a_prediction_without_a_thread_is_refused_and_leaves_its_place(machine: Machine) -> None:
    done = []

    async def run() -> None:
        enter(ANONYMOUS, "1")
        explanations = Explanations(FakeEngine(), 1)
        machine.refuses = 2
        for _ in range(2):
            with pytest.raises(Overloaded, match="no thread"):
                await explanations.once(lambda _: done.append("refused"), None)
        await explanations.once(lambda _: done.append("answered"), None)
        await asyncio.wait_for(explanations.close(), SOON_SECONDS)

    asyncio.run(run())
    assert done == ["answered"]
