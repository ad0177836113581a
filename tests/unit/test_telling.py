"""How often a running explanation speaks."""

import time
from unittest.mock import Mock

import pytest

from salience_service.explanation.telling import HEARTBEAT_SECONDS, Pace, Tally, Telling
from salience_service.explanation.voices import Voice


@pytest.mark.parametrize(("ago", "told"), [(HEARTBEAT_SECONDS + 0.1, 1), (0.0, 0)])
def test_progress_is_told_at_a_heartbeat_whatever_the_pace(ago: float, told: int, voice) -> None:
    tally = Tally(expected=10, told_at=time.monotonic() - ago)
    telling = Telling("rise", tally, Pace(60, 60), wants_partial_maps=False)
    assert len(list(telling.progress(voice))) == told
    assert telling.until_heartbeat() > 0


def test_what_ends_before_progress_is_due_tells_none(voice: Voice) -> None:
    telling = Telling("grad-cam", Tally(expected=1), Pace(60, 60), wants_partial_maps=False)
    telling.tally.done = 1
    assert not list(telling.progress(voice, last=True))


def test_progress_that_was_told_is_told_to_its_end_by_whatever_method(voice: Voice) -> None:
    tally = Tally(expected=10, done=9, told_at=time.monotonic() - 1)
    rise = Telling("rise", tally, Pace(60, 60), wants_partial_maps=False)
    assert [told.rows_done for told in rise.progress(voice)] == [9]
    tally.done = 10
    grad_cam = Telling("grad-cam", tally, Pace(60, 60), wants_partial_maps=False)
    assert [told.rows_done for told in grad_cam.progress(voice, last=True)] == [10]


@pytest.fixture
def voice() -> Voice:
    return Voice(0, Mock(), Mock())
