"""The driver of voices that ask nothing: it looks between them whether anyone still listens."""

from typing import Any, cast

import numpy as np
import pytest

from salience_service.control import Control
from salience_service.errors import Cancelled
from salience_service.events import GradientSide
from salience_service.explanation.driver import Driver
from salience_service.explanation.voices import Voice
from salience_service.methods.probe import MethodRun, Outcome
from salience_service.scheduling.account import Account

NOTHING = cast(Any, None)


def test_a_caller_who_leaves_ends_methods_that_ask_nothing_between_two_maps() -> None:
    control, made = Control(), list[int]()

    def run(number: int) -> MethodRun:
        made.append(number)
        control.cancel()
        yield from ()
        return Outcome(np.zeros((1, 1), np.float32))

    voices = [Voice(number, NOTHING, run(number)) for number in range(64)]
    driver = Driver(
        GradientSide.NONE, NOTHING, NOTHING, control, Account(), NOTHING, NOTHING, NOTHING, NOTHING
    )
    with pytest.raises(Cancelled):
        list(driver.run(voices))
    assert made == [0]
