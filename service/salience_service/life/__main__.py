"""`python -m salience_service.life … -- COMMAND…`: supervises a command.

`salience serve --supervised` becomes this process, with what `[supervisor]` says.
"""

import argparse
import asyncio
import logging
import sys

from salience_service.life.restarts import RestartPolicy
from salience_service.life.supervisor import Supervisor


def main() -> None:
    """Reads the arguments, supervises, and exits with the supervisor's code."""
    words = argparse.ArgumentParser("salience_service.life", description=__doc__)
    words.add_argument("--most-restarts", type=int, required=True)
    words.add_argument("--window-seconds", type=float, required=True)
    words.add_argument("--first-wait-seconds", type=float, required=True)
    words.add_argument("--longest-wait-seconds", type=float, required=True)
    words.add_argument("--stop-seconds", type=float, required=True)
    words.add_argument("command", nargs="+", metavar="-- COMMAND")
    said = words.parse_args()
    policy = RestartPolicy(
        said.most_restarts,
        said.window_seconds,
        said.first_wait_seconds,
        said.longest_wait_seconds,
    )
    logging.basicConfig(level=logging.INFO, format="%(asctime)s supervisor: %(message)s")
    supervisor = Supervisor(said.command, policy, said.stop_seconds)
    sys.exit(asyncio.run(supervisor.run()))


if __name__ == "__main__":
    main()
