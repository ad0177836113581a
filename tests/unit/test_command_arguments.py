"""The words of the command line as values."""

import math

import pytest

from salience_client import Blur, Colour, Method, StopWhen

typer = pytest.importorskip("typer")

from salience_client.commands.arguments import (  # noqa: E402
    box_of_word,
    curves_of_word,
    fill_of_word,
    listed,
    methods_of,
    priority_of_word,
    scalar_of,
    scores_of,
    side_of_word,
    stop_of,
)


def test_words_may_be_repeated_and_hold_several():
    assert listed(["a,b", " c ", "", "d,,e"]) == ["a", "b", "c", "d", "e"]


def test_options_and_taps_go_to_their_method():
    methods = methods_of(
        ["score-cam,poly-cam"],
        ["poly-cam.weights=plus", "poly-cam.local_norm=false", "score-cam.share=0.5"],
        ["poly-cam=layer4,layer3", "poly-cam=layer2"],
    )

    assert methods == [
        Method("score-cam", share=0.5),
        Method("poly-cam", ["layer4", "layer3", "layer2"], weights="plus", local_norm=False),
    ]


def test_a_tap_may_hold_dots_slashes_and_equals_signs():
    (method,) = methods_of(["m"], [], ["m=/_blocks.15/a=b"])

    assert method.taps == ("/_blocks.15/a=b",)


@pytest.mark.parametrize(
    ("word", "value"),
    [("true", True), ("false", False), ("3", 3), ("-3", -3), ("0.5", 0.5), ("1e-3", 0.001)],
)
def test_a_word_that_reads_as_a_number_or_a_switch_is_one(word, value):
    assert scalar_of(word) == value
    assert type(scalar_of(word)) is type(value)


def test_any_other_word_stays_a_word():
    assert scalar_of("plus-minus") == "plus-minus"


@pytest.mark.parametrize(
    ("options", "taps", "says"),
    [
        (["score-cam=3"], [], "METHOD.KEY=VALUE"),
        (["score-cam.key"], [], "METHOD.KEY=VALUE"),
        (["score-cam.key="], [], "METHOD.KEY=VALUE"),
        (["rise.masks=3"], [], "no --method asks for"),
        ([], ["layer4"], "METHOD=TAP"),
        ([], ["rise=layer4"], "no --method asks for"),
    ],
)
def test_a_malformed_word_is_wrong_usage(options, taps, says):
    with pytest.raises(typer.BadParameter, match=says):
        methods_of(["score-cam"], options, taps)


def test_no_method_at_all_is_wrong_usage():
    with pytest.raises(typer.BadParameter, match="at least one --method"):
        methods_of([","], [], [])


def test_the_same_method_twice_is_wrong_usage():
    with pytest.raises(typer.BadParameter, match="twice"):
        methods_of(["score-cam,score-cam"], [], [])


@pytest.mark.parametrize(
    ("word", "fill"),
    [
        ("mean", "mean"),
        ("black", "black"),
        ("blur", Blur()),
        ("blur:31,4.5", Blur(31, 4.5)),
        ("colour:0.5", Colour((0.5,))),
        ("colour:0,0.5,1", Colour((0.0, 0.5, 1.0))),
    ],
)
def test_a_fill_is_read(word, fill):
    assert fill_of_word(word) == fill


@pytest.mark.parametrize(
    "word", ["pink", "mean:1", "blur:31", "blur:3.5,2", "blur:a,b", "blur:-3,2", "colour"]
)
def test_a_fill_that_is_none_is_wrong_usage(word):
    with pytest.raises(typer.BadParameter, match="blur:KERNEL,SIGMA"):
        fill_of_word(word)


def test_scores_are_read():
    assert scores_of("ag, ad") == ["ag", "ad"]
    assert scores_of("insertion,deletion,insertion-deletion") == [
        "insertion",
        "deletion",
        "insertion-deletion",
    ]
    assert scores_of("") == []
    with pytest.raises(typer.BadParameter, match="'auc' is no score"):
        scores_of("ad,auc")


@pytest.mark.parametrize("word", ["rise", "polycam"])
def test_a_curve_protocol_is_read(word):
    assert curves_of_word(word) == word


@pytest.mark.parametrize("word", ["", "RISE", "roar"])
def test_a_curve_protocol_that_is_none_is_wrong_usage(word):
    with pytest.raises(typer.BadParameter, match="give one of rise, polycam"):
        curves_of_word(word)


@pytest.mark.parametrize(("word", "box"), [("mean", "mean"), ("0.5", 0.5), ("0", 0.0)])
def test_a_box_is_read(word, box):
    assert box_of_word(word) == box


@pytest.mark.parametrize("word", ["", "largest", "1", "-0.1", "nan", "inf", "true"])
def test_a_box_that_is_none_is_wrong_usage(word):
    with pytest.raises(typer.BadParameter, match="give mean or 0 to less than 1"):
        box_of_word(word)


@pytest.mark.parametrize("word", ["interactive", "normal", "bulk"])
def test_a_priority_is_read(word):
    assert priority_of_word(word) == word


@pytest.mark.parametrize("word", ["", "BULK", "urgent"])
def test_a_priority_that_is_none_is_wrong_usage(word):
    with pytest.raises(typer.BadParameter, match="give one of interactive, normal, bulk"):
        priority_of_word(word)


def test_where_maps_may_end_is_read():
    assert stop_of(None, None) is None
    assert stop_of(0.95, None) == StopWhen(correlation=0.95)
    assert stop_of(0.95, 2.0) == StopWhen(0.95, 2.0)


@pytest.mark.parametrize(
    ("correlation", "seconds", "says"),
    [
        (0.0, None, "--stop-at is 0: give more than 0, less than 1"),
        (1.0, None, "--stop-at is 1"),
        (math.nan, None, "--stop-at is nan"),
        (None, 0.0, "--stop-after is 0: give seconds above 0"),
        (None, math.inf, "--stop-after is inf"),
        (0.5, -1.0, "--stop-after is -1"),
    ],
)
def test_an_end_that_is_none_is_wrong_usage(correlation, seconds, says):
    with pytest.raises(typer.BadParameter, match=says):
        stop_of(correlation, seconds)


@pytest.mark.parametrize("names", ["all,score-cam", "score-cam,all"])
def test_all_beside_another_method_is_wrong_usage(names):
    with pytest.raises(typer.BadParameter, match="all stands alone"):
        methods_of([names], [], [])


@pytest.mark.parametrize("word", ["auto", "onnx", "torch"])
def test_a_gradient_side_is_read(word):
    assert side_of_word(word) == word


@pytest.mark.parametrize("word", ["", "none", "ONNX"])
def test_a_gradient_side_that_is_none_is_wrong_usage(word):
    with pytest.raises(typer.BadParameter, match="give one of auto, onnx, torch"):
        side_of_word(word)
