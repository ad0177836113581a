"""A server's process: from the first bundle that is opened to the last word."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from salience_service.audit.opening import audited
from salience_service.config import ServeConfig
from salience_service.engine import Engine
from salience_service.errors import SalienceError
from salience_service.life.exit_codes import FAILED
from salience_service.life.stop_word import StopWord, leave_when_told
from salience_service.rpc.admin.administered import Administered
from salience_service.rpc.admin.server import AdminServer
from salience_service.rpc.answer import Explainer
from salience_service.rpc.server.server import Server
from salience_service.rpc.server.stuck import Watched, watchdog_of
from salience_service.rpc.wire.descriptions import DescribedModel
from salience_service.telemetry.log_format import write_logs
from salience_service.telemetry.opening import UNOBSERVED, Telemetry, telemetry
from salience_service.telemetry.witness import Witnesses

Announce = Callable[[str, Sequence[DescribedModel]], None]

_log = logging.getLogger(__name__)


def serve(config: ServeConfig, models: Path, announce: Announce) -> None:
    """Opens and warms every bundle, serves until SIGTERM or SIGINT, then stops gracefully.

    Args:
        config: address, provider and limits.
        models: the directory of bundles.
        announce: called once with the address and the models, when both can be used.

    Raises:
        BundleRefused: no bundle can be served.
        ConfigRefused: the address cannot be bound, or an audit trail be written.
        SystemExit: it failed, with code 70.
    """
    write_logs(config.logging)
    leave_when_told()
    try:
        _serve(config, models, announce)
    except SalienceError:
        raise
    except Exception as error:  # A fault of ours: another start may help, as it does not above.
        _log.critical("the server failed", exc_info=error)
        raise SystemExit(FAILED) from error


def _serve(config: ServeConfig, models: Path, announce: Announce) -> None:
    with audited(config.audit) as audit:
        engine = Engine.open(models, config)
        try:
            with telemetry(config, engine, audit) as watching:
                asyncio.run(run_until_told(engine, config, announce, engine, watching, engine))
        finally:
            engine.close()


async def run_until_told(
    engine: Explainer,
    config: ServeConfig,
    announce: Announce,
    watched: Watched | None = None,
    watching: Telemetry = UNOBSERVED,
    administered: Administered | None = None,
) -> None:
    """Serves a warm engine until SIGTERM or SIGINT, then stops gracefully.

    Args:
        engine: who answers.
        config: address and limits.
        announce: as for `serve`.
        watched: whose calls on devices must return; None = nobody's.
        watching: what is told of it all.
        administered: whose models the admin service cares for, where the configuration has one.
    """
    stop = StopWord(config.drain_seconds)
    witness = Witnesses(watching.witnesses)
    server = Server(engine, config, witness, watching.tracer)
    admin = None
    if administered and config.admin:
        admin = AdminServer(administered, config, config.admin, witness)
    watchdog = watched and watchdog_of(watched, config.watchdog, server.abandon)
    await server.start()
    if admin:
        await admin.start()
    announce(server.address, engine.models())
    if watchdog:
        watchdog.start()
    await stop.heard()
    if watchdog:
        watchdog.stop()
    if admin:
        await admin.stop()
    await server.stop()
