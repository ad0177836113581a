"""The client draws maps as the server does: two pictures, one language of colour."""

from salience_client import picture as clients
from salience_service.maps import picture as servers


def test_the_client_draws_unsigned_maps_in_the_servers_colours() -> None:
    assert clients.UNSIGNED_COLOURS == servers.UNSIGNED_COLOURS


def test_the_client_draws_signed_maps_in_the_servers_colours() -> None:
    assert clients.SIGNED_COLOURS == servers.SIGNED_COLOURS


def test_the_clients_colours_end_where_the_servers_do() -> None:
    assert clients.BRIGHTEST_PERCENT == servers.BRIGHTEST_PERCENT
