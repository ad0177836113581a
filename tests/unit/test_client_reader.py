"""Messages become typed events, and pieces whole maps."""

import zlib

import numpy as np
import pytest

from salience.v1 import explanation_service_pb2 as pb
from salience.v1 import map_pb2
from salience_client import (
    AnswerReader,
    BrokenAnswer,
    Convergence,
    Finished,
    PartialMap,
    Prediction,
    Progress,
    Rectangle,
    SaliencyMap,
    Scores,
    Started,
    StopWhen,
)
from salience_client.reader import LARGEST_MAP_BYTES
from tests.support import fake_answers as fake


def read(messages):
    reader = AnswerReader()
    events = [event for message in messages for event in reader.read(message)]
    reader.end()
    return events


def read_map(*messages):
    (event,) = (e for e in read([*messages, fake.finished(1)]) if isinstance(e, SaliencyMap))
    return event


def test_an_answer_becomes_typed_events_in_its_order():
    kinds = [type(event) for event in read(fake.simple_answer())]

    assert kinds == [Started, Prediction, Progress, PartialMap, SaliencyMap, Scores, Finished]


def together(messages):
    return pb.ExplainResponse(gathered=pb.Gathered(events=messages))


def test_events_that_come_together_are_those_that_come_one_by_one():
    answer = fake.simple_answer()
    pieces = fake.in_pieces(fake.map_message(fake.ramp(), map_id=1), 5)
    answer = [*answer[:-1], *pieces, answer[-1]]

    for cut in range(len(answer)):
        heard = read([together(answer[:cut]), together(answer[cut:])])
        assert list(map(type, heard)) == list(map(type, read(answer)))
        maps = [[e for e in each if isinstance(e, SaliencyMap)] for each in (heard, read(answer))]
        assert [m.data for m in maps[0]] == [m.data for m in maps[1]]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ([together([together(fake.simple_answer())])], "events within events"),
        ([together([fake.finished(1), fake.started()])], "went on after its end"),
        ([together([fake.finished(1)]), together([fake.started()])], "went on after its end"),
        ([together([fake.started()])], "stopped before its end"),
        ([together([])], "stopped before its end"),
    ],
)
def test_what_cannot_be_gathered_so_is_no_answer(answer, reason):
    with pytest.raises(BrokenAnswer, match=reason):
        read(answer)


def test_events_hold_what_the_messages_said():
    started, prediction, progress, partial, _, scores, finished = read(fake.simple_answer())

    assert started.model == "lite0"
    assert (prediction.top[0].name, prediction.top[0].probability) == ("tabby", 0.75)
    assert prediction.targets[0].kind == "class"
    assert (prediction.image_height, prediction.image_width) == (300, 400)
    assert (progress.rows_done, progress.rows_expected) == (100, 100)
    np.testing.assert_array_equal(partial.array, [[0, 1, 2], [3, 4, 5]])
    assert (partial.tap, partial.fraction, partial.skipped) == ("layer4", 0.5, 1)
    assert (scores["ad"], scores["ai"], scores["ag"], scores.fill) == (12.5, 0, 3.25, "black")
    assert (finished.rows, finished.map_seconds) == (101, (1.25,))


def test_a_map_holds_its_numbers_and_how_it_was_made():
    values = fake.ramp()
    map_ = read_map(fake.whole(fake.map_message(values)))

    np.testing.assert_array_equal(map_.array, values)
    assert map_.array.dtype == np.float32
    assert not map_.array.flags.writeable
    assert (map_.method, map_.encoding, map_.geometry, map_.scale) == (
        "score-cam",
        "float32",
        "input",
        "unit",
    )
    assert (map_.raw_minimum, map_.raw_maximum, map_.audit) == (-1.5, 2.5, "unaudited")
    assert map_.provenance.options == {"samples": 4}
    masked, tail = map_.provenance.graphs
    assert (masked.role, masked.tap) == ("masked", "")
    assert (tail.role, tail.tap) == ("tail", "layer3")
    assert map_.provenance.gradient_side == "none"
    assert (map_.iterations, map_.validity, map_.is_degenerate) == (None, None, False)


def test_scores_come_with_their_curves_as_arrays():
    scores, _ = read([fake.curve_scores(), fake.finished(1)])

    assert (scores["insertion"], scores["deletion"], scores["insertion-deletion"]) == (
        0.5,
        0.5,
        -0.0625,
    )
    assert scores.curve_protocol == "polycam"
    assert set(scores.curves) == {"insertion", "deletion"}
    curve = scores.curves["deletion"]
    np.testing.assert_array_equal(curve.shares, [0, 0.5, 1])
    np.testing.assert_array_equal(curve.probabilities, [0.75, 0.5, 0.25])
    assert curve.probabilities.dtype == np.float64
    assert not curve.probabilities.flags.writeable


def test_scores_without_curves_have_no_protocol():
    scores, _ = read([fake.scores(), fake.finished(1)])

    assert (scores.curves, scores.curve_protocol) == ({}, None)


def test_a_curve_of_which_a_point_is_missing_is_refused():
    message = fake.curve_scores()
    del message.scores.curves[0].shares[-1]

    with pytest.raises(BrokenAnswer, match="not as many probabilities as shares"):
        read([message])


def test_a_box_is_there_where_the_message_has_one():
    message = fake.map_message(fake.ramp())
    assert read_map(fake.whole(message)).box is None

    message.box.CopyFrom(map_pb2.Rectangle(left=3, top=0, width=20, height=10))

    assert read_map(fake.whole(message)).box == Rectangle(3, 0, 20, 10)


def test_a_map_that_may_have_ended_early_tells_how_far_it_came():
    message = fake.map_message(fake.ramp())
    assert read_map(fake.whole(message)).convergence is None

    early = map_pb2.Convergence(rows_skipped=240, correlation=0.97, repeatable=True)
    message.convergence.CopyFrom(early)

    assert read_map(fake.whole(message)).convergence == Convergence(240, 0.97, True)


def test_a_partial_map_tells_its_correlation_where_the_method_does():
    silent, telling = fake.partial_map(), fake.partial_map()
    telling.partial_map.correlation = 0.0

    found = [event.correlation for event in read([silent, telling, fake.finished(1)])[:2]]

    assert found == [None, 0.0]


def test_precision_tuning_and_what_was_spared_are_told():
    message, last = fake.map_message(fake.ramp()), fake.finished(1)
    message.provenance.precision = "float16"
    message.provenance.tuning_digest = fake.DIGEST
    last.finished.rows_spared, last.finished.from_cache = 7, True

    map_, finished = read([fake.whole(message), last])

    made = map_.provenance
    assert (made.precision, made.tuning_digest) == ("float16", fake.DIGEST)
    assert (finished.rows_spared, finished.from_cache) == (7, True)


def test_provenance_tells_what_let_a_map_end():
    plain, timed, both = (fake.map_message(fake.ramp()) for _ in range(3))
    timed.provenance.stop_seconds = 2
    both.provenance.stop_correlation, both.provenance.stop_seconds = 0.9, 3
    for number, message in enumerate((plain, timed, both)):
        message.map_id = number

    found = read([*map(fake.whole, (plain, timed, both)), fake.finished(1)])

    stops = [map_.provenance.stop_when for map_ in found[:3]]
    assert stops == [None, StopWhen(seconds=2), StopWhen(0.9, 3)]


def test_maps_that_are_made_together_may_interleave_their_events():
    large, small = fake.map_message(fake.ramp()), fake.map_message(1 - fake.ramp(), 1)
    kinds = read(
        [
            fake.progress(0, 10),
            fake.partial_map(0),
            fake.partial_map(1),
            fake.progress(0, 20),
            fake.partial_map(1),
            fake.partial_map(0),
            *fake.in_pieces(large, 32),
            *fake.in_pieces(small, 64),
            fake.scores(0),
            fake.curve_scores(1),
            fake.finished(20, 1.0, 1.0),
        ]
    )

    partials = [event.map_id for event in kinds if isinstance(event, PartialMap)]
    maps = [event for event in kinds if isinstance(event, SaliencyMap)]
    assert partials == [0, 1, 1, 0]
    assert [map_.data for map_ in maps] == [large.data, small.data]
    assert [event.map_id for event in kinds if isinstance(event, Scores)] == [0, 1]


def test_flags_are_words():
    message = fake.map_message(fake.ramp())
    message.flags.extend([map_pb2.MAP_FLAG_DEGENERATE, map_pb2.MAP_FLAG_CLASS_AGNOSTIC])
    message.iterations = 0

    map_ = read_map(fake.whole(message))

    assert map_.flags == {"degenerate", "class-agnostic"}
    assert map_.is_degenerate
    assert map_.iterations == 0


def test_a_flag_from_a_newer_server_is_kept_in_digits():
    message = fake.map_message(fake.ramp())
    message.flags.append(77)

    assert read_map(fake.whole(message)).flags == {"77"}


def test_a_regression_has_no_probability():
    message = fake.prediction(fake.target())
    message.prediction.top[0].ClearField("probability")
    message.prediction.targets[0].ClearField("probability")

    prediction, _ = read([message, fake.finished(0)])

    assert prediction.top[0].probability is None
    assert prediction.targets[0].probability is None


@pytest.mark.parametrize("size", [1, 7, 24, 96, 1000])
def test_a_map_in_pieces_equals_the_map_whole(size):
    message = fake.map_message(fake.ramp())

    map_ = read_map(*fake.in_pieces(message, size))

    assert map_.data == message.data


def test_half_precision_stays_half_precision():
    values = fake.ramp().astype(np.float16)

    map_ = read_map(fake.whole(fake.map_message(values)))

    assert map_.array.dtype == np.float16
    np.testing.assert_array_equal(map_.array, values)


def test_a_png_map_is_read_as_pixels():
    image = pytest.importorskip("PIL.Image")
    from io import BytesIO

    pixels = np.arange(24, dtype=np.uint8).reshape(4, 6)
    file = BytesIO()
    image.fromarray(pixels).save(file, "PNG")
    message = fake.map_message(fake.ramp())
    message.encoding, message.data = map_pb2.MAP_ENCODING_PNG_GREY, file.getvalue()
    message.total_bytes = len(message.data)

    map_ = read_map(fake.whole(message))

    assert map_.is_png
    np.testing.assert_array_equal(map_.array, pixels)


@pytest.mark.parametrize("width", [1, 6, 8, 9, 17])
def test_a_validity_mask_is_unpacked_row_by_row(width):
    seen = np.random.default_rng(width).random((4, width)) > 0.5
    message = fake.map_message(fake.ramp(4, width), validity=seen)

    validity = read_map(fake.whole(message)).validity

    assert validity.dtype == np.bool_
    np.testing.assert_array_equal(validity, seen)


@pytest.mark.parametrize(
    ("validity", "says"),
    [
        (b"not zlib", "damaged"),
        (zlib.compress(bytes(3)), "does not fill"),
        (zlib.compress(bytes(10_000_000)), "does not fill"),
    ],
)
def test_a_validity_mask_that_does_not_fit_is_refused(validity, says):
    message = fake.map_message(fake.ramp())
    message.validity = validity

    with pytest.raises(BrokenAnswer, match=says):
        read_map(fake.whole(message))


def test_a_piece_out_of_place_is_refused():
    head, first, second, *_ = fake.in_pieces(fake.map_message(fake.ramp()), 32)

    with pytest.raises(BrokenAnswer, match="out of place"):
        read([head, second, first])


def test_a_piece_sent_twice_is_refused():
    head, first, *_ = fake.in_pieces(fake.map_message(fake.ramp()), 32)

    with pytest.raises(BrokenAnswer, match="out of place"):
        read([head, first, first])


def test_a_piece_of_another_map_is_refused():
    head, first, *_ = fake.in_pieces(fake.map_message(fake.ramp()), 32)
    first.map_chunk.map_id = 9

    with pytest.raises(BrokenAnswer, match="map 9"):
        read([head, first])


def test_a_piece_without_a_map_is_refused():
    _, first, *_ = fake.in_pieces(fake.map_message(fake.ramp()), 32)

    with pytest.raises(BrokenAnswer, match="out of place"):
        read([first])


def test_a_map_that_breaks_off_is_refused():
    head, first, *_ = fake.in_pieces(fake.map_message(fake.ramp()), 32)

    with pytest.raises(BrokenAnswer, match="broke off: 32 of 96 bytes came"):
        read([head, first, fake.finished(1)])


def test_more_bytes_than_announced_are_refused():
    message = fake.map_message(fake.ramp())
    message.total_bytes = 95

    with pytest.raises(BrokenAnswer, match="longer than announced"):
        read([fake.whole(message)])


def test_a_map_that_does_not_fill_its_grid_is_refused():
    message = fake.map_message(fake.ramp())
    message.width = 7

    with pytest.raises(BrokenAnswer, match="does not fill its grid"):
        read([fake.whole(message)])


def test_a_partial_map_that_does_not_fill_its_grid_is_refused():
    message = fake.partial_map()
    message.partial_map.height = 3

    with pytest.raises(BrokenAnswer, match="does not fill its grid"):
        read([message])


def test_a_map_beyond_the_limit_is_refused_before_a_byte_of_it_is_kept():
    head, *_ = fake.in_pieces(fake.map_message(fake.ramp()), 32)
    head.map.total_bytes = LARGEST_MAP_BYTES + 1

    with pytest.raises(BrokenAnswer, match="ask for geometry 'input'"):
        read([head])


def test_an_answer_that_stops_before_its_end_is_refused():
    with pytest.raises(BrokenAnswer, match="stopped before its end"):
        read(fake.simple_answer()[:-1])


def test_an_answer_that_goes_on_after_its_end_is_refused():
    with pytest.raises(BrokenAnswer, match="went on"):
        read([fake.finished(1), fake.progress(0, 1)])


def test_an_event_that_only_newer_clients_know_is_passed_over():
    assert read([pb.ExplainResponse(), fake.finished(1)])[0].rows == 1
