"""A trail is one chain: over files, threads, restarts, crashes, full disks and clocks set back."""

import errno
import json
import os
import resource
import stat
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from salience_service.audit.files import file_numbers, file_path
from salience_service.audit.line import ORIGIN, Kind
from salience_service.audit.line_file import LineFile
from salience_service.audit.lock import newest_begun
from salience_service.audit.trail import NotOnDisk, Trail, Upkeep
from salience_service.errors import ConfigRefused
from tests.support.audit import SMALL, Disk, checked, fields, lines, newest, trail_of, written

DURABLE = Upkeep(rotate_bytes=2**20)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "audit"


def test_lines_are_numbered_and_chained_over_files(directory: Path) -> None:
    written(directory, 100)
    found = fields(directory)
    assert len(file_numbers(directory)) > 3
    assert [line["number"] for line in found] == [*range(1, len(found) + 1)]
    assert [line["before"] for line in found] == [ORIGIN, *(line["seal"] for line in found[:-1])]
    assert [line["request"] for line in found if line["kind"] == "ended"] == [
        f"r{number}" for number in range(100)
    ]
    assert checked(directory).whole


def test_every_file_has_a_head_and_a_tail(directory: Path) -> None:
    written(directory, 100)
    for number in file_numbers(directory):
        found = [json.loads(line) for line in lines(file_path(directory, number))]
        assert (found[0]["kind"], found[0]["file"]) == ("head", number)
        last = number == file_numbers(directory)[-1]
        assert (found[-1]["kind"], found[-1]["reason"]) == (
            "tail",
            "closed" if last else "rotated",
        )


def test_files_and_directory_are_the_servers_alone(directory: Path) -> None:
    written(directory, 50)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()} == {0o600}


def test_a_restarted_trail_goes_on_in_a_new_file(directory: Path) -> None:
    written(directory, 3, DURABLE)
    written(directory, 3, DURABLE, start=3)
    assert file_numbers(directory) == [1, 2]
    report = checked(directory)
    assert (report.whole, report.notes, report.explanations) == (True, [], 6)


def test_sixty_four_threads_write_one_chain(directory: Path) -> None:
    trail = trail_of(directory, Upkeep(rotate_bytes=16_384))
    together = threading.Barrier(64)

    def work(thread: int) -> list[int]:
        together.wait()
        return [trail.append(Kind.ENDED, {"request": f"{thread}-{n}"}) for n in range(20)]

    with ThreadPoolExecutor(64) as threads:
        numbers = [number for each in threads.map(work, range(64)) for number in each]
    trail.close()
    report = checked(directory)
    assert (report.faults, report.explanations) == ([], 64 * 20)
    assert len(set(numbers)) == 64 * 20
    told = {line["request"] for line in fields(directory) if line["kind"] == "ended"}
    assert told == {f"{thread}-{n}" for thread in range(64) for n in range(20)}


def test_threads_that_wait_for_the_disk_share_a_sync(directory: Path) -> None:
    """Eight lines are written while one sync runs; one more sync makes all of them durable."""
    running, let_go, syncs = threading.Event(), threading.Event(), []

    def sync(descriptor: int) -> None:
        syncs.append(descriptor)
        if len(syncs) == 4:  # Those before are the head's, the lock's and the first line's.
            running.set()
            assert let_go.wait(30)
        os.fsync(descriptor)

    trail = trail_of(directory, DURABLE, sync=sync)
    trail.append(Kind.ENDED, {})
    assert len(syncs) == 3
    with ThreadPoolExecutor(9) as threads:
        first = threads.submit(trail.append, Kind.ENDED, {})
        assert running.wait(30)
        others = [threads.submit(trail.append, Kind.ENDED, {}) for _ in range(8)]
        while int(trail.anchor.partition(":")[0]) < 11:
            threading.Event().wait(0.001)
        let_go.set()
        assert first.result(30)
        assert len({each.result(30) for each in others}) == 8
    assert len(syncs) == 5
    trail.close()


def test_a_line_is_on_the_disk_before_append_returns(directory: Path) -> None:
    sizes = []

    def sync(descriptor: int) -> None:
        sizes.append(os.fstat(descriptor).st_size)

    trail = trail_of(directory, DURABLE, sync=sync)
    trail.append(Kind.ENDED, {})
    assert sizes[-1] == newest(directory).stat().st_size
    trail.append(Kind.ENDED, {}, durable=False)
    assert sizes[-1] < newest(directory).stat().st_size
    trail.close()


def test_only_so_many_files_are_kept(directory: Path) -> None:
    written(directory, 200, Upkeep(rotate_bytes=4096, keep_files=3, durable=False))
    numbers = file_numbers(directory)
    assert len(numbers) == 3
    report = checked(directory)
    assert report.whole
    assert report.notes == [f"files before {numbers[0]} were deleted by keep_files"]


@pytest.mark.parametrize("keep", [1, 3])
def test_starts_however_many_delete_nothing(directory: Path, keep: int) -> None:
    """A start that fails, for want of a model or a port, has opened the trail before."""
    upkeep = Upkeep(rotate_bytes=16_384, keep_files=keep, durable=False)
    written(directory, 240, upkeep)
    numbers = file_numbers(directory)
    for _ in range(10):
        trail_of(directory, upkeep).close()
    assert file_numbers(directory) == [*range(numbers[0], numbers[-1] + 11)]
    written(directory, 160, upkeep, start=240)
    sizes = [file_path(directory, each).stat().st_size for each in file_numbers(directory)]
    assert sum(size >= upkeep.rotate_bytes for size in sizes) == keep - 1, "the last is not full"
    report = checked(directory)
    assert report.faults == []
    assert report.notes == [f"files before {file_numbers(directory)[0]} were deleted by keep_files"]


def test_files_that_stops_leave_short_are_kept_by_their_bytes(directory: Path) -> None:
    """A server that is stopped every night never fills one."""
    upkeep = Upkeep(rotate_bytes=8192, keep_files=3, durable=False)
    for night in range(40):
        written(directory, 20, upkeep, start=20 * night)
    sizes = [file_path(directory, each).stat().st_size for each in file_numbers(directory)]
    assert max(sizes) < upkeep.rotate_bytes
    assert 3 * upkeep.rotate_bytes <= sum(sizes) <= 4 * upkeep.rotate_bytes
    assert checked(directory).faults == []


def test_two_servers_never_write_to_one_trail(directory: Path) -> None:
    trail = trail_of(directory)
    with pytest.raises(ConfigRefused, match="another server writes to this audit directory"):
        trail_of(directory)
    trail.close()
    trail_of(directory).close()


def test_a_trail_that_was_refused_or_closed_is_let_go_of(directory: Path) -> None:
    written(directory, 1)
    with pytest.raises(ConfigRefused, match="the key is another"):
        Trail(directory, b"another key", SMALL)
    trail = trail_of(directory)
    trail.close()
    with pytest.raises(OSError, match="the trail is closed"):
        trail.append(Kind.ENDED, {})
    trail_of(directory).close()
    assert checked(directory).whole


def test_a_clock_set_back_leaves_the_order_as_it_was(directory: Path) -> None:
    now = datetime(2026, 3, 1, 12, tzinfo=UTC)
    times = iter([now, now, now - timedelta(hours=2), now - timedelta(hours=1), now])
    trail = trail_of(directory, clock=lambda: next(times))
    for request in ("one", "two", "three"):
        trail.append(Kind.ENDED, {"request": request})
    trail.close()
    ended = [line for line in fields(directory) if line["kind"] == "ended"]
    assert [line["request"] for line in ended] == ["one", "two", "three"]
    assert [line["number"] for line in ended] == [2, 3, 4]
    assert ended[1]["time"] < ended[0]["time"]
    report = checked(directory)
    assert report.whole
    assert report.notes == [
        "file 1, line 3: the clock was set back, from 2026-03-01T12:00:00.000Z to "
        "2026-03-01T10:00:00.000Z"
    ]


KILLED = """
import os, sys
from pathlib import Path
from salience_service.audit.line import Kind
from tests.support.audit import trail_of
trail = trail_of(Path(sys.argv[1]))
for number in range(5):
    trail.append(Kind.ENDED, {"request": f"r{number}"})
os._exit(1)
"""


def killed(directory: Path) -> None:
    """Five records by a server that then ends as if it were killed."""
    ended = subprocess.run([sys.executable, "-c", KILLED, directory], check=False)
    assert ended.returncode == 1


def test_a_server_that_was_killed_goes_on_where_it_ended(directory: Path) -> None:
    killed(directory)
    written(directory, 1)
    report = checked(directory)
    assert (report.faults, report.explanations) == ([], 6)
    assert report.notes == [
        "file 1, line 7: the server ended without finishing, 0 bytes of a line were lost"
    ]


@pytest.mark.parametrize("left", [1, 20, 100, -2])
def test_a_line_torn_by_a_crash_is_kept_noted_and_gone_on_from(directory: Path, left: int) -> None:
    killed(directory)
    path = newest(directory)
    before = lines(path)
    torn = before[-1][:left]
    path.write_bytes(b"".join(before[:-1]) + torn)
    written(directory, 2)
    after = path.read_bytes()
    assert after.startswith(b"".join(before[:-1]) + torn + b"\n"), "nothing was taken away"
    report = checked(directory)
    assert (report.faults, report.explanations) == ([], 6)
    assert report.notes == [
        f"file 1, line 7: the server ended without finishing, {len(torn)} bytes of a line were lost"
    ]


def test_a_line_that_lacks_only_its_end_is_not_lost(directory: Path) -> None:
    killed(directory)
    path = newest(directory)
    path.write_bytes(path.read_bytes()[:-1])
    assert checked(directory).whole
    written(directory, 1)
    report = checked(directory)
    assert (report.faults, report.explanations) == ([], 6)


def test_zeros_that_a_file_system_leaves_after_a_power_cut_are_a_torn_line(
    directory: Path,
) -> None:
    killed(directory)
    with newest(directory).open("ab") as stream:
        stream.write(bytes(500))
    written(directory, 1)
    report = checked(directory)
    assert (report.faults, report.explanations) == ([], 6)
    assert "500 bytes of a line were lost" in report.notes[0]


def test_a_crash_while_a_file_is_begun_leaves_none(directory: Path) -> None:
    written(directory, 1)
    (directory / ".audit-00000002.jsonl").write_bytes(b'{"number":')
    written(directory, 1)
    assert checked(directory).whole
    assert file_numbers(directory) == [1, 2]


def test_a_crash_between_two_files_is_none_of_the_trails(directory: Path) -> None:
    """The old file was finished as `rotated`, the new one not begun."""
    trail = trail_of(directory)
    while not json.loads(lines(file_path(directory, 1))[-1]).get("reason"):
        trail.append(Kind.ENDED, {})
    trail.close()
    for number in file_numbers(directory)[1:]:
        file_path(directory, number).unlink()
    (directory / "lock").write_bytes(b"00000001\n")
    assert checked(directory).faults == ["file 2 is missing: file 1 says it follows"]
    written(directory, 1)
    assert checked(directory).whole


def moved(directory: Path, numbers: list[int]) -> Path:
    """An archive beside the directory, with these files of it."""
    archive = directory.with_name("archive")
    archive.mkdir()
    for number in numbers:
        file_path(directory, number).rename(file_path(archive, number))
    return archive


def test_a_trail_of_which_no_file_is_left_is_not_begun_anew(directory: Path) -> None:
    """After a stop the newest file is finished, too: moved away with the others, it is missed."""
    written(directory, 60)
    last = file_numbers(directory)[-1]
    archive = moved(directory, file_numbers(directory))
    with pytest.raises(ConfigRefused, match=f"newest file, {last}, is not there: bring it back"):
        trail_of(directory)
    assert file_numbers(directory) == []
    file_path(archive, last).rename(file_path(directory, last))
    written(directory, 60)
    assert file_numbers(directory)[:2] == [last, last + 1]
    moved_back = [*archive.iterdir()]
    assert checked(directory, archived=True).faults == []
    for path in moved_back:
        path.rename(directory / path.name)
    assert checked(directory).whole


def test_a_trail_is_not_gone_on_with_from_an_older_file(directory: Path) -> None:
    written(directory, 60)
    newest(directory).unlink()
    with pytest.raises(ConfigRefused, match="is not there"):
        trail_of(directory)


@pytest.mark.parametrize("lock", [None, b""], ids=["of this release", "of one that named no file"])
def test_the_file_of_a_server_that_was_killed_is_missed_too(
    directory: Path, lock: bytes | None
) -> None:
    killed(directory)
    if lock is not None:
        (directory / "lock").write_bytes(lock)
        killed(directory)
    newest(directory).unlink()
    with pytest.raises(ConfigRefused, match="newest file, 1, is not there"):
        trail_of(directory)


def test_a_file_that_the_lock_cannot_name_is_not_written_to_before_it_can(directory: Path) -> None:
    full = threading.Event()

    def sync(descriptor: int) -> None:
        if full.is_set() and os.path.sameopenfile(descriptor, lock):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(descriptor)

    trail = trail_of(directory, sync=sync)
    lock = os.open(directory / "lock", os.O_RDONLY)
    trail.append(Kind.ENDED, {"request": "r" * SMALL.rotate_bytes})
    full.set()
    for _ in range(2):
        with pytest.raises(OSError, match="No space left"):
            trail.append(Kind.ENDED, {})
    assert [json.loads(line)["kind"] for line in lines(newest(directory))] == ["head"]
    full.clear()
    trail.append(Kind.ENDED, {})
    assert newest_begun(directory) == 2
    trail.close()
    os.close(lock)
    assert checked(directory).whole


@pytest.mark.parametrize("content", [b"00000001", bytes(9), b"1\n", b"-0000001\n", b"0" * 99])
def test_a_lock_that_holds_no_number_is_refused_in_words(directory: Path, content: bytes) -> None:
    written(directory, 1)
    (directory / "lock").write_bytes(content)
    for look in (trail_of, checked):
        with pytest.raises(ConfigRefused, match="`lock` does not hold the number"):
            look(directory)
    (directory / "lock").write_bytes(b"00000001\n")
    trail_of(directory).close()


@pytest.mark.parametrize("place", [0, -2, -1])
def test_a_trail_whose_end_was_changed_is_not_gone_on_with(directory: Path, place: int) -> None:
    killed(directory)
    found = lines(newest(directory))
    data = bytearray(found[place])
    data[30] ^= 1
    found[place] = bytes(data)
    newest(directory).write_bytes(b"".join(found))
    if place == -2:  # Only the end is read anew at every start; the rest is for `verify`.
        written(directory, 1)
        assert not checked(directory).whole
        return
    with pytest.raises(ConfigRefused, match="was changed, or the key is another"):
        trail_of(directory)


def test_a_trail_is_not_gone_on_with_under_another_key(directory: Path) -> None:
    written(directory, 1)
    with pytest.raises(ConfigRefused, match="the key is another"):
        Trail(directory, b"another key", SMALL)


def test_what_was_put_behind_a_finished_file_is_not_gone_on_with(directory: Path) -> None:
    written(directory, 1)
    with newest(directory).open("ab") as stream:
        stream.write(b'{"number":9')
    with pytest.raises(ConfigRefused, match="goes on behind its end"):
        trail_of(directory)


def test_a_link_in_a_files_place_is_not_written_to(tmp_path: Path, directory: Path) -> None:
    killed(directory)
    newest(directory).rename(tmp_path / "elsewhere")
    (directory / "audit-00000001.jsonl").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigRefused, match="cannot be used"):
        trail_of(directory)


def test_a_directory_that_cannot_be_made_is_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigRefused, match="the audit directory cannot be used: No such file"):
        trail_of(tmp_path / "no" / "such")


FULL = """
import resource, sys
from pathlib import Path
from salience_service.audit.line import Kind
from salience_service.audit.trail import Upkeep
from tests.support.audit import trail_of
trail = trail_of(Path(sys.argv[1]), Upkeep(rotate_bytes=2**20))
most, hard = 3000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
written = failed = 0
for number in range(20):
    try:
        trail.append(Kind.ENDED, {"request": f"r{number}"})
        written += 1
    except OSError as fault:
        assert fault.strerror == "File too large", fault
        failed += 1
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
trail.append(Kind.ENDED, {"request": "after"})
trail.close()
print(written, failed)
"""


def test_a_full_disk_costs_the_lines_that_did_not_fit_and_no_other(directory: Path) -> None:
    """A real limit of the kernel's, which lets a part of a line through."""
    assert resource.RLIMIT_FSIZE
    done = subprocess.run(
        [sys.executable, "-c", FULL, directory], capture_output=True, text=True, check=True
    )
    kept, failed = map(int, done.stdout.split())
    assert kept > 3
    assert failed == 20 - kept > 3
    report = checked(directory)
    assert (report.faults, report.explanations) == ([], kept + 1)
    told = [line["request"] for line in fields(directory) if line["kind"] == "ended"]
    assert told == [*(f"r{number}" for number in range(kept)), "after"]


def test_a_part_of_a_line_that_cannot_be_taken_back_is_before_the_next(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"")
    file = LineFile(path)
    file.append(b"whole\n")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (9, limits[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            file.append(b"another\n")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    file.append(b"third\n")
    assert path.read_bytes() == b"whole\nthird\n"
    file.close()


def test_after_a_failed_sync_a_new_file_is_begun_and_the_line_is_told_of_by_its_number(
    directory: Path,
) -> None:
    """The kernel tells of such a failure but once: a file that had one is not to be believed."""
    disk = Disk()
    trail = trail_of(directory, DURABLE, sync=disk.sync)
    trail.append(Kind.ENDED, {"request": "before"})
    disk.full.set()
    with pytest.raises(NotOnDisk, match="No space left") as told:
        trail.append(Kind.ENDED, {"request": "perhaps lost"})
    with pytest.raises(OSError, match="No space left") as unwritten:
        trail.append(Kind.ENDED, {"request": "lost"})
    assert not isinstance(unwritten.value, NotOnDisk)
    disk.full.clear()
    assert trail.append(Kind.ENDED, {"request": "after"}) == 5
    trail.close()
    assert file_numbers(directory) == [1, 2]
    found = fields(directory)
    assert found[told.value.number - 1]["request"] == "perhaps lost"
    assert found[4]["request"] == "after"
    assert checked(directory).whole


def test_lines_that_waited_for_a_failed_sync_are_all_told_of(directory: Path) -> None:
    """Four lines are written while a sync runs that fails: none of them is said to be durable."""
    running, let_go, failing = threading.Event(), threading.Event(), threading.Event()

    def sync(descriptor: int) -> None:
        if failing.is_set():
            running.set()
            assert let_go.wait(30)
            failing.clear()
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        os.fsync(descriptor)

    def number_told() -> int:
        with pytest.raises(NotOnDisk, match="Input/output error") as told:
            trail.append(Kind.ENDED, {})
        trail.withdraw(told.value.number)
        return told.value.number

    trail = trail_of(directory, DURABLE, sync=sync)
    failing.set()
    with ThreadPoolExecutor(5) as threads:
        first = threads.submit(number_told)
        assert running.wait(30)
        others = [threads.submit(number_told) for _ in range(4)]
        while int(trail.anchor.partition(":")[0]) < 6:
            threading.Event().wait(0.001)
        let_go.set()
        assert {each.result(30) for each in (first, *others)} == {2, 3, 4, 5, 6}
    trail.close()
    head = fields(directory)[6]
    assert (head["kind"], sorted(head["withdrawn"])) == ("head", [2, 3, 4, 5, 6])
    assert checked(directory).whole


def withdrawn(trail: Trail, kind: Kind) -> None:
    """A line that is written, does not come onto the disk, and is withdrawn."""
    with pytest.raises(NotOnDisk) as told:
        trail.append(kind, {})
    trail.withdraw(told.value.number)


def test_what_is_withdrawn_is_told_once_by_the_next_line_that_can_be_written(
    directory: Path,
) -> None:
    disk = Disk()
    trail = trail_of(directory, DURABLE, sync=disk.sync)
    disk.full.set()
    withdrawn(trail, Kind.BEGAN)
    with pytest.raises(OSError, match="No space left"):
        trail.append(Kind.ENDED, {})
    disk.full.clear()
    trail.append(Kind.ENDED, {})
    trail.close()
    assert [line.get("withdrawn") for line in fields(directory)] == [None, None, [2], None, None]


def test_what_is_withdrawn_last_is_told_at_the_close(directory: Path) -> None:
    """The file was given up, so another is begun for it, and the trail ends as it should."""
    disk = Disk()
    trail = trail_of(directory, DURABLE, sync=disk.sync)
    disk.full.set()
    withdrawn(trail, Kind.ACTION_BEGAN)
    disk.full.clear()
    trail.close()
    last = [(line["kind"], line.get("withdrawn")) for line in fields(directory)][-2:]
    assert last == [("head", [2]), ("tail", None)]
    report = checked(directory)
    assert (report.faults, report.notes) == ([], [])


def test_a_file_that_had_a_failed_sync_never_says_again_that_it_is_durable(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"")
    outcomes = iter([OSError(errno.EIO, "once")])

    def sync(descriptor: int) -> None:
        for fault in outcomes:
            raise fault

    file = LineFile(path, sync)
    size = file.append(b"line\n")
    for _ in range(2):
        with pytest.raises(OSError):  # noqa: PT011  (its words are the kernel's)
            file.sync(size)
    file.close()
    file.close()


def test_anchors_are_told_to_the_log(directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "salience_service.audit")
    trail = trail_of(directory, Upkeep(anchor_lines=3))
    for _ in range(4):
        trail.append(Kind.ENDED, {})
    trail.close()
    told = [message.removeprefix("audit anchor ") for message in caplog.messages]
    assert [int(each.partition(":")[0]) for each in told] == [1, 3, 6]
    assert checked(directory, *told).whole
