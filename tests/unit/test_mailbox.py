"""The bridge between thread and loop: nothing lost, nothing unbounded, both sides woken."""

import asyncio
import threading
import time
import weakref
from typing import NoReturn

import pytest

from salience.v1 import explanation_service_pb2 as pb
from salience.v1 import map_pb2
from salience_service.errors import Cancelled, ComputeFailed
from salience_service.rpc.calls.mailbox import Mailbox
from tests.support.freed import is_freed, without_the_collector
from tests.support.waiting import SOON_SECONDS


def _progress(rows: int) -> pb.ExplainResponse:
    return pb.ExplainResponse(progress=pb.Progress(rows_done=rows))


def _partial(fraction: float, map_id: int = 0) -> pb.ExplainResponse:
    return pb.ExplainResponse(partial_map=map_pb2.PartialMap(map_id=map_id, fraction=fraction))


def _map(map_id: int) -> pb.ExplainResponse:
    return pb.ExplainResponse(map=map_pb2.SaliencyMap(map_id=map_id))


def _finished() -> pb.ExplainResponse:
    return pb.ExplainResponse(finished=pb.Finished())


async def _read_all(mailbox: Mailbox) -> list[pb.ExplainResponse]:
    return [message async for message in mailbox]


def _after(messages: list[pb.ExplainResponse]) -> list[pb.ExplainResponse]:
    """What a reader finds who comes after all these were put."""

    async def put_then_read() -> list[pb.ExplainResponse]:
        mailbox = Mailbox(capacity=100)
        for message in messages:
            mailbox.put(message)
        mailbox.end()
        return await _read_all(mailbox)

    return asyncio.run(put_then_read())


def test_messages_arrive_in_order() -> None:
    assert [each.map.map_id for each in _after([_map(n) for n in range(20)])] == list(range(20))


def test_a_newer_progress_takes_the_place_of_an_unread_one_and_keeps_the_order() -> None:
    arrived = _after([_progress(1), _map(0), _progress(2), _progress(3)])
    assert [each.WhichOneof("event") for each in arrived] == ["map", "progress"]
    assert arrived[1].progress.rows_done == 3


def test_a_newer_partial_map_replaces_only_one_of_its_own_map() -> None:
    arrived = _after([_partial(0.1, 0), _map(0), _partial(0.2, 1), _partial(0.3, 1)])
    assert [each.WhichOneof("event") for each in arrived] == ["partial_map", "map", "partial_map"]
    assert [each.partial_map.fraction for each in arrived if each.HasField("partial_map")] == [
        0.1,
        0.3,
    ]


def test_partial_maps_left_out_are_told_with_the_next_one_and_at_the_end() -> None:
    arrived = _after([_partial(n / 10) for n in range(5)] + [_progress(1), _finished()])
    assert arrived[0].partial_map.skipped == 4
    assert arrived[-1].finished.partial_maps_skipped == 4


def test_progress_left_out_counts_as_no_partial_map() -> None:
    assert _after([_progress(1), _progress(2), _finished()])[-1].finished.partial_maps_skipped == 0


def test_a_full_box_blocks_the_writer_until_the_reader_takes_one() -> None:
    async def run() -> None:
        mailbox = Mailbox(capacity=2)
        written = []

        def write() -> None:
            for number in range(5):
                mailbox.put(_map(number))
                written.append(number)
            mailbox.end()

        writer = threading.Thread(target=write)
        writer.start()
        for room in (2, 3):
            while len(written) < room:
                await asyncio.sleep(0.005)
            await asyncio.sleep(0.1)
            assert written == [*range(room)]
            if room == 2:
                assert (await anext(mailbox)).map.map_id == 0
        assert [each.map.map_id for each in await _read_all(mailbox)] == [1, 2, 3, 4]
        writer.join()

    asyncio.run(run())


def test_progress_and_partial_maps_never_block_the_writer() -> None:
    async def run() -> None:
        mailbox = Mailbox(capacity=1)
        mailbox.put(_map(0))
        for number in range(1000):
            mailbox.put(_partial(number / 1000))
            mailbox.put(_progress(number))
        mailbox.end()
        kinds = [each.WhichOneof("event") for each in await _read_all(mailbox)]
        assert kinds == ["map", "partial_map", "progress"]

    asyncio.run(run())


def test_progress_takes_no_room_from_what_must_arrive() -> None:
    async def run() -> None:
        mailbox = Mailbox(capacity=1)
        mailbox.put(_progress(1))
        mailbox.put(_map(0))  # would block for ever if progress took room

    asyncio.run(run())


def test_closing_wakes_a_blocked_writer() -> None:
    async def run() -> None:
        mailbox = Mailbox(capacity=1)
        full, refused = threading.Event(), threading.Event()

        def write() -> None:
            mailbox.put(_map(0))
            full.set()
            with pytest.raises(Cancelled):
                mailbox.put(_map(1))
            refused.set()

        writer = threading.Thread(target=write)
        writer.start()
        assert full.wait(SOON_SECONDS)
        await asyncio.sleep(0.05)
        mailbox.close()
        writer.join(SOON_SECONDS)
        assert refused.is_set()

    asyncio.run(run())


def test_closing_wakes_a_waiting_reader() -> None:
    async def run() -> None:
        mailbox = Mailbox()
        reader = asyncio.create_task(_read_all(mailbox))
        await asyncio.sleep(0.05)
        mailbox.close()
        assert await asyncio.wait_for(reader, SOON_SECONDS) == []

    asyncio.run(run())


def test_a_closed_box_refuses_progress_too() -> None:
    async def run() -> None:
        mailbox = Mailbox()
        mailbox.close()
        with pytest.raises(Cancelled):
            mailbox.put(_progress(1))

    asyncio.run(run())


def test_the_reader_meets_the_writers_error_after_what_came_before_it() -> None:
    async def run() -> None:
        mailbox = Mailbox()
        mailbox.put(_map(0))
        mailbox.end(ComputeFailed("the device failed"))
        assert (await anext(mailbox)).map.map_id == 0
        with pytest.raises(ComputeFailed, match="the device failed"):
            await anext(mailbox)

    asyncio.run(run())


def test_an_error_is_held_by_nobody_once_the_reader_is_gone() -> None:
    async def run() -> weakref.ref[object]:
        mailbox = Mailbox()
        try:
            _held(mailbox)
        except ComputeFailed as error:
            mailbox.end(error)
            gone = weakref.ref(error)
        with pytest.raises(ComputeFailed):
            await anext(mailbox)
        mailbox.close()
        return gone

    with without_the_collector():
        assert is_freed(asyncio.run(run()))


def _held(mailbox: Mailbox) -> NoReturn:
    """The frame of a writer, which its error holds, and which holds the box."""
    raise ComputeFailed("the device failed")


def test_nothing_is_lost_between_a_fast_thread_and_a_reader_that_stutters() -> None:
    async def run() -> None:
        mailbox = Mailbox(capacity=3)

        def write() -> None:
            for number in range(500):
                mailbox.put(_progress(number))
                mailbox.put(_partial(0.5, number))
                mailbox.put(_map(number))
                if not number % 100:
                    time.sleep(0.01)
            mailbox.put(_finished())
            mailbox.end()

        writer = threading.Thread(target=write)
        writer.start()
        maps, rows = [], []
        async for message in mailbox:
            if message.HasField("map"):
                maps.append(message.map.map_id)
            if message.HasField("progress"):
                rows.append(message.progress.rows_done)
            if not len(maps) % 7:
                await asyncio.sleep(0)
        writer.join()
        assert maps == list(range(500))
        assert rows == sorted(rows)

    asyncio.run(run())
