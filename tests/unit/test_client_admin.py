"""The admin client without a server: what it raises is of our own kinds."""

import pytest

from salience_client.admin import AdminClient
from salience_client.errors import Cancelled


@pytest.mark.parametrize("asked", [AdminClient.status, AdminClient.versions])
def test_a_client_that_was_closed_says_cancelled(asked):
    client = AdminClient("127.0.0.1:1")
    client.close()

    with pytest.raises(Cancelled, match="closed"):
        asked(client)


def test_a_value_that_is_wrong_before_it_is_closed_is_the_callers_own_error():
    def refuse():
        raise ValueError("no token today")

    with (
        AdminClient("127.0.0.1:1", token=refuse) as client,
        pytest.raises(ValueError, match="no token today"),
    ):
        client.status()
