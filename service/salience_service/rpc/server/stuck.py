"""What becomes of a server whose call on a device does not return: all are told, it ends."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Hashable
from typing import Protocol

from salience_service.config.watchdog import WatchdogConfig
from salience_service.errors import SalienceError
from salience_service.life.exit_codes import STUCK
from salience_service.life.farewell import stuck
from salience_service.life.process_end import EXIT_SLACK_SECONDS, end_at_once
from salience_service.life.watchdog import Watchdog

_TIMES_WARM_UP = 10
"""A call is a small part of a warm-up, and waits for cores that others use; ten such is no load."""
_LEAST_SECONDS = 60.0
"""A machine that swaps or moves can hold a call up for long, and it still returns."""

_log = logging.getLogger(__name__)


class Watched(Protocol):
    """What the watchdog needs of the engine."""

    def running(self) -> Collection[Hashable]:
        """The calls that run on devices now."""
        ...

    @property
    def slowest_warm_up(self) -> float:
        """Seconds of the slowest model's."""
        ...


def limit_seconds(config: WatchdogConfig, slowest_warm_up: float) -> float:
    """How long a call may take, with 0 resolved by the warm-up."""
    return config.stuck_call_seconds or max(_LEAST_SECONDS, _TIMES_WARM_UP * slowest_warm_up)


def watchdog_of(
    engine: Watched,
    config: WatchdogConfig,
    abandon: Callable[[SalienceError], Awaitable[None]],
) -> Watchdog:
    """A watchdog that ends the process with code `STUCK`. Made on the server's event loop.

    Args:
        engine: whose calls are watched.
        config: what stuck means.
        abandon: of the server: tells everyone who waits. It has `EXIT_SLACK_SECONDS`.
    """
    loop = asyncio.get_running_loop()

    async def tell() -> None:
        await abandon(stuck())

    def end(_: float) -> None:
        try:
            asyncio.run_coroutine_threadsafe(tell(), loop).result(EXIT_SLACK_SECONDS)
        except Exception:  # whatever hinders the last words, the process must end
            _log.exception("not everyone could be told")
        finally:
            end_at_once(STUCK)

    return Watchdog(engine.running, lambda: limit_seconds(config, engine.slowest_warm_up), end)
