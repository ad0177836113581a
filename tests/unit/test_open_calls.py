"""What calls are granted that are open to all."""

import pytest

from salience_service.rpc.calls.exchange import ENDLESS, Patience
from salience_service.rpc.calls.open_calls import LONGEST_WAIT_SECONDS, shortened


@pytest.mark.parametrize(
    ("stated", "wait"), [(120.0, LONGEST_WAIT_SECONDS), (0.5, 0.5), (None, LONGEST_WAIT_SECONDS)]
)
def test_a_message_is_waited_for_no_longer_than_stated_and_never_long(
    stated: float | None, wait: float
) -> None:
    assert shortened(Patience(stated, 60)) == Patience(wait, 60)
    assert shortened(ENDLESS).reader is None
