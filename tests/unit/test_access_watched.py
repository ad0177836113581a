"""Files that change under the server: read again, also where only the mode or time did."""

import logging
from pathlib import Path

import pytest

from salience_service.access import watched as watching
from salience_service.access.watched import AGAIN_SECONDS, Watched
from salience_service.errors import ConfigRefused


class Clock:
    """A clock that goes as it is told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    played = Clock()
    monkeypatch.setattr(watching, "time", played)
    return played


class Readable:
    """Reads a file unless it may not."""

    def __init__(self, file: Path) -> None:
        self.file, self.may, self.readings = file, True, 0

    def __call__(self) -> str:
        self.readings += 1
        if not self.may:
            raise ConfigRefused("it cannot be read")
        return self.file.read_text()


@pytest.fixture
def readable(tmp_path: Path) -> Readable:
    (tmp_path / "tokens").write_text("old")
    return Readable(tmp_path / "tokens")


def test_a_file_whose_mode_alone_changed_is_read_again(readable: Readable) -> None:
    """A new file came with a mode that the server may not read, and was given another."""
    watched = Watched("tokens", [readable.file], readable)
    readable.file.write_text("newer")
    readable.may = False
    assert (watched.value, watched.value, readable.readings) == ("old", "old", 2)
    readable.may = True
    readable.file.chmod(0o640)
    assert watched.value == "newer"


def test_what_could_not_be_used_once_is_tried_again_and_logged_once(
    readable: Readable, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    watched = Watched("tokens", [readable.file], readable)
    readable.file.write_text("newer")
    readable.may = False
    for _ in range(3):
        assert watched.value == "old"
        clock.now += AGAIN_SECONDS / 2
    assert readable.readings == 3
    assert [each.levelno for each in caplog.records] == [logging.ERROR]
    readable.may = True
    clock.now += AGAIN_SECONDS
    assert watched.value == "newer"
    clock.now += 10 * AGAIN_SECONDS
    assert (watched.value, readable.readings) == ("newer", 4)


def test_a_reading_is_stale_while_what_lies_there_cannot_be_used(
    readable: Readable, clock: Clock
) -> None:
    watched = Watched("tokens", [readable.file], readable)
    assert not watched.stale
    readable.file.write_text("newer")
    readable.may = False
    assert watched.stale
    readable.may = True
    clock.now += AGAIN_SECONDS
    assert not watched.stale
    assert watched.value == "newer"
