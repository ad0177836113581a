"""Whoever has not the key cannot change a trail unseen; what cannot be seen is said."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from salience_service.audit.files import file_numbers, file_path
from salience_service.audit.keys import AuditKeys
from salience_service.audit.line import Kind, read
from salience_service.audit.line import written as line_written
from salience_service.audit.trail import Trail, Upkeep
from salience_service.audit.verify import MOST_TOLD, told, verify
from salience_service.errors import ConfigRefused
from tests.support.audit import (
    KEYS,
    busy,
    checked,
    edit,
    fields,
    lines,
    newest,
    trail_of,
    written,
)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A finished trail of 60 records in several files."""
    place = tmp_path / "audit"
    written(place, 60)
    assert len(file_numbers(place)) >= 4
    return place


@pytest.fixture
def running(tmp_path: Path) -> Path:
    """A trail of 5 records that is not finished: lines 2 to 6 of its only file."""
    place = tmp_path / "running"
    trail = trail_of(place)
    for number in range(5):
        trail.append(Kind.ENDED, {"request": f"r{number}", "began": None})
    shutil.copytree(place, tmp_path / "copy")
    trail.close()
    return tmp_path / "copy"


def first(directory: Path) -> Path:
    return file_path(directory, 1)


def many_more(trail: Trail) -> None:
    """So many records that files are begun."""
    for number in range(60):
        trail.append(Kind.ENDED, {"request": f"r{number}"})


def changed(found: list[bytes], place: int) -> None:
    found[place] = found[place].replace(b'"request":"r', b'"request":"x')


def swapped(found: list[bytes], one: int, other: int) -> None:
    found[one], found[other] = found[other], found[one]


def test_an_untouched_trail_is_whole(directory: Path) -> None:
    report = checked(directory)
    assert (report.whole, report.notes, report.explanations) == (True, [], 60)
    assert report.lines == len(fields(directory))


ATTACKS: dict[str, tuple[Callable[[list[bytes]], object], list[str]]] = {
    "a word changed": (
        lambda found: changed(found, 3),
        ["file 1, line 4: it was changed, or written without the key"],
    ),
    "two lines changed": (
        lambda found: (changed(found, 3), changed(found, 4)),
        [
            "file 1, line 4: it was changed, or written without the key",
            "file 1, line 5: it was changed, or written without the key",
        ],
    ),
    "the last record of a file changed": (
        lambda found: changed(found, -2),
        ["file 1, line {before_last}: it was changed, or written without the key"],
    ),
    "a line taken out": (lambda found: found.pop(3), ["line 4 is missing"]),
    "three lines taken out": (
        lambda found: found.__delitem__(slice(3, 6)),
        ["lines 4 to 6 are missing"],
    ),
    "a line taken out here and there": (
        lambda found: (found.pop(7), found.pop(3)),
        ["line 4 is missing", "line 8 is missing"],
    ),
    "two lines swapped": (
        lambda found: swapped(found, 3, 4),
        ["file 1, line 5: line 4 is not in its place"],
    ),
    "a line moved far": (
        lambda found: found.insert(9, found.pop(3)),
        ["file 1, line 10: line 4 is not in its place"],
    ),
    "a line repeated": (
        lambda found: found.insert(4, found[3]),
        ["file 1, line 5: line 4 is there twice"],
    ),
    "a line cut short": (
        lambda found: found.__setitem__(3, found[3][:40] + b"\n"),
        ["before file 1, line 5: 40 bytes are no line"],
    ),
    "a line emptied": (
        lambda found: found.__setitem__(3, b"\n"),
        ["before file 1, line 5: 0 bytes are no line"],
    ),
    "a line made up": (
        lambda found: found.insert(4, line_written(b"guess", 5, "0" * 64, Kind.ENDED, {})[0]),
        ["file 1, line 5: it was changed, or written without the key"],
    ),
    "the head taken out": (
        lambda found: found.pop(0),
        ["file 1, line 1: it is not the head of file 1", "line 1 is missing"],
    ),
    "the tail taken out": (lambda found: found.pop(), ["line {last} is missing"]),
    "the end cut off": (
        lambda found: found.__delitem__(slice(-3, None)),
        ["lines {third_last} to {last} are missing"],
    ),
    "the end cut off in a line": (
        lambda found: found.__setitem__(-1, found[-1][:10]),
        ["before file 2, line 1: 10 bytes are no line"],
    ),
    "everything taken out": (
        lambda found: found.clear(),
        ["file 1 holds no line"],
    ),
}


@pytest.mark.parametrize(("attack", "expected"), ATTACKS.values(), ids=[*ATTACKS])
def test_what_is_done_to_a_file_is_found_and_named(
    directory: Path, attack: Callable[[list[bytes]], object], expected: list[str]
) -> None:
    last = len(lines(first(directory)))
    places = {"last": last, "before_last": last - 1, "third_last": last - 2}
    edit(first(directory), attack)
    report = checked(directory)
    for finding in expected:
        assert finding.format(**places) in report.faults, report.faults
    assert len(report.faults) <= len(expected) + 2, report.faults


def test_a_missing_file_is_named_wherever_it_was(directory: Path) -> None:
    for number in file_numbers(directory):
        kept = file_path(directory, number).read_bytes()
        file_path(directory, number).unlink()
        expected = (
            "files 1 to 1 are not here: the server did not delete them"
            if number == 1
            else f"file {number} is missing"
        )
        assert any(fault.startswith(expected) for fault in checked(directory).faults), number
        file_path(directory, number).write_bytes(kept)
    assert checked(directory).whole


@pytest.mark.parametrize("archived", [False, True])
def test_the_newest_file_is_missed_by_the_lock(tmp_path: Path, archived: bool) -> None:
    """Where a server stopped, what is left of the trail does not say that anything follows."""
    place = tmp_path / "audit"
    written(place, 3)
    written(place, 3)
    expected = "file 2 is missing: the directory's lock says it was begun"
    file_path(place, 2).unlink()
    assert checked(place, archived=archived).faults == [expected]
    first(place).unlink()
    assert checked(place, archived=archived).faults == [
        "there is no file of a trail here",
        expected,
    ]


def test_files_that_are_archived_elsewhere_are_a_note_if_that_is_said(directory: Path) -> None:
    first(directory).unlink()
    assert not checked(directory).whole
    report = checked(directory, archived=True)
    assert report.whole
    assert report.notes == ["files 1 to 1 are not here: the server did not delete them"]


def test_a_file_taken_away_from_a_running_server_is_not_forgotten_by_its_heads(
    tmp_path: Path,
) -> None:
    """What a head says was kept is remembered, not read from the directory."""
    place = tmp_path / "audit"
    written(place, 60)
    first(place).unlink()
    written(place, 60)
    assert "files 1 to 1 are not here: the server did not delete them" in checked(place).faults


def test_files_that_change_names_are_found(directory: Path) -> None:
    one, two = file_path(directory, 1), file_path(directory, 2)
    content = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(content)
    faults = checked(directory).faults
    assert "file 1, line 1: it is not the head of file 1" in faults
    assert "file 2, line 1: it is not the head of file 2" in faults


def test_an_older_copy_of_a_file_is_found(tmp_path: Path) -> None:
    """Restored from a backup, all its lines are genuine, but it ends too soon."""
    place = tmp_path / "audit"
    trail = trail_of(place)
    for _ in range(3):
        trail.append(Kind.ENDED, {})
    older = newest(place).read_bytes()
    for _ in range(3):
        trail.append(Kind.ENDED, {})
    trail.close()
    written(place, 1)
    file_path(place, 1).write_bytes(older)
    assert checked(place).faults == ["lines 5 to 8 are missing"]


def test_a_trail_of_another_life_with_the_same_key_does_not_fit(tmp_path: Path) -> None:
    """Begun anew with the same key: numbers and codes are right, the chain is not."""
    one, other = tmp_path / "one", tmp_path / "other"
    written(one, 60, start=100)
    written(other, 60, start=500)
    shutil.copy(file_path(other, 2), file_path(one, 2))
    report = checked(one)
    assert "file 2, line 1: it does not follow the line before it" in report.faults


def test_another_key_proves_nothing(directory: Path) -> None:
    report = verify(directory, AuditKeys.of(b"other").chain)
    assert report.lines == 0
    assert len(report.faults) == len(fields(directory))


def test_faults_are_bounded(tmp_path: Path) -> None:
    place = tmp_path / "audit"
    written(place, MOST_TOLD + 50)
    report = verify(place, b"another key")
    assert len(report.faults) == MOST_TOLD
    assert report.untold == len(fields(place)) - MOST_TOLD
    assert f"fault: and {report.untold} more" in list(told(report))


def test_a_line_longer_than_any_is_not_read_into_memory(directory: Path) -> None:
    with first(directory).open("ab") as stream:
        stream.truncate(2**26)
    assert not checked(directory).whole


def test_an_empty_directory_is_no_trail(tmp_path: Path) -> None:
    assert checked(tmp_path).faults == ["there is no file of a trail here"]
    with pytest.raises(ConfigRefused, match="cannot be read"):
        checked(tmp_path / "nowhere")


# What a chain alone cannot show, and what an anchor does about it.


def test_lines_cut_from_the_end_of_an_unfinished_file_are_not_seen_without_an_anchor(
    running: Path,
) -> None:
    anchor = checked(running).anchor
    edit(newest(running), lambda found: found.__delitem__(slice(-2, None)))
    report = checked(running)
    assert report.whole, "nothing in the directory can show it"
    assert "only an anchor can show it" in report.notes[0]
    assert checked(running, anchor).faults == [
        "the trail ends at line 4, before anchor 6: it was cut"
    ]


def test_files_cut_back_to_an_earlier_end_of_a_server_are_not_seen_without_an_anchor(
    tmp_path: Path,
) -> None:
    place = tmp_path / "audit"
    written(place, 3)
    anchor = written(place, 3)
    file_path(place, 2).unlink()
    (place / "lock").unlink()
    assert checked(place).whole
    assert checked(place, anchor).faults == [
        "the trail ends at line 5, before anchor 10: it was cut"
    ]


def test_every_line_may_be_an_anchor_and_another_code_is_none(directory: Path) -> None:
    anchors = [f"{line['number']}:{line['seal']}" for line in fields(directory)]
    assert checked(directory, *anchors).whole
    assert checked(directory, f"7:{'0' * 64}").faults == ["line 7 is not the one of the anchor"]


def test_a_trail_cut_back_and_gone_on_with_contradicts_the_anchors_from_before(
    tmp_path: Path, running: Path
) -> None:
    """The log has two anchors of one number then; those of the new life alone prove nothing."""
    before = checked(running).anchor
    edit(newest(running), lambda found: found.__delitem__(slice(-3, None)))
    written(running, 5, start=100)
    number = int(before.partition(":")[0])
    after = "{number}:{seal}".format(**fields(running)[number - 1])
    assert checked(running, after).whole
    for anchors in ((before, after), (after, before), (before, after, before)):
        assert checked(running, *anchors).faults == ["line 6 is not the one of the anchor"]


def test_anchors_that_differ_are_a_fault_where_their_line_is_not_kept_any_more(
    directory: Path,
) -> None:
    anchor = "{number}:{seal}".format(**fields(directory)[2])
    first(directory).unlink()
    assert checked(directory, anchor, anchor, archived=True).whole
    assert checked(directory, anchor, f"3:{'0' * 64}", archived=True).faults == [
        "the anchors of line 3 differ: no trail holds both"
    ]


def test_an_anchor_older_than_what_is_kept_is_a_note(directory: Path) -> None:
    anchor = "{number}:{seal}".format(**fields(directory)[2])
    first(directory).unlink()
    report = checked(directory, anchor, archived=True)
    assert report.whole
    assert "anchor 3 is older than the first line here" in report.notes


@pytest.mark.parametrize("word", ["", "7", "7:abc", "x:" + "0" * 64, "-1:" + "0" * 64])
def test_what_is_no_anchor_is_refused(directory: Path, word: str) -> None:
    with pytest.raises(ConfigRefused, match="is no anchor"):
        checked(directory, word)


def test_a_running_server_may_be_verified(running: Path) -> None:
    with newest(running).open("ab") as stream:
        stream.write(b'{"number":7,"bef')
    report = checked(running)
    assert report.whole
    assert report.notes[0].startswith("the last line is not whole: it is being written")


def test_a_file_begun_while_the_trail_is_read_is_no_fault(tmp_path: Path) -> None:
    place = tmp_path / "audit"
    trail = trail_of(place)
    report = checked(busy(place, lambda: many_more(trail)))
    assert (report.faults, report.files) == ([], len(file_numbers(place)))
    trail.close()


def test_a_file_deleted_while_the_trail_is_read_is_no_fault(tmp_path: Path) -> None:
    place = tmp_path / "audit"
    trail = trail_of(place, Upkeep(rotate_bytes=4096, keep_files=2, durable=False))
    many_more(trail)
    before = file_numbers(place)
    report = checked(busy(place, lambda: many_more(trail)))
    assert before[0] not in file_numbers(place)
    assert report.faults == []
    assert f"files before {file_numbers(place)[0]} were deleted by keep_files" in report.notes
    trail.close()


def test_a_file_that_is_taken_away_while_the_trail_is_read_is_missing(directory: Path) -> None:
    report = checked(busy(directory, file_path(directory, 2).unlink))
    assert "file 2 is missing" in report.faults


def test_a_link_to_nowhere_in_a_files_place_is_refused(directory: Path) -> None:
    first(directory).unlink()
    first(directory).symlink_to("nowhere")
    with pytest.raises(ConfigRefused, match="cannot be read"):
        checked(directory)


def test_the_torn_bytes_of_a_crash_may_not_be_taken_away_either(running: Path) -> None:
    with newest(running).open("ab") as stream:
        stream.write(b'{"number":7,"bef')
    trail_of(running).close()
    assert checked(running).whole
    edit(newest(running), lambda found: found.pop(6))
    assert checked(running).faults == ["file 1, line 7: the torn bytes it tells of are gone"]


def test_explanations_that_never_ended_are_told(running: Path) -> None:
    trail = trail_of(running)
    open_ = trail.append(Kind.BEGAN, {"request": "killed"})
    began = trail.append(Kind.BEGAN, {"request": "whole"})
    trail.append(Kind.ENDED, {"request": "whole", "began": began})
    trail.close()
    assert open_ < began
    assert "1 explanations began and have not ended" in checked(running).notes[-1]


def test_what_was_withdrawn_is_waited_for_by_nobody_and_counted_once(tmp_path: Path) -> None:
    place = tmp_path / "audit"
    trail = trail_of(place)
    trail.withdraw(trail.append(Kind.BEGAN, {}))
    trail.append(Kind.ENDED, {"began": None})
    began = trail.append(Kind.BEGAN, {})
    trail.withdraw(trail.append(Kind.ENDED, {"began": began, "outcome": "ok"}))
    trail.append(Kind.ENDED, {"began": began, "outcome": "failed"})
    trail.withdraw(trail.append(Kind.ACTION_BEGAN, {}))
    trail.close()
    report = checked(place)
    assert (report.faults, report.notes, report.explanations) == ([], [], 2)


def test_an_end_whose_beginning_is_archived_counts(directory: Path) -> None:
    trail = trail_of(directory)
    trail.append(Kind.ENDED, {"began": 2})
    trail.close()
    kept = [line["kind"] for line in fields(directory)[len(lines(first(directory))) :]]
    first(directory).unlink()
    assert checked(directory, archived=True).explanations == kept.count("ended")


@given(data=st.binary(max_size=400))
def test_no_bytes_are_a_line_without_the_key(data: bytes) -> None:
    line = read(KEYS.chain, data)
    assert line is None or not line.genuine


@given(place=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_one_bit_changed_anywhere_in_a_line_is_seen(place: int, bit: int) -> None:
    text, _ = line_written(KEYS.chain, 7, "a" * 64, Kind.ENDED, {"request": "r", "rows": 1280})
    data = bytearray(text.removesuffix(b"\n"))
    data[place % len(data)] ^= 1 << bit
    line = read(KEYS.chain, bytes(data))
    assert line is None or not line.genuine


def test_a_line_says_the_same_twice_nowhere() -> None:
    """JSON would take the later of two equal keys, a reader with other eyes the earlier."""
    text, _ = line_written(KEYS.chain, 1, "0" * 64, Kind.ENDED, {"request": "r"})
    assert len(json.loads(text, object_pairs_hook=list)) == len(json.loads(text))
