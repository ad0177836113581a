"""The service in this process: its errors come out as the client's."""

import time

import pytest

from salience_client import (
    Client,
    DeadlineExceeded,
    Failed,
    NotFound,
    Overloaded,
    SalienceError,
    explain_request,
    open_in_process,
)
from salience_client.in_process import InProcess
from salience_service import errors

ASK = {"model": "lite0", "methods": "score-cam"}


class FullEngine:
    """An engine that is full, and has no models.

    Attributes:
        deadlines: of each explanation asked for.
        closed: whether its owner closed it.
    """

    def __init__(self):
        self.deadlines = []
        self.closed = False

    def models(self):
        return ()

    def model(self, name, version=""):
        raise errors.NotFound(f"no model {name!r} here")

    def explain(self, order, control):
        self.deadlines.append(control.deadline)
        control.check()
        raise errors.Overloaded("64 explanations are running, the limit; try again later")
        yield

    def close(self):
        self.closed = True


def test_the_services_errors_become_the_clients():
    client = Client(InProcess(FullEngine()), retries=None)

    with pytest.raises(Overloaded, match="try again later") as caught:
        client.explain(b"png", **ASK)
    assert isinstance(caught.value.__cause__, errors.Overloaded)
    with pytest.raises(NotFound, match="no model 'lite0' here"):
        client.describe("lite0")


def test_a_request_that_the_service_refuses_is_told_as_over_the_wire():
    with pytest.raises(SalienceError) as caught:
        Client(InProcess(FullEngine())).explain(b"png", model="", methods="score-cam")

    assert caught.value.code.name == "INVALID_ARGUMENT"


def test_the_deadline_reaches_the_engine():
    engine = FullEngine()

    with pytest.raises(DeadlineExceeded):
        Client(InProcess(engine)).explain(b"png", timeout=1e-9, **ASK)
    assert engine.deadlines[0] is not None


def test_many_requests_run_one_after_the_other_and_fail_alone():
    requests = [(tag, explain_request(b"png", **ASK)) for tag in "ab"]

    events = list(Client(InProcess(FullEngine()), retries=None).explain_many(requests))

    assert [tag for tag, _ in events] == ["a", "b"]
    assert all(isinstance(e, Failed) and isinstance(e.error, Overloaded) for _, e in events)


def test_the_time_of_many_requests_is_that_of_all_of_them():
    class Slow(FullEngine):
        def explain(self, order, control):
            self.deadlines.append(control.deadline)
            time.sleep(control.remaining(10))
            control.check()
            yield

    requests = ((str(number), explain_request(b"png", **ASK)) for number in range(100))
    engine = Slow()

    with pytest.raises(DeadlineExceeded):
        list(Client(InProcess(engine), retries=None).explain_many(requests, timeout=1))
    assert len(engine.deadlines) == 1


def test_no_models_are_an_empty_list_and_closing_closes_the_engine():
    engine = FullEngine()

    with Client(InProcess(engine)) as client:
        assert client.models() == ()
    assert engine.closed


def test_a_directory_without_a_bundle_is_refused(tmp_path):
    with pytest.raises(SalienceError, match="holds no bundle"):
        open_in_process(tmp_path)


def test_a_configuration_key_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(SalienceError, match="unknown key 'thread'"):
        open_in_process(tmp_path, thread=4)
