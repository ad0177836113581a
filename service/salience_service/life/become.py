"""Becomes the supervisor: this process, with all it has loaded, gives way to the small one."""

import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from salience_service.life.process_end import EXIT_SLACK_SECONDS
from salience_service.life.restarts import RestartPolicy


def become_supervisor(
    command: Sequence[str], policy: RestartPolicy, drain_seconds: float
) -> NoReturn:
    """Supervises a command from here on, under the same process id.

    Args:
        command: starts the server; it must not become a supervisor itself.
        policy: how often it is started again.
        drain_seconds: after which, and twice the slack, it is killed once told to stop.
    """
    bounds = {
        "--most-restarts": policy.most,
        "--window-seconds": policy.window,
        "--first-wait-seconds": policy.first_wait,
        "--longest-wait-seconds": policy.longest_wait,
        "--stop-seconds": drain_seconds + 2 * EXIT_SLACK_SECONDS,
    }
    words = [str(word) for pair in bounds.items() for word in pair]
    own = [sys.executable, "-m", "salience_service.life"]
    sys.stdout.flush()
    os.execv(sys.executable, [*own, *words, "--", *command])
