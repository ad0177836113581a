"""An administrator's action that has begun: its witness hears of the end, whoever waits for it."""

import time
from collections.abc import Callable
from concurrent.futures import Future

from salience_service.errors import Cancelled
from salience_service.rpc.calls.observation import outcome_of
from salience_service.rpc.wire.status import code_of
from salience_service.telemetry.records import OK, Action, ActionRecord
from salience_service.telemetry.witness import Witness

Act = Callable[[], Future[None] | None]


def begun(action: Action, act: Act, witness: Witness) -> Future[None]:
    """Begins an action, in a thread that may wait for a disk.

    Args:
        action: as it is told.
        act: does it; a future where it ends later.
        witness: is told before and after.

    Returns:
        What became of it, once the witness has heard; it cannot be cancelled.

    Raises:
        SalienceError: the witness does not let it be done, and nothing was.
    """
    ended, began = witness.acting(action), time.monotonic()
    # Not the job itself: it is done before those who listen to it have heard, in any order.
    told: Future[None] = Future()
    told.set_running_or_notify_cancel()

    def end(job: Future[None]) -> None:
        error = Cancelled("the server ended first") if job.cancelled() else job.exception()
        ended(_record(action, error, time.monotonic() - began))
        if error is None:
            told.set_result(None)
        else:
            told.set_exception(error)

    _job(act).add_done_callback(end)
    return told


def _job(act: Act) -> Future[None]:
    done: Future[None] = Future()
    try:
        running = act()
    except Exception as error:  # As what a thread fails with: for the caller, and the record.
        done.set_exception(error)
        return done
    if running is not None:
        return running
    done.set_result(None)
    return done


def _record(action: Action, error: BaseException | None, seconds: float) -> ActionRecord:
    if error is None:
        return ActionRecord(action, OK, 0, seconds)
    return ActionRecord(action, outcome_of(error), code_of(error), seconds)
