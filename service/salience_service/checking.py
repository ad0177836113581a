"""What a server would come to with a configuration and a models directory, found without a port."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from salience_service.access.certificates import read_certificates
from salience_service.access.expiry import end_in_words, is_near
from salience_service.access.gate import gate_of
from salience_service.audit.keys import read_keys
from salience_service.bundle.program import check_program
from salience_service.config import ServeConfig
from salience_service.config.audit import AuditConfig
from salience_service.config.tls import TlsConfig
from salience_service.directory.models_directory import ModelsDirectory
from salience_service.errors import ConfigRefused, SalienceError
from salience_service.models.model import ServedModel
from salience_service.models.repository import ModelRepository
from salience_service.models.versions import State, VersionStatus
from salience_service.telemetry.opening import needs_opentelemetry


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        what: a table of the configuration, or a version of a model.
        good: whether a server would do with it.
        words: what was found; why, where it is not good.
    """

    what: str
    good: bool
    words: str


def check(config: ServeConfig, models: Path) -> Iterator[Finding]:
    """Reads every file that the configuration names, and opens, warms and checks every bundle.

    Nothing is written, and nothing listens.
    """
    if config.supervisor:
        yield _tried("[supervisor]", lambda: config.restart_policy)
    if config.tls:
        yield _certificate(config.tls)
    if config.access:
        yield _tried("[access]", lambda: gate_of(config.access))
    if audit := config.audit:
        yield _tried("[audit]", lambda: _look_at_audit(audit))
    if config.tracing.endpoint:
        yield _tried("[tracing]", needs_opentelemetry)
    yield from _models(config, models)


def _tried(what: str, read: Callable[[], object]) -> Finding:
    try:
        read()
    except SalienceError as refused:
        return Finding(what, False, str(refused))
    return Finding(what, True, "good")


def _certificate(config: TlsConfig) -> Finding:
    """Good until it ends, near as that may be."""
    try:
        ends, now = read_certificates(config).expires, datetime.now(UTC)
    except SalienceError as refused:
        return Finding("[tls]", False, str(refused))
    remedy = ": renew it soon" if is_near(ends, now, config.warn_days) else ""
    return Finding("[tls]", True, f"good; the certificate {end_in_words(ends, now)}{remedy}")


def _look_at_audit(config: AuditConfig) -> None:
    read_keys(config.key_path)
    place = config.place if config.place.exists() else config.place.parent
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        raise ConfigRefused("the audit directory cannot be written by this user")


def _models(config: ServeConfig, models: Path) -> Iterator[Finding]:
    """Every version that lies there; also those that a server would load on demand."""
    at_once = {"poll_seconds": 0.0, "load_on_demand": False}
    settings = config.repository.model_copy(update=at_once)
    repository = ModelRepository(lanes=config.device.lanes(), pins=settings.answers)
    config = config.model_copy(update={"repository": settings})
    directory = ModelsDirectory(models, config, repository)
    try:
        yield _tried("models", directory.open)
        for missed in directory.unmet():
            yield Finding("[repository.policies]", False, missed)
        yield from map(_version, directory.versions())
        for model in repository.models():
            if model.manifest.torch_program:
                yield _program(model)
    finally:
        directory.close()
        repository.close()


def _program(model: ServedModel) -> Finding:
    """What a server looks at when torch is first asked for; torch itself is not needed."""
    path = model.bundle.path(model.manifest.torch_program)
    return _tried(f"{model.name} {model.version}, torch program", lambda: check_program(path))


def _version(status: VersionStatus) -> Finding:
    if status.state is State.SERVING:
        answers = ", and answers requests that name no version" if status.answers_unnamed else ""
        return Finding(str(status.name), True, f"serves{answers}")
    if status.state is State.REFUSED:
        return Finding(str(status.name), False, f"refused: {status.reason}")
    return Finding(str(status.name), True, f"not served: {status.reason or 'by policy'}")
