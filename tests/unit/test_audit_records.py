"""Records tell who, when, of what and how it ended; nothing of them tells of a patient."""

import json
import stat
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from salience_service.audit.auditor import MOST_ALIKE, MOST_WAITING, Auditor
from salience_service.audit.finding import actions_of, records_of
from salience_service.audit.keys import AuditKeys, read_keys, write_new_key
from salience_service.audit.line import Kind
from salience_service.audit.record import CODES, image_digest, result_digest
from salience_service.errors import ConfigRefused, Unavailable
from salience_service.events import Progress
from salience_service.request import (
    DicomImage,
    EncodedImage,
    ExplainOrder,
    ImageInput,
    MethodCall,
    PixelImage,
    PreparedImage,
)
from salience_service.rpc.wire.status import CODES as STATUSES
from salience_service.telemetry.records import (
    Arrival,
    ExplanationRecord,
    InferenceRecord,
    Refusal,
)
from tests.support.audit import KEYS, busy, checked, fields, newest, trail_of
from tests.support.serving import FINISHED, PROVENANCE, STARTED, finished_map
from tests.support.waiting import until

PATIENT = "Jane Doe 1970-01-01"
ARRIVAL = Arrival("request-1", "ward-7", 0.0)
ORDER = ExplainOrder(
    model=PATIENT, image=EncodedImage(PATIENT.encode()), methods=(MethodCall(PATIENT),)
)
ANSWERED = ExplanationRecord(
    request_id="request-1",
    principal="ward-7",
    outcome="ok",
    code=0,
    whole_seconds=1.5,
    model="tiny",
    version="1",
    bundle_digest="d" * 64,
    provider="CPUExecutionProvider",
    methods=("score-cam",),
    provenances=(PROVENANCE,),
    rows=1280,
    rows_spared=3,
    compute_seconds=1.25,
)
PREDICTED = InferenceRecord("request-3", "ward-7", "ok", 0, 0.5, "tiny", "1", "d" * 64, images=4)
REFUSED = ExplanationRecord("request-1", "ward-7", "NotFound", 5, 0.001)


class FullDisk:
    """A trail that nothing can be written to."""

    def append(self, kind: Kind, fields: object, durable: bool = True) -> int:
        raise OSError(28, "No space left on device")

    def close(self) -> None:
        pass


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "audit"


def recorded(directory: Path, most_alike: int = MOST_ALIKE) -> Auditor:
    return Auditor(trail_of(directory), KEYS, most_alike=most_alike)


def lines_of(directory: Path, *kinds: str) -> list[dict[str, object]]:
    return [line for line in fields(directory) if line["kind"] in kinds]


def test_an_answered_explanation_leaves_two_lines_that_tell_all_of_it(directory: Path) -> None:
    auditor = recorded(directory)
    watch = auditor.began(ARRIVAL)
    watch.asked(ORDER)
    watch.said(STARTED)
    assert [line["kind"] for line in fields(directory)] == ["head", "began"]
    watch.said(finished_map(b"map"))
    watch.said(FINISHED)
    watch.finishing(ANSWERED)
    assert [line["kind"] for line in fields(directory)] == ["head", "began", "ended"]
    watch.ended(ANSWERED)
    auditor.close()
    began, ended = lines_of(directory, "began", "ended")
    assert ended["began"] == began["number"]
    assert ended["image"] == began["image"] == image_digest(KEYS, ORDER.image)
    assert {key: began[key] for key in ("principal", "request", "model", "version", "bundle")} == {
        "principal": "ward-7",
        "request": "request-1",
        "model": "tiny",
        "version": "1",
        "bundle": "d" * 64,
    }
    assert (ended["outcome"], ended["code"], ended["error"]) == ("ok", "OK", "")
    assert (ended["rows"], ended["rows_spared"], ended["seconds"]) == (1280, 3, 1.5)
    assert ended["maps"] == [
        {
            "method": "score-cam",
            "options": {"count": 3, "flag": True, "share": 0.5, "word": "code"},
            "taps": ["last"],
            "gradients": "none",
            "precision": "float32",
            "signed_by": "",
            "results": [result_digest(KEYS, b"map")],
        }
    ]
    assert checked(directory).whole


def test_what_the_caller_said_is_nowhere_in_the_trail(directory: Path) -> None:
    auditor = recorded(directory)
    for record in (ANSWERED, REFUSED):
        watch = auditor.began(ARRIVAL)
        watch.asked(ORDER)
        if record is ANSWERED:
            watch.said(STARTED)
            watch.said(finished_map(PATIENT.encode()))
            watch.finishing(record)
        watch.ended(record)
    auditor.close()
    text = json.dumps(fields(directory))
    for word in PATIENT.split():
        assert word not in text


def test_maps_that_were_made_alike_are_told_together(directory: Path) -> None:
    """Else an explanation of many classes would have a line of many megabytes."""
    auditor = recorded(directory)
    watch = auditor.began(ARRIVAL)
    watch.asked(ORDER)
    watch.said(STARTED)
    for number in range(3):
        watch.said(finished_map(str(number).encode()))
    other = replace(PROVENANCE, method="rise")
    watch.finishing(replace(ANSWERED, provenances=(PROVENANCE, other, PROVENANCE)))
    auditor.close()
    (ended,) = lines_of(directory, "ended")
    digests = [result_digest(KEYS, str(number).encode()) for number in range(3)]
    assert [(made["method"], made["results"]) for made in ended["maps"]] == [
        ("score-cam", [digests[0], digests[2]]),
        ("rise", [digests[1]]),
    ]


def test_an_option_that_json_cannot_hold_is_recorded_all_the_same(directory: Path) -> None:
    auditor = recorded(directory)
    watch = auditor.began(ARRIVAL)
    watch.asked(ORDER)
    watch.said(STARTED)
    watch.said(finished_map(b"map"))
    endless = replace(PROVENANCE, options={"most": float("inf")})
    watch.finishing(replace(ANSWERED, provenances=(endless,)))
    auditor.close()
    (ended,) = lines_of(directory, "ended")
    assert ended["maps"][0]["options"] == {"most": "inf"}


@pytest.mark.parametrize(
    ("error", "code", "outcome"),
    [
        ("InvalidRequest", 3, "refused"),
        ("NotFound", 5, "refused"),
        ("PermissionDenied", 7, "refused"),
        ("QuotaExceeded", 8, "refused"),
        ("Cancelled", 1, "cancelled"),
        ("DeadlineExceeded", 4, "cancelled"),
        ("ComputeFailed", 13, "failed"),
        ("Unavailable", 14, "failed"),
        ("Unexpected", 13, "failed"),
    ],
)
def test_an_end_that_was_not_the_answers_is_told_for_what_it_was(
    directory: Path, error: str, code: int, outcome: str
) -> None:
    auditor = recorded(directory)
    watch = auditor.began(ARRIVAL)
    watch.asked(ORDER)
    watch.ended(replace(REFUSED, outcome=error, code=code))
    auditor.close()
    (ended,) = lines_of(directory, "ended")
    assert (ended["outcome"], ended["code"], ended["error"]) == (outcome, CODES[code], error)
    assert (ended["began"], ended["image"], ended["maps"]) == (None, "", [])


def test_an_explanation_cut_off_keeps_what_was_answered_of_it(directory: Path) -> None:
    auditor = recorded(directory)
    watch = auditor.began(ARRIVAL)
    watch.asked(ORDER)
    watch.said(STARTED)
    watch.said(finished_map(b"map"))
    watch.ended(replace(ANSWERED, outcome="Cancelled", code=1))
    auditor.close()
    (ended,) = lines_of(directory, "ended")
    assert (ended["outcome"], len(ended["maps"][0]["results"])) == ("cancelled", 1)
    assert ended["image"]


def test_an_explanation_that_was_never_read_is_recorded_too(directory: Path) -> None:
    auditor = recorded(directory)
    auditor.began(ARRIVAL).ended(replace(REFUSED, outcome="InvalidRequest", code=3))
    auditor.close()
    assert [line["error"] for line in lines_of(directory, "ended")] == ["InvalidRequest"]


def test_an_explanation_that_was_cut_off_is_found_by_its_beginning(directory: Path) -> None:
    auditor = recorded(directory)
    for answered in (True, False):
        watch = auditor.began(ARRIVAL)
        watch.asked(ORDER)
        watch.said(STARTED)
        if answered:
            watch.finishing(ANSWERED)
    cut, ended = lines_of(directory, "began")[1], lines_of(directory, "ended")[0]
    assert list(records_of(directory, KEYS, PATIENT.encode())) == [ended, cut]
    auditor.close()


def test_what_was_withdrawn_is_not_found(directory: Path) -> None:
    image = {"image": image_digest(KEYS, EncodedImage(b"scan"))}
    trail = trail_of(directory)
    trail.withdraw(trail.append(Kind.BEGAN, image))
    began = trail.append(Kind.BEGAN, image)
    trail.withdraw(trail.append(Kind.ENDED, {**image, "began": began, "outcome": "ok"}))
    end = trail.append(Kind.ENDED, {**image, "began": began, "outcome": "failed"})
    open_ = trail.append(Kind.BEGAN, image)
    trail.withdraw(trail.append(Kind.ENDED, {**image, "began": open_, "outcome": "ok"}))
    trail.withdraw(trail.append(Kind.ACTION_BEGAN, {}))
    action = trail.append(Kind.ACTION_BEGAN, {})
    trail.close()
    found = [line["number"] for line in records_of(directory, KEYS, b"scan")]
    assert found == [end, open_]
    assert [line["number"] for line in actions_of(directory, KEYS)] == [action]


def test_what_the_server_deletes_while_records_are_looked_for_is_left_out(
    directory: Path,
) -> None:
    auditor = recorded(directory)
    auditor.close()
    looked_at = busy(directory, newest(directory).unlink)
    assert list(records_of(looked_at, KEYS, b"image")) == []


def test_the_names_of_codes_are_those_of_grpc() -> None:
    for status in STATUSES.values():
        assert CODES[status.value[0]] == status.name


def test_predictions_and_known_callers_turned_away_are_recorded(directory: Path) -> None:
    auditor = recorded(directory)
    auditor.refused(Refusal("PermissionDenied", "request-1", "ward-7", "/s.S/Explain"))
    auditor.refused(Refusal("Unauthenticated", "request-2", "", "/s.S/Explain"))
    auditor.inferred(PREDICTED)
    auditor.close()
    (away,), (predicted,) = lines_of(directory, "turned_away"), lines_of(directory, "predicted")
    assert (away["principal"], away["error"], away["rpc"]) == (
        "ward-7",
        "PermissionDenied",
        "/s.S/Explain",
    )
    assert (away["others"], away["untold"]) == (0, 0)
    assert (predicted["rows"], predicted["outcome"]) == (4, "ok")


@pytest.mark.parametrize("nobody", ["", "anonymous"])
def test_who_is_not_known_fills_no_disk(directory: Path, nobody: str) -> None:
    auditor = recorded(directory)
    auditor.refused(Refusal("QuotaExceeded", "r", nobody, "/s.S/Explain"))
    auditor.close()
    assert lines_of(directory, "turned_away") == []


def test_of_calls_that_are_refused_alike_the_first_have_a_line_and_the_others_a_number(
    directory: Path,
) -> None:
    auditor = recorded(directory)
    for number in range(MOST_ALIKE + 80):
        auditor.refused(Refusal("QuotaExceeded", f"r{number}", "ward-7", "/s.S/Explain"))
    others = [("ward-8", "QuotaExceeded", "Explain"), ("ward-7", "NotFound", "Explain")]
    others += [("ward-7", "QuotaExceeded", "Rollback")]
    for principal, reason, rpc in others:
        auditor.refused(Refusal(reason, "r", principal, f"/s.S/{rpc}"))
    auditor.close()
    away = lines_of(directory, "turned_away")
    assert len(away) == MOST_ALIKE + len(others) + 1
    (told,) = [line for line in away if line["others"]]
    assert (told["principal"], told["error"], told["rpc"], told["others"]) == (
        "ward-7",
        "QuotaExceeded",
        "/s.S/Explain",
        80,
    )
    assert auditor.failures == 0, "and no alert is given"


def test_so_have_predictions_that_are_not_answered_and_those_that_are_have_one_each(
    directory: Path,
) -> None:
    auditor = recorded(directory)
    for _ in range(MOST_ALIKE + 80):
        auditor.inferred(replace(PREDICTED, outcome="QuotaExceeded", code=8))
        auditor.inferred(PREDICTED)
    auditor.close()
    outcomes = [line["outcome"] for line in lines_of(directory, "predicted")]
    assert (outcomes.count("ok"), outcomes.count("refused")) == (MOST_ALIKE + 80, MOST_ALIKE)
    (told,) = lines_of(directory, "turned_away")
    assert (told["principal"], told["error"], told["others"]) == ("ward-7", "QuotaExceeded", 80)


def test_so_have_explanations_that_were_refused_once_they_were_read(directory: Path) -> None:
    auditor = recorded(directory)
    for _ in range(MOST_ALIKE + 80):
        auditor.began(ARRIVAL).ended(REFUSED)
    watch = auditor.began(ARRIVAL)
    watch.asked(ORDER)
    watch.said(STARTED)
    watch.ended(REFUSED)
    auditor.close()
    ended = [line["began"] for line in lines_of(directory, "ended")]
    assert (ended.count(None), len(ended)) == (MOST_ALIKE, MOST_ALIKE + 1)
    (told,) = lines_of(directory, "turned_away")
    assert (told["principal"], told["error"], told["others"]) == ("ward-7", "NotFound", 80)


def test_callers_turned_away_by_the_thousand_are_counted_and_not_queued(directory: Path) -> None:
    blocked, many = trail_of(directory.with_name("other")), MOST_WAITING + 500
    auditor = recorded(directory, most_alike=many + 1)
    with auditor._trail._lock:  # The writer waits, as for a slow disk.
        for _ in range(many):
            auditor.refused(Refusal("QuotaExceeded", "r", "ward-7"))
    blocked.close()
    auditor.refused(Refusal("QuotaExceeded", "r", "ward-7"))
    auditor.close()
    away = lines_of(directory, "turned_away")
    assert len(away) <= MOST_WAITING + 2
    assert len(away) + sum(int(str(line["untold"])) for line in away) == many + 1
    assert auditor.failures == many + 1 - len(away), "so that an alert is given"


class SometimesFull(FullDisk):
    """A disk that has room for the last line alone."""

    def __init__(self) -> None:
        self.full, self.lines = True, list[Mapping[str, object]]()

    def append(self, kind: Kind, fields: Mapping[str, object], durable: bool = True) -> int:
        if self.full:
            return super().append(kind, fields, durable)
        self.lines.append(fields)
        return 1


def test_what_a_full_disk_left_out_is_told_by_the_next_line_that_can_be_written() -> None:
    disk = SometimesFull()
    auditor = Auditor(disk, KEYS, refuses=True, most_alike=21)
    for _ in range(20):
        auditor.refused(Refusal("QuotaExceeded", "r", "ward-7"))
    until(lambda: auditor._untold == 20)
    disk.full = False
    auditor.refused(Refusal("QuotaExceeded", "r", "ward-7"))
    auditor.close()
    assert len(disk.lines) + sum(int(str(line["untold"])) for line in disk.lines) == 21


def test_what_was_never_told_is_in_the_log_at_the_end(caplog: pytest.LogCaptureFixture) -> None:
    auditor = Auditor(FullDisk(), KEYS, refuses=True)
    auditor.refused(Refusal("QuotaExceeded", "r", "ward-7"))
    auditor.close()
    assert "audit: 1 lines were counted and NOT written" in caplog.messages


def test_without_a_record_there_is_no_answer() -> None:
    auditor = Auditor(FullDisk(), KEYS, refuses=True)
    watch = auditor.began(ARRIVAL)
    watch.asked(ORDER)
    watch.said(Progress(0, "score-cam", 0, 1))
    with pytest.raises(Unavailable, match="answers none unrecorded") as refused:
        watch.said(STARTED)
    assert refused.value.retry_after
    assert "space" not in str(refused.value)
    with pytest.raises(Unavailable):
        watch.finishing(ANSWERED)
    watch.ended(replace(REFUSED, outcome="Unavailable", code=14))
    with pytest.raises(Unavailable, match="answers none unrecorded"):
        auditor.inferred(PREDICTED)
    assert auditor.failures == 4


def test_where_it_is_allowed_an_unrecorded_answer_goes_on_and_the_log_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    auditor = Auditor(FullDisk(), KEYS, refuses=False)
    watch = auditor.began(ARRIVAL)
    watch.asked(ORDER)
    watch.said(STARTED)
    watch.finishing(ANSWERED)
    watch.ended(ANSWERED)
    assert auditor.failures == 2
    assert [each.levelname for each in caplog.records] == ["CRITICAL", "CRITICAL"]
    assert "'ended' was NOT written: No space left on device" in caplog.messages[1]


IMAGES: list[ImageInput] = [
    EncodedImage(b"abc"),
    EncodedImage(b"abd"),
    DicomImage(b"abc"),
    PixelImage(np.zeros((2, 3), np.uint8), 255),
    PixelImage(np.zeros((3, 2), np.uint8), 255),
    PixelImage(np.zeros((2, 3), np.uint8), 254),
    PixelImage(np.zeros((2, 3), np.uint16), 255),
    PixelImage(np.eye(2, 3, dtype=np.uint8), 255),
    PixelImage(np.zeros((0, 3), np.uint8), 255),
    PreparedImage(np.zeros((1, 2, 3), np.float32)),
    PreparedImage(np.ones((1, 2, 3), np.float32)),
]


def test_images_that_differ_have_digests_that_differ_and_the_key_is_in_each() -> None:
    assert len({image_digest(KEYS, image) for image in IMAGES}) == len(IMAGES)
    other = AuditKeys.of(b"x" * 32)
    assert not {image_digest(KEYS, each) for each in IMAGES} & {
        image_digest(other, each) for each in IMAGES
    }


def test_an_arrays_layout_in_memory_is_not_part_of_the_image() -> None:
    pixels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    turned = np.asfortranarray(pixels)
    assert image_digest(KEYS, PixelImage(pixels, 1)) == image_digest(KEYS, PixelImage(turned, 1))


def test_an_image_a_map_and_a_line_of_the_same_bytes_have_nothing_in_common() -> None:
    assert len({KEYS.chain, KEYS.images, KEYS.results}) == 3


def test_a_key_is_written_for_its_owner_alone_and_read_again(tmp_path: Path) -> None:
    write_new_key(tmp_path / "key")
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    assert read_keys(tmp_path / "key") == read_keys(tmp_path / "key")
    with pytest.raises(ConfigRefused, match="File exists"):
        write_new_key(tmp_path / "key")


def test_a_key_that_everyone_may_read_is_refused(tmp_path: Path) -> None:
    write_new_key(tmp_path / "key")
    (tmp_path / "key").chmod(0o644)
    with pytest.raises(ConfigRefused, match="open to everyone here: chmod o= it"):
        read_keys(tmp_path / "key")
    (tmp_path / "key").chmod(0o640)
    read_keys(tmp_path / "key")


@pytest.mark.parametrize("content", [b"", b"secret", b"g" * 64, b"a" * 63, b"a" * 66, b"\xff" * 64])
def test_a_file_that_is_no_key_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "key").write_bytes(content)
    (tmp_path / "key").chmod(0o600)
    with pytest.raises(ConfigRefused, match="not 64 hexadecimal digits"):
        read_keys(tmp_path / "key")


def test_a_key_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigRefused, match="audit key nowhere cannot be read"):
        read_keys(tmp_path / "nowhere")
