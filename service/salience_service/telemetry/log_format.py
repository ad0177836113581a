"""How a line of the log is written: for people or as JSON, and never with what a caller wrote.

The message of an exception may quote a request, so that of one from outside our own
family is left out: its type and the places it came through are written.
"""

import json
import logging
import sys
import warnings
from collections.abc import Mapping
from pathlib import PurePath
from traceback import extract_tb
from types import TracebackType
from typing import Any

from pythonjsonlogger.json import JsonFormatter

from salience_service.config.logs import LoggingConfig
from salience_service.telemetry.log_stream import LogStream

TOLD = "told"
"""The key of `extra` under which a line's own fields stand."""
ANCHORS = "salience_service.audit.trail"
"""Whose lines are written at any level: a cut at the end of the audit shows by them alone."""
_MOST_PLACES = 20

_ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


def write_logs(config: LoggingConfig) -> None:
    """Sends what is logged to stderr, in the form and from the level that are configured.

    Of libraries only warnings are written, and of Pillow nothing: it tells what is wrong with a
    caller's file, once for every file, which the refusal does; in Python's warnings even past the
    log and whoever reads it.
    """
    logging.getLogger("PIL").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module=r"PIL\.")
    handler = LogStream(sys.stderr)
    handler.setFormatter(JsonLines() if config.format == "json" else TextLines())
    level: int = logging.getLevelNamesMapping()[config.level.upper()]
    logging.basicConfig(handlers=[handler], level=max(level, logging.WARNING), force=True)
    logging.getLogger("salience_service").setLevel(level)
    logging.getLogger(ANCHORS).setLevel(min(level, logging.INFO))


class TextLines(logging.Formatter):
    """A line for people: time, level, message, then `key=value` as JSON has them."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        """The line without an exception."""
        told: Mapping[str, object] = getattr(record, TOLD, {})
        pairs = [f"{key}={json.dumps(value)}" for key, value in told.items()]
        return " ".join([super().formatMessage(record), *pairs])

    def formatException(self, ei: _ExcInfo) -> str:  # noqa: N802
        """What failed and where, without its message."""
        return _places(ei)


class JsonLines(JsonFormatter):
    """One object a line: time, level, logger, message, and a line's own fields beside them."""

    def __init__(self) -> None:
        super().__init__(
            "{levelname}{name}{message}",
            style="{",
            timestamp="time",
            rename_fields={"levelname": "level", "name": "logger"},
        )

    def process_log_record(self, log_data: dict[str, Any]) -> dict[str, Any]:
        """Lifts a line's own fields out."""
        told: Mapping[str, Any] = log_data.pop(TOLD, {})
        return {**log_data, **told}

    def formatException(self, ei: _ExcInfo) -> str:  # noqa: N802
        """What failed and where, without its message."""
        return _places(ei)


def _places(ei: _ExcInfo) -> str:
    """`ValueError at render.py:80 scaled < making.py:91 _told`: innermost first, no folders."""
    kind, _, traceback = ei
    if kind is None:
        return ""
    frames = reversed(extract_tb(traceback)[-_MOST_PLACES:])
    places = [f"{PurePath(each.filename).name}:{each.lineno} {each.name}" for each in frames]
    return f"{kind.__name__} at {' < '.join(places)}"
