"""A whole answer, collected."""

import numpy as np
import pytest

from salience_client import AnswerReader, BrokenAnswer, Explanation
from tests.support import fake_answers as fake


def collect(messages):
    reader = AnswerReader()
    return Explanation.of(event for message in messages for event in reader.read(message))


def two_maps():
    """Two targets of one method; the first took 40 rows, the second 23."""
    tabby, tench = fake.target(), fake.target("tench", 0)
    return [
        fake.started(),
        fake.prediction(tabby, tench),
        fake.progress(0, 10),
        fake.progress(0, 40),
        fake.whole(fake.map_message(fake.ramp(), 0, resolved=tabby)),
        fake.scores(0),
        fake.progress(1, 50),
        fake.whole(fake.map_message(1 - fake.ramp(), 1, resolved=tench)),
        fake.finished(64, 2.0, 1.5, map_rows=(40, 23)),
    ]


def test_a_map_is_found_by_its_method():
    explanation = collect(fake.simple_answer())

    np.testing.assert_array_equal(explanation["score-cam"].array, fake.ramp())
    assert explanation.prediction.top[0].name == "tabby"


def test_scores_rows_and_seconds_are_attached_to_their_map():
    map_ = collect(fake.simple_answer())["score-cam"]

    assert (map_.scores["ad"], map_.rows, map_.seconds) == (12.5, 101, 1.25)


def test_each_of_several_maps_has_its_own_rows_and_seconds():
    first, second = collect(two_maps()).maps

    assert (first.rows, second.rows) == (40, 23)
    assert (first.seconds, second.seconds) == (2.0, 1.5)
    assert second.scores is None
    assert len(collect(two_maps()).scores) == 1


def test_a_map_of_several_targets_is_found_by_method_and_target():
    explanation = collect(two_maps())

    assert explanation["score-cam", "tench"].map_id == 1
    with pytest.raises(KeyError, match="2 maps fit 'score-cam'; there are"):
        explanation["score-cam"]
    with pytest.raises(KeyError, match="no map fits 'rise'"):
        explanation["rise"]


def test_maps_made_together_get_their_own_scores_whatever_the_order():
    names = ("tabby", "tench", "lynx")
    resolved = [fake.target(name, index) for index, name in enumerate(names)]
    values = [fake.ramp() * (number + 1) for number in range(3)]
    messages = [
        fake.started(),
        fake.prediction(*resolved),
        *(fake.partial_map(number) for number in (0, 1, 2, 1, 0)),
        *(
            fake.whole(fake.map_message(values[number], number, resolved=resolved[number]))
            for number in (1, 0, 2)
        ),
        *(fake.scores(number) for number in (2, 0)),
        fake.curve_scores(1),
        fake.finished(90, 1.0, 2.0, 3.0, map_rows=(31, 32, 33)),
    ]

    explanation = collect(messages)

    assert [map_.target.name for map_ in explanation.maps] == list(names)
    for number, map_ in enumerate(explanation.maps):
        np.testing.assert_array_equal(map_.array, values[number])
        assert map_.scores.map_id == number
        assert (map_.rows, map_.seconds) == (31 + number, 1.0 + number)
    assert explanation["score-cam", "tench"].scores["insertion"] == 0.5


@pytest.mark.parametrize("missing", [0, 1, 6])
def test_an_answer_without_its_frame_is_no_explanation(missing):
    messages = fake.simple_answer()
    del messages[missing]

    with pytest.raises(BrokenAnswer, match="not complete"):
        collect(messages)
