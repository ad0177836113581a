"""Answers kept in memory: bounded in bytes, the one used longest ago goes first."""

from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from salience_service.errors import ComputeFailed
from salience_service.events import Event, Finished, Prediction, Progress, Started
from salience_service.explanation.answer_key import AnswerKey
from salience_service.explanation.cache import ENTRY_BYTES, ExplanationCache, _bytes_of

STARTED = Started("tiny", "1", "d", "CPUExecutionProvider", 0)


def key(number: int, bundle: str = "a") -> AnswerKey:
    return AnswerKey(bundle, number.to_bytes(32, "big"))


def finished(number: int = 0, floats: int = 0) -> Finished:
    return Finished(number, 0.0, 0.0, 1.0, (0.5,) * floats, ())


def events(*lasting: Event) -> Generator[Event, None, None]:
    yield STARTED
    yield Progress(0, "rise", 1, 2)
    yield from lasting


def keep(cache: ExplanationCache, at: AnswerKey, *lasting: Event) -> None:
    list(cache.kept(at, events(*lasting)))


def size_of(number: int) -> int:
    """Of the entry that `keep(…, finished(number))` makes."""
    cache = ExplanationCache(2**20)
    keep(cache, key(0), finished(number))
    return cache.bytes


def test_what_lasts_of_an_answer_is_kept_and_all_of_it_is_passed_on() -> None:
    cache, prediction = ExplanationCache(2**20), Prediction((), (), 4, 5)
    told = list(cache.kept(key(1), events(prediction, finished())))
    assert [type(event) for event in told] == [Started, Progress, Prediction, Finished]
    found = cache.find(key(1))
    assert found is not None
    assert found.events == (prediction, finished())
    assert cache.find(key(2)) is None


def test_the_answer_used_longest_ago_goes_first() -> None:
    cache = ExplanationCache(3 * size_of(0))
    for number in range(3):
        keep(cache, key(number), finished(number))
    assert cache.find(key(0))
    keep(cache, key(3), finished(3))
    assert [bool(cache.find(key(number))) for number in range(4)] == [True, False, True, True]
    assert cache.bytes <= cache.most_bytes


def test_an_answer_larger_than_the_cache_is_not_kept_and_drives_nothing_out() -> None:
    cache = ExplanationCache(2 * size_of(0))
    keep(cache, key(0), finished())
    keep(cache, key(1), finished(floats=10_000))
    keep(cache, key(2), *[Prediction((), (), number, 1) for number in range(10_000)], finished())
    assert cache.find(key(1)) is cache.find(key(2)) is None
    assert cache.find(key(0))


def test_a_second_answer_under_one_key_takes_the_place_of_the_first() -> None:
    cache = ExplanationCache(2**20)
    for number in (1, 2):
        keep(cache, key(0), finished(number))
    found = cache.find(key(0))
    assert found is not None
    assert found.events == (finished(2),)
    assert cache.bytes == size_of(2)


def test_an_answer_without_an_end_is_not_kept() -> None:
    cache = ExplanationCache(2**20)

    def failing() -> Generator[Event, None, None]:
        yield from events(Prediction((), (), 4, 5))
        raise ComputeFailed("the model failed on the device")

    with pytest.raises(ComputeFailed):
        list(cache.kept(key(0), failing()))
    assert cache.count == 0


def test_a_reader_that_leaves_ends_the_explanation_at_once() -> None:
    ended = []

    def watched() -> Generator[Event, None, None]:
        try:
            yield from events(finished())
        finally:
            ended.append(True)

    cache = ExplanationCache(2**20)
    told = cache.kept(key(0), watched())
    next(told)
    told.close()
    assert ended
    assert cache.count == 0


def test_a_model_that_leaves_takes_its_answers_with_it() -> None:
    cache = ExplanationCache(2**20)
    for number, bundle in enumerate("aabb"):
        keep(cache, key(number, bundle), finished(number))
    cache.forget("a")
    assert [bool(cache.find(key(n, bundle))) for n, bundle in enumerate("aabb")] == [
        False,
        False,
        True,
        True,
    ]
    assert cache.bytes == 2 * size_of(3)


def test_sizes_are_those_of_the_arrays_and_bytes_within_and_never_less() -> None:
    values = np.zeros((100, 200), np.float32)
    assert _bytes_of(values) >= values.nbytes
    assert _bytes_of(values[::2]) >= values[::2].nbytes
    assert _bytes_of(b"x" * 5000) >= 5000
    nested = ({"a": b"x" * 300, "b": (b"y" * 400,)}, Prediction((), (), 1, 2))
    assert 700 < _bytes_of(nested) < 3000
    assert ENTRY_BYTES < size_of(0) < ENTRY_BYTES + 2000


def test_threads_may_use_it_at_once() -> None:
    cache = ExplanationCache(5 * size_of(0))

    def use(worker: int) -> None:
        for step in range(200):
            number = (worker * 7 + step) % 11
            if not (found := cache.find(key(number))):
                keep(cache, key(number), finished(number))
            else:
                assert found.events == (finished(number),)
            if step % 50 == 0:
                cache.forget("b")

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(use, range(8)))
    assert 0 < cache.bytes <= cache.most_bytes
