"""Options: what is taken, what is refused and in which words, and how they are described."""

from typing import Literal

import pytest
from pydantic import Field

from salience_service.errors import InvalidRequest
from salience_service.methods import METHODS
from salience_service.methods.optimised.opti_cam import OptiCamOptions
from salience_service.methods.options import OptionKind, Options, as_scalars, describe, resolve
from salience_service.methods.rows.poly_cam import PolyCamOptions


def test_what_is_not_named_keeps_its_default() -> None:
    found = as_scalars(resolve(OptiCamOptions, {"iterations": 7}))
    assert found.items() >= {"learning_rate": 0.1, "iterations": 7, "stop": "plateau"}.items()
    assert found == OptiCamOptions(iterations=7).model_dump()


def test_an_integer_is_taken_where_a_number_is_asked_for() -> None:
    rate = resolve(OptiCamOptions, {"learning_rate": 1}).learning_rate
    assert rate == 1
    assert isinstance(rate, float)


class Worded(Options):
    """One option of each kind that words can be taken for."""

    areas: str = Field("0.1", description="areas, with commas between")
    way: Literal["1", "2"] = Field("1", description="a choice")


@pytest.mark.parametrize(("given", "text"), [(0.25, "0.25"), (3, "3"), ("0.1,0.2", "0.1,0.2")])
def test_a_number_is_taken_where_text_is_asked_for(given: float | str, text: str) -> None:
    assert resolve(Worded, {"areas": given}).areas == text


def test_a_flag_is_no_text_and_a_number_no_choice() -> None:
    with pytest.raises(InvalidRequest, match="option areas is True: give text"):
        resolve(Worded, {"areas": True})
    with pytest.raises(InvalidRequest, match="option way is 1: give one of 1, 2"):
        resolve(Worded, {"way": 1})


@pytest.mark.parametrize(
    ("options", "given", "words"),
    [
        (OptiCamOptions, {"iterations": 0}, "option iterations is 0: give an integer from 1 to"),
        (
            OptiCamOptions,
            {"iterations": 1001},
            "iterations is 1001: give an integer from 1 to 1000",
        ),
        (OptiCamOptions, {"iterations": 5.0}, "option iterations is 5.0: give an integer"),
        (OptiCamOptions, {"iterations": True}, "option iterations is True: give an integer"),
        (OptiCamOptions, {"learning_rate": True}, "option learning_rate is True: give a number"),
        (OptiCamOptions, {"learning_rate": float("nan")}, "learning_rate is nan: give a number"),
        (OptiCamOptions, {"learning_rate": float("inf")}, "learning_rate is inf: give a number"),
        (OptiCamOptions, {"learning_rate": 0.0}, "from 0.0001 to 10 (default 0.1)"),
        (OptiCamOptions, {"learning_rate": 10.1}, "from 0.0001 to 10 (default 0.1)"),
        (OptiCamOptions, {"learning_rate": "0.1"}, "option learning_rate is '0.1': give a number"),
        (METHODS["rise"].options, {"seed": 2**32}, "give an integer from 0 to 4294967295 (default"),
        (OptiCamOptions, {"stop": "soon"}, "stop is 'soon': give one of plateau, paper, none"),
        (OptiCamOptions, {"stop": 1}, "option stop is 1: give one of plateau, paper, none"),
        (OptiCamOptions, {"steps": 5}, "'steps': known are learning_rate, iterations, stop"),
        (PolyCamOptions, {"local_norm": 1}, "local_norm is 1: give true or false (default true)"),
        (PolyCamOptions, {"local_norm": "true"}, "option local_norm is 'true': give true or false"),
        (METHODS["fake-cam"].options, {"steps": 5}, "unknown option 'steps': this method has none"),
    ],
)
def test_a_refusal_names_the_option_its_value_and_the_limit(
    options: type[Options], given: dict[str, float | str], words: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        resolve(options, given)
    assert words in str(refused.value)


@pytest.mark.parametrize("given", [{"stop": "x" * 100_000}, {"y" * 100_000: 1}])
def test_a_refusal_stays_short_whatever_was_sent(given: dict[str, str | int]) -> None:
    with pytest.raises(InvalidRequest) as refused:
        resolve(OptiCamOptions, given)
    assert len(str(refused.value)) < 200


def test_descriptions_tell_types_limits_and_choices() -> None:
    told = {option.name: option for option in describe(OptiCamOptions)}
    rate, iterations, stop = told["learning_rate"], told["iterations"], told["stop"]
    assert (rate.name, rate.kind, rate.default) == ("learning_rate", OptionKind.NUMBER, 0.1)
    assert (rate.minimum, rate.maximum) == (1e-4, 10)
    assert (iterations.kind, iterations.minimum, iterations.maximum) == (
        OptionKind.INTEGER,
        1,
        1000,
    )
    assert (stop.kind, stop.choices) == (OptionKind.CHOICE, ("plateau", "paper", "none"))
    flag = describe(PolyCamOptions)[2]
    assert (flag.kind, flag.default) == (OptionKind.FLAG, True)


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS.keys())
def test_the_described_defaults_and_limits_are_the_ones_in_force(method) -> None:
    described = describe(method.options)
    assert {one.name: one.default for one in described} == as_scalars(method.options())
    for one in described:
        assert one.summary
        for value in (one.minimum, one.maximum, *one.choices):
            if value is not None:
                as_given = int(value) if one.kind is OptionKind.INTEGER else value
                resolve(method.options, {one.name: as_given})
