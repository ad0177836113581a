"""Who may pass, and who is one client."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from salience_service.access.client import Client, address_of
from salience_service.access.turnstile import Turnstile
from salience_service.errors import Overloaded

GATEWAY, VIEWER = Client("gateway"), Client("viewer")


def test_a_client_at_its_limit_is_refused_and_others_pass() -> None:
    door = Turnstile("calls", 10, 2)
    door.enter(GATEWAY)
    door.enter(GATEWAY)
    with pytest.raises(Overloaded, match="2 calls of gateway are running, the limit for one"):
        door.enter(GATEWAY)
    door.enter(VIEWER)
    door.leave(GATEWAY)
    door.enter(GATEWAY)


def test_all_clients_together_have_a_limit() -> None:
    door = Turnstile("calls", 2, 2)
    door.enter(GATEWAY)
    door.enter(VIEWER)
    with pytest.raises(Overloaded, match="2 calls are running, the limit; try again later"):
        door.enter(Client("third"))


def test_leaving_happens_however_the_block_ends() -> None:
    door = Turnstile("calls", 1, 1)
    with pytest.raises(RuntimeError), door.entered(GATEWAY):
        raise RuntimeError
    with door.entered(VIEWER):
        assert door.clients == 1


def test_clients_of_whom_nothing_runs_are_forgotten() -> None:
    door = Turnstile("calls")
    for number in range(10_000):
        with door.entered(Client("anonymous", str(number))):
            pass
    assert door.clients == 0


def test_threads_that_race_never_get_beyond_a_limit() -> None:
    door, lock, inside, highest = Turnstile("calls", 5, 3), threading.Lock(), [0], [0]
    start, refused = threading.Barrier(8), [0]

    def pass_often(client: Client) -> None:
        start.wait()
        for _ in range(500):
            try:
                with door.entered(client):
                    with lock:
                        inside[0] += 1
                        highest[0] = max(highest[0], inside[0])
                    with lock:
                        inside[0] -= 1
            except Overloaded:
                refused[0] += 1

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(pass_often, [GATEWAY, VIEWER] * 4))
    assert highest[0] <= 5
    assert door.clients == 0


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("ipv4:192.0.2.7:50123", "192.0.2.7"),
        ("ipv6:%5B::1%5D:50123", "::/64"),
        ("ipv6:[2001:db8:1:2:3::4]:5", "2001:db8:1:2::/64"),
        ("ipv6:%5B::ffff:192.0.2.7%5D:5", "192.0.2.7"),
        ("ipv6:[fe80::1%25eth0]:5", "fe80::/64"),
        ("unix:", "unix"),
        ("", ""),
        ("ipv4:nonsense", "ipv4"),
    ],
)
def test_the_address_of_a_peer_is_its_machine(peer: str, address: str) -> None:
    assert address_of(peer) == address


def test_the_anonymous_are_told_apart_by_address_and_principals_by_name() -> None:
    assert Client("anonymous", "192.0.2.7").key != Client("anonymous", "192.0.2.8").key
    assert Client("gateway", "192.0.2.7").key == Client("gateway", "192.0.2.8").key
    # No name of a principal holds a blank: none can be taken for an address.
    assert " " in Client("anonymous", "192.0.2.7").key
