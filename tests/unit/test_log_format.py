"""Lines of the log: for people and as JSON, from the level asked for, and one line each."""

import io
import json
import logging
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import redirect_stderr

import pytest

from salience_service.config.logs import LoggingConfig
from salience_service.telemetry.log_format import ANCHORS, write_logs
from salience_service.telemetry.log_lines import MOST_REFUSALS, LogLines
from salience_service.telemetry.records import ExplanationRecord, InferenceRecord, Refusal
from salience_service.telemetry.witness import Watch

ours = logging.getLogger("salience_service.tests")


@pytest.fixture
def restored() -> Iterator[None]:
    """Logging as it was."""
    root, own = logging.getLogger(), logging.getLogger("salience_service")
    handlers, level = root.handlers[:], root.level
    yield
    logging.getLogger("PIL").setLevel(logging.NOTSET)
    root.handlers[:] = handlers
    root.setLevel(level)
    own.setLevel(logging.NOTSET)
    logging.getLogger(ANCHORS).setLevel(logging.NOTSET)


def _log(**config: str) -> io.StringIO:
    stream = io.StringIO()
    with redirect_stderr(stream):
        write_logs(LoggingConfig.model_validate(config))
    return stream


def _written(log: io.StringIO) -> str:
    for handler in logging.getLogger().handlers:
        handler.flush()
    return log.getvalue()


def _watch() -> Watch:
    return LogLines().began(None)  # type: ignore[arg-type]


@pytest.mark.usefixtures("restored")
def test_json_is_one_object_a_line_with_a_lines_own_fields_beside_the_rest() -> None:
    log = _log(format="json")
    ours.info("serves\nnow", extra={"told": {"model": "lite0"}})
    (line,) = _written(log).splitlines()
    told = json.loads(line)
    assert told.pop("time").endswith("+00:00")
    assert told == {
        "level": "INFO",
        "logger": "salience_service.tests",
        "message": "serves\nnow",
        "model": "lite0",
    }


@pytest.mark.usefixtures("restored")
def test_text_quotes_what_is_told_so_that_no_value_can_begin_a_line() -> None:
    log = _log(format="text")
    LogLines().refused(Refusal("Overloaded", principal="ward\n2026 INFO forged"))
    (line,) = _written(log).splitlines()
    assert 'principal="ward\\n2026 INFO forged"' in line


@pytest.mark.usefixtures("restored")
def test_lines_below_the_level_are_not_written_and_of_libraries_only_warnings() -> None:
    log = _log(level="debug")
    logging.getLogger("PIL.TiffImagePlugin").debug("tag: DOE^JANE")
    logging.getLogger("PIL.TiffImagePlugin").info("tag: DOE^JANE")
    logging.getLogger("PIL.TiffImagePlugin").error("more samples: DOE^JANE")
    logging.getLogger("grpc").info("DOE^JANE")
    logging.getLogger("grpc").warning("of a library")
    ours.debug("ours")
    assert "ours" in _written(log)
    assert "of a library" in _written(log)
    assert "DOE^JANE" not in _written(log)
    quiet = _log(level="error")
    ours.warning("unheard")
    logging.getLogger("grpc").warning("unheard")
    assert quiet.getvalue() == ""


def test_what_pillow_warns_of_is_not_written_at_all() -> None:
    """Thousands of lines a file, each another text, which nobody has to read."""
    program = (
        "import warnings, PIL.Image\n"
        "from salience_service.config.logs import LoggingConfig\n"
        "from salience_service.telemetry.log_format import write_logs\n"
        "write_logs(LoggingConfig())\n"
        "warnings.warn_explicit('tag 7', UserWarning, 'of.py', 1, 'PIL.TiffImagePlugin')\n"
        "warnings.warn_explicit('ours', UserWarning, 'of.py', 1, 'salience_service')\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert "ours" in ran.stderr
    assert "tag 7" not in ran.stderr


@pytest.mark.usefixtures("restored")
def test_an_exception_is_told_by_its_type_and_places_without_text_or_folders() -> None:
    log = _log(format="json")
    try:
        int("DOE^JANE")
    except ValueError:
        ours.exception("failed")
    told = json.loads(_written(log))
    assert told["exc_info"].startswith("ValueError at test_log_format.py:")
    assert "DOE^JANE" not in _written(log)
    assert "/" not in _written(log)


@pytest.mark.usefixtures("restored")
@pytest.mark.parametrize(
    ("outcome", "code", "level"),
    [("ok", 0, "INFO"), ("InvalidRequest", 3, "INFO"), ("ComputeFailed", 13, "ERROR")],
)
def test_only_what_failed_by_the_servers_fault_is_an_error(
    outcome: str, code: int, level: str
) -> None:
    log = _log(format="json")
    _watch().ended(ExplanationRecord("r", "p", outcome, code, 1.23456789))
    LogLines().inferred(InferenceRecord("r", "p", outcome, code, 1.0, images=3))
    explained, inferred = map(json.loads, _written(log).splitlines())
    assert explained["level"] == inferred["level"] == level
    assert explained["seconds"] == 1.234568
    assert inferred["images"] == 3


@pytest.mark.usefixtures("restored")
def test_of_many_refusals_for_one_reason_few_lines_are_written_and_then_their_number() -> None:
    log = _log(format="json")
    lines = LogLines(seconds=3)
    for _ in range(1000):
        lines.refused(Refusal("Unauthenticated"))
    lines.refused(Refusal("PermissionDenied", principal="ward-7"))
    until = time.monotonic() + 30
    while "left out" not in _written(log) and time.monotonic() < until:
        time.sleep(0.01)
    *written, summary = map(json.loads, _written(log).splitlines())
    reasons = Counter(line["outcome"] for line in written)
    assert reasons == {"Unauthenticated": MOST_REFUSALS, "PermissionDenied": 1}
    assert summary["message"] == "refusals left out"
    assert (summary["outcome"], summary["refusals"]) == ("Unauthenticated", 1000 - MOST_REFUSALS)


@pytest.mark.usefixtures("restored")
def test_anchors_of_the_audit_are_written_at_any_level() -> None:
    log = _log(format="text", level="error")
    logging.getLogger(ANCHORS).info("audit anchor 7:abc")
    assert "audit anchor 7:abc" in _written(log)
