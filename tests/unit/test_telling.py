"""How often a running explanation speaks."""

import time
from unittest.mock import Mock

import pytest

from salience_service.explanation.telling import HEARTBEAT_SECONDS, Pace, Tally, Telling
from salience_service.explanation.voices import Voice


@pytest.mark.parametrize(("ago", "told"), [(HEARTBEAT_SECONDS + 0.1, 1), (0.0, 0)])
def test_progress_is_told_at_a_heartbeat_whatever_the_pace(ago: float, told: int, voice) -> None:
    telling = Telling("rise", Tally(expected=10), Pace(60, 60), wants_partial_maps=False)
    telling._progress_at = time.monotonic() - ago
    assert len(list(telling.progress(voice))) == told
    assert telling.until_heartbeat() > 0


@pytest.fixture
def voice() -> Voice:
    return Voice(0, Mock(), Mock())
