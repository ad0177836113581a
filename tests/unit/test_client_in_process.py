"""The service in this process: its errors come out as the client's."""

import threading
import time

import pytest

from salience_client import (
    Cancelled,
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


def test_the_time_of_many_requests_ends_while_the_next_is_waited_for():
    let_go = threading.Event()

    def requests():
        yield "a", explain_request(b"png", **ASK)
        let_go.wait(20)

    with pytest.raises(DeadlineExceeded):
        list(Client(InProcess(FullEngine()), retries=None).explain_many(requests(), timeout=0.2))
    let_go.set()


def test_closing_the_client_ends_the_wait_for_the_next_of_many():
    client, let_go = Client(InProcess(FullEngine()), retries=None), threading.Event()

    def requests():
        yield "a", explain_request(b"png", **ASK)
        client.close()
        let_go.wait(20)

    with pytest.raises(Cancelled, match="the client was closed"):
        list(client.explain_many(requests()))
    let_go.set()


class Stopped(FullEngine):
    """An engine whose explanations run until it is closed."""

    def __init__(self):
        super().__init__()
        self.running, self.stopped = threading.Event(), threading.Event()

    def explain(self, order, control):
        self.running.set()
        assert self.stopped.wait(20)
        raise errors.Unavailable("the engine was closed; come again")
        yield

    def close(self):
        self.stopped.set()


@pytest.mark.parametrize(
    "ask",
    [
        lambda client: client.explain(b"png", **ASK),
        lambda client: list(client.explain_many([("a", explain_request(b"png", **ASK))])),
    ],
)
def test_closing_the_client_ends_what_runs(ask):
    engine = Stopped()
    client = Client(InProcess(engine))

    def close():
        engine.running.wait(20)
        client.close()

    closing = threading.Thread(target=close)
    closing.start()
    with pytest.raises(Cancelled, match="the client was closed"):
        ask(client)
    closing.join()


@pytest.mark.parametrize(
    "ask",
    [
        lambda client: client.explain(b"png", **ASK),
        lambda client: list(client.explain_many([("a", explain_request(b"png", **ASK))])),
        lambda client: client.models(),
        lambda client: client.describe("lite0"),
    ],
)
def test_a_client_that_was_closed_says_so(ask):
    client = Client(InProcess(FullEngine()))
    client.close()

    with pytest.raises(Cancelled, match="the client was closed"):
        ask(client)


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
