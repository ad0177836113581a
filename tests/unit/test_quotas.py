"""Quotas: what is beyond is refused, and told when to come again."""

import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from salience_service.access import quotas as counting
from salience_service.access.client import Client
from salience_service.access.quotas import Quotas
from salience_service.config import ServeConfig, read_config
from salience_service.config.quotas import QuotasConfig
from salience_service.errors import ConfigRefused, InvalidRequest, QuotaExceeded
from tests.unit.test_turnstile import GATEWAY, VIEWER


def quotas(**stated: object) -> Quotas:
    return Quotas(QuotasConfig.model_validate(stated))


def refusal(charge: object, *words: object) -> QuotaExceeded:
    with pytest.raises(QuotaExceeded) as told:
        charge(*words)  # type: ignore[operator]
    return told.value


def test_without_quotas_anyone_may_ask_anything() -> None:
    free = Quotas()
    for _ in range(1000):
        free.charge_request(GATEWAY)
        free.charge_rows(GATEWAY, 10**9)


def test_requests_beyond_the_quota_are_told_which_it_is_and_when_to_come_again() -> None:
    door = quotas(requests_per_minute=3)
    for _ in range(3):
        door.charge_request(GATEWAY)
    told = refusal(door.charge_request, GATEWAY)
    assert 10 < (told.retry_after or 0) <= 20  # A busy machine may take a while to ask.
    words = "gateway has used up its quota of 3 requests a minute; come again in [12][0-9] s"
    assert re.fullmatch(words, str(told))
    door.charge_request(VIEWER)


def test_who_comes_again_when_told_is_let_in() -> None:
    door = quotas(rows_per_minute=20)
    door.charge_rows(GATEWAY, 20)
    told = refusal(door.charge_rows, GATEWAY, 1)
    assert 0 < (told.retry_after or 0) <= 3
    time.sleep(told.retry_after or 0)
    door.charge_rows(GATEWAY, 1)


@pytest.mark.parametrize(("key", "period", "seconds"), [
    ("rows_per_minute", "minute", 60), ("rows_per_day", "day", 86_400)
])  # fmt: skip
def test_rows_are_counted_by_their_number(key: str, period: str, seconds: float) -> None:
    door = quotas(**{key: 1000})
    door.charge_rows(GATEWAY, 600)
    told = refusal(door.charge_rows, GATEWAY, 500)
    assert f"its quota of 1000 rows a {period}" in str(told)
    assert seconds * 0.1 - 5 < (told.retry_after or 0) <= seconds * 0.1
    door.charge_rows(GATEWAY, 400)


def test_what_is_refused_is_not_counted() -> None:
    door = quotas(rows_per_day=100)
    for _ in range(5):
        door.charge_rows(VIEWER, 1)
        refusal(door.charge_rows, VIEWER, 100)
    door.charge_rows(VIEWER, 95)


def test_more_than_the_quota_at_once_can_never_be_answered_and_is_told_so() -> None:
    door = quotas(rows_per_day=1000)
    with pytest.raises(InvalidRequest, match=r"asks for 1001 rows; gateway .* 1000 a day"):
        door.charge_rows(GATEWAY, 1001)
    door.charge_rows(GATEWAY, 1000)


def test_who_is_refused_for_the_minute_does_not_use_up_the_day() -> None:
    door = quotas(rows_per_minute=100, rows_per_day=150)
    door.charge_rows(GATEWAY, 100)
    for _ in range(5):
        assert "a minute" in str(refusal(door.charge_rows, GATEWAY, 50))
    assert door._for_all[1].limiter.peek("rows/day/gateway").remaining == 50


def test_a_principal_has_its_own_quotas_and_all_others_those_of_all() -> None:
    own = {"name": "gateway", "requests_per_minute": 0, "rows_per_minute": 50}
    door = quotas(requests_per_minute=1, rows_per_minute=10, rows_per_day=70, principals=[own])
    for _ in range(10):
        door.charge_request(GATEWAY)
    door.charge_rows(GATEWAY, 50)
    assert "quota of 50 rows a minute" in str(refusal(door.charge_rows, GATEWAY, 30))
    door.charge_request(VIEWER)
    assert "quota of 1 requests a minute" in str(refusal(door.charge_request, VIEWER))


def test_the_anonymous_have_quotas_by_address() -> None:
    door = quotas(requests_per_minute=1)
    door.charge_request(Client("anonymous", "192.0.2.7"))
    door.charge_request(Client("anonymous", "192.0.2.8"))
    told = refusal(door.charge_request, Client("anonymous", "192.0.2.7"))
    assert "192.0.2" not in str(told), "behind a proxy it would be the proxy's"


def test_counts_of_any_number_of_clients_stay_bounded() -> None:
    door = quotas(requests_per_minute=5)
    for number in range(counting.MOST_KEPT + 500):
        door.charge_request(Client("anonymous", str(number)))
    backend = door._store._backend
    assert len(backend.get_client()) == len(backend.expire_info) == counting.MOST_KEPT


@pytest.mark.parametrize("step", [-86_400.0, 86_400.0])
def test_a_stepped_clock_changes_nothing(monkeypatch: pytest.MonkeyPatch, step: float) -> None:
    door = quotas(requests_per_minute=6)
    for _ in range(6):
        door.charge_request(GATEWAY)
    stepped = time.time() + step
    monkeypatch.setattr(time, "time", lambda: stepped)
    assert 0 < (refusal(door.charge_request, GATEWAY).retry_after or 0) <= 10


def test_threads_that_race_get_no_more_than_the_quota() -> None:
    door, let_in, start = quotas(rows_per_day=100), [0] * 8, threading.Barrier(8)

    def ask(place: int) -> None:
        start.wait()
        for _ in range(50):
            try:
                door.charge_rows(GATEWAY, 1)
                let_in[place] += 1
            except QuotaExceeded:
                pass

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(ask, range(8)))
    assert sum(let_in) == 100


def test_quotas_are_read_from_the_file(tmp_path: Path) -> None:
    path = tmp_path / "serve.toml"
    path.write_text(
        "[quotas]\nrows_per_day = 7\n[[quotas.principals]]\nname = 'anonymous'\nrows_per_day = 9\n"
    )
    stated = read_config(path).quotas
    assert (stated.rows_per_day, stated.principals[0].rows_per_day) == (7, 9)
    assert stated.principals[0].rows_per_minute is None


def test_by_default_there_are_no_quotas() -> None:
    stated = ServeConfig().quotas
    assert {stated.requests_per_minute, stated.rows_per_minute, stated.rows_per_day} == {0}


def test_quotas_of_someone_unknown_or_twice_are_refused() -> None:
    with pytest.raises(ConfigRefused, match="'viewr', whom this server does not know"):
        read_config(quotas={"principals": [{"name": "viewr"}]})
    twice = [{"name": "anonymous"}] * 2
    with pytest.raises(ConfigRefused, match="'anonymous' has 2 entries"):
        read_config(quotas={"principals": twice})
