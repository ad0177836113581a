"""Verifies a trail: what was changed, taken out, put in another order, or cut off."""

import hashlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from salience_service.audit.files import Unreadable, file_numbers, file_path, lines_of
from salience_service.audit.line import ORIGIN, Kind, Line
from salience_service.audit.lock import newest_begun
from salience_service.errors import ConfigRefused

MOST_TOLD = 1000
"""Findings beyond are counted, not kept."""
_NEXT_SECONDS = 1.0
"""In which a server that finished a file has begun the next, if it runs."""
_BEGINNINGS = {Kind.BEGAN.value: "explanations", Kind.ACTION_BEGAN.value: "actions"}


@dataclass
class Report:
    """What was found.

    Attributes:
        faults: what an honest server never leaves behind. notes: what it may.
        untold: faults beyond the first thousand.
        files: that were read. lines: that are genuine.
        explanations: that ended. actions: of administrators, that ended.
        anchor: number and seal of the last genuine line; empty where there is none.
    """

    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    untold: int = 0
    files: int = 0
    lines: int = 0
    explanations: int = 0
    actions: int = 0
    anchor: str = ""

    @property
    def whole(self) -> bool:
        """Whether nothing is wrong, as far as that can be seen."""
        return not self.faults

    def wrong(self, finding: str) -> None:
        """Adds a fault."""
        if len(self.faults) < MOST_TOLD:
            self.faults.append(finding)
        else:
            self.untold += 1


def verify(
    directory: Path, key: bytes, anchors: Sequence[str] = (), archived: bool = False
) -> Report:
    """Reads a whole trail. The server may be writing it meanwhile.

    Args:
        directory: of the trail.
        key: of the chain.
        anchors: `NUMBER:SEAL` from a log kept elsewhere; the trail must hold each, so that of two
            that differ in one number one is wrong.
        archived: older files are kept elsewhere; that they are not here is no fault.

    Raises:
        ConfigRefused: the directory or its lock cannot be read, or an anchor is none.
    """
    seals: dict[int, set[str]] = {}
    for number, seal in map(_anchor, anchors):
        seals.setdefault(number, set()).add(seal)
    try:
        begun = newest_begun(directory)  # Before the files are listed: a server may begin more.
        while not _is_read(directory, reading := _Reading(key, dict(seals), archived)):
            pass
    except OSError as fault:
        raise ConfigRefused(f"the audit directory cannot be read: {fault.strerror}") from fault
    reading.end(begun)
    return reading.report


def _is_read(directory: Path, reading: "_Reading") -> bool:
    """Reads every file; whether the server deleted none meanwhile, else its heads say so by now.

    Raises:
        OSError: the directory cannot be read, or a file that is still there.
    """
    for number in _numbers(directory, reading):
        try:
            reading.read(directory, number)
        except FileNotFoundError:
            if number in file_numbers(directory):
                raise
            return False
    return True


def _numbers(directory: Path, reading: "_Reading") -> Iterator[int]:
    """Numbers of the files there are, and of those that the server begins while they are read."""
    found = file_numbers(directory)
    while found:
        yield from found
        if not reading.rotated:  # Lines may have come behind the last one read, a file with them.
            return
        time.sleep(_NEXT_SECONDS)
        found = [each for each in file_numbers(directory) if each > found[-1]]


def _anchor(word: str) -> tuple[int, str]:
    number, colon, seal = word.partition(":")
    if not (colon and number.isascii() and number.isdigit() and len(seal) == len(ORIGIN)):
        raise ConfigRefused(f"{word[:80]!r} is no anchor: give NUMBER:SEAL as the log has it")
    return int(number), seal


class _Reading:
    """Where the reading stands, and what it has found."""

    def __init__(self, key: bytes, anchors: dict[int, set[str]], archived: bool) -> None:
        self.report = Report()
        self._key, self._anchors, self._archived = key, anchors, archived
        self._next, self._before = 1, ORIGIN
        self._missing: set[tuple[int, int]] = set()
        self._open: dict[int, str] = {}  # What began, by the number of that line.
        self._file, self._oldest = 0, 1
        self._first_file, self._first_line = 0, 1
        self._last: Line | None = None
        self._torn: Unreadable | None = None
        self._time = ""

    @property
    def rotated(self) -> bool:
        """Whether the last line says that another file follows."""
        return self._reason == "rotated"

    @property
    def _reason(self) -> str | None:
        """Why the last file was finished; None: it was not."""
        last = self._last
        return last.fields.get("reason") if last and last.kind == Kind.TAIL else None

    def read(self, directory: Path, number: int) -> None:
        """Reads the next file."""
        for absent in range(self._file + 1, number) if self._file else ():
            self.report.wrong(f"file {absent} is missing")
        first = not self._file
        self._first_file = self._first_file or number
        self._file = number
        self.report.files += 1
        place = 0
        for place, each in enumerate(lines_of(file_path(directory, number), self._key), 1):
            where = f"file {number}, line {place}"
            if isinstance(each, Line) and each.genuine:
                if place == 1:
                    self._enter(each, where, first)
                self._genuine(each, where)
            else:
                self._not_genuine(each, where, first and place == 1)
        if not place:
            self.report.wrong(f"file {number} holds no line")

    def end(self, begun: int) -> None:
        """Looks at what can be said only at the end.

        Args:
            begun: number of the newest file that was begun in the directory, as far as is known.
        """
        self._settle_torn("the last file")
        if not self.report.files:
            self.report.wrong("there is no file of a trail here")
        if self._file < begun:
            self.report.wrong(f"file {begun} is missing: the directory's lock says it was begun")
        for least, greatest in sorted(self._missing):
            what = f"line {least} is" if least == greatest else f"lines {least} to {greatest} are"
            self.report.wrong(f"{what} missing")
        self._look_at_the_start()
        self._look_at_the_end()
        for number, seals in sorted(self._anchors.items()):
            self._unmet(number, seals)
        for kind, what in _BEGINNINGS.items():
            if begun := list(self._open.values()).count(kind):
                self.report.notes.append(
                    f"{begun} {what} began and have not ended: they run, or the server was killed"
                )

    def _enter(self, line: Line, where: str, first: bool) -> None:
        """The first line of a file."""
        if line.kind != Kind.HEAD or line.fields.get("file") != self._file:
            self.report.wrong(f"{where}: it is not the head of file {self._file}")
            return
        self._oldest = int(line.fields.get("oldest", 1))
        if first and line.number > 1:
            self._next, self._before = line.number, line.before
            self._first_line = line.number

    def _genuine(self, line: Line, where: str) -> None:
        self._settle_torn(where, line)
        self.report.lines += 1
        self._meet_anchor(line)
        if line.number < self._next:
            self._out_of_order(line, where)
            return
        if line.number > self._next:
            self._missing.add((self._next, line.number - 1))
        elif self._before and line.before != self._before:
            self.report.wrong(f"{where}: it does not follow the line before it")
        self._next, self._before, self._last = line.number + 1, line.seal, line
        self._note(line, where)

    def _out_of_order(self, line: Line, where: str) -> None:
        for least, greatest in [
            each for each in self._missing if each[0] <= line.number <= each[1]
        ]:
            self._missing.remove((least, greatest))
            halves = ((least, line.number - 1), (line.number + 1, greatest))
            self._missing |= {half for half in halves if half[0] <= half[1]}
            self.report.wrong(f"{where}: line {line.number} is not in its place")
            return
        self.report.wrong(f"{where}: line {line.number} is there twice")

    def _not_genuine(self, each: Line | Unreadable, where: str, at_the_start: bool) -> None:
        self._settle_torn(where)
        if isinstance(each, Unreadable):
            self._torn = each  # A crash may have left it: the next line tells.
            return
        self.report.wrong(f"{where}: it was changed, or written without the key")
        # Its own number cannot be believed, but a line stood here.
        self._next, self._before = (each.number if at_the_start else self._next) + 1, ""

    def _settle_torn(self, where: str, line: Line | None = None) -> None:
        """What is to be thought of bytes that are no line, by the line that follows them."""
        torn, self._torn = self._torn, None
        if torn is None:
            if line and line.kind == Kind.RECOVERED and line.fields.get("torn_sha256"):
                self.report.wrong(f"{where}: the torn bytes it tells of are gone")
            return
        digest = hashlib.sha256(torn.content).hexdigest()
        if line and line.kind == Kind.RECOVERED and line.fields.get("torn_sha256") == digest:
            return
        if line is None and not torn.ended:
            self.report.notes.append(
                "the last line is not whole: it is being written, or the server was killed"
            )
            return
        self.report.wrong(f"before {where}: {len(torn.content)} bytes are no line")
        self._next, self._before = self._next + 1, ""

    def _note(self, line: Line, where: str) -> None:
        if line.kind == Kind.RECOVERED:
            torn = line.fields.get("torn_bytes", 0)
            self.report.notes.append(
                f"{where}: the server ended without finishing, {torn} bytes of a line were lost"
            )
        elif line.kind in _BEGINNINGS:
            self._open[line.number] = line.kind
        elif line.kind in (Kind.ENDED, Kind.ACTION_ENDED):
            began = line.fields.get("began") or 0
            # A second end stands in the place of a first that was withdrawn.
            new = began < self._first_line or self._open.pop(began, None) is not None
            self.report.explanations += new and line.kind == Kind.ENDED
            self.report.actions += new and line.kind == Kind.ACTION_ENDED
        for withdrawn in line.fields.get("withdrawn", ()):
            self._open.pop(withdrawn, None)
        time = str(line.fields.get("time", ""))
        if time < self._time:
            self.report.notes.append(
                f"{where}: the clock was set back, from {self._time} to {time}"
            )
        self._time = time

    def _look_at_the_start(self) -> None:
        if self._oldest > 1:
            self.report.notes.append(f"files before {self._oldest} were deleted by keep_files")
        if self._first_file > self._oldest:
            absent = f"files {self._oldest} to {self._first_file - 1}"
            told = self.report.notes.append if self._archived else self.report.wrong
            told(f"{absent} are not here: the server did not delete them")

    def _look_at_the_end(self) -> None:
        last = self._last
        if last is None:
            return
        self.report.anchor = f"{last.number}:{last.seal}"
        if self.rotated:
            self.report.wrong(
                f"file {self._file + 1} is missing: file {self._file} says it follows"
            )
        elif self._reason is None:
            self.report.notes.append(
                "the last file is not finished: the server runs or was killed; if lines were cut "
                "from its end, only an anchor can show it (--anchor)"
            )

    def _meet_anchor(self, line: Line) -> None:
        if self._anchors.pop(line.number, set()) - {line.seal}:
            self.report.wrong(f"line {line.number} is not the one of the anchor")

    def _unmet(self, number: int, seals: set[str]) -> None:
        if len(seals) > 1:
            self.report.wrong(f"the anchors of line {number} differ: no trail holds both")
        elif number < self._first_line:
            self.report.notes.append(f"anchor {number} is older than the first line here")
        elif self.report.anchor and number >= self._next:
            self.report.wrong(
                f"the trail ends at line {self._next - 1}, before anchor {number}: it was cut"
            )
        else:
            self.report.wrong(f"line {number}, an anchor, is not here")


def told(report: Report) -> Iterator[str]:
    """The report in lines of words."""
    yield from (f"fault: {finding}" for finding in report.faults)
    if report.untold:
        yield f"fault: and {report.untold} more"
    yield from (f"note: {finding}" for finding in report.notes)
    word = "whole" if report.whole else "NOT WHOLE"
    yield (
        f"{word}: {report.files} files, {report.lines} lines, {report.explanations} explanations, "
        f"{report.actions} actions; anchor {report.anchor or 'none'}"
    )
