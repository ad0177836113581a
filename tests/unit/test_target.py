"""Targets equal their definitions, at the ends of the range of probabilities too."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from salience_service.bundle.manifest import Head, OutputKind
from salience_service.errors import InvalidRequest
from salience_service.targets.probabilities import probabilities
from salience_service.targets.target import Target, TargetKind, sigmoid
from tests.oracle.targets import (
    exact_complement,
    exact_sigmoid_complement,
    pair_probability,
    sigmoid_probability,
    softmax_probability,
)

LOGITS = np.random.default_rng(2).normal(0, 4, (6, 10)).astype(np.float32)
TORCH = torch.from_numpy(LOGITS)
SOFTMAX_KINDS = [OutputKind.SOFTMAX, OutputKind.LOG_PROBABILITY]


def present(output: OutputKind, index: int = 3) -> Target:
    return Target("c", TargetKind.CLASS, index, output)


def absent(output: OutputKind, index: int = 3) -> Target:
    return Target("not:c", TargetKind.ABSENT, index, output)


def difference(output: OutputKind) -> Target:
    return Target("c-d", TargetKind.DIFFERENCE, 3, output, 7)


def complement(target: Target, logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """1 − p, as scores take it."""
    return sigmoid(-target.log_odds(logits))


@pytest.mark.parametrize("output", SOFTMAX_KINDS)
def test_a_class_of_a_softmax_has_its_softmax(output: OutputKind) -> None:
    logits = TORCH.log_softmax(-1) if output is OutputKind.LOG_PROBABILITY else TORCH
    wanted = softmax_probability(logits, 3).numpy()
    np.testing.assert_allclose(present(output).probability(logits.numpy()), wanted, rtol=1e-6)
    np.testing.assert_allclose(complement(absent(output), logits.numpy()), wanted, rtol=1e-6)


def test_a_class_of_a_sigmoid_has_its_sigmoid() -> None:
    wanted = sigmoid_probability(TORCH, 3).numpy()
    np.testing.assert_allclose(present(OutputKind.SIGMOID).probability(LOGITS), wanted, rtol=1e-12)


def test_a_single_sigmoid_output_has_its_sigmoid() -> None:
    target = present(OutputKind.SIGMOID, 0)
    wanted = sigmoid_probability(TORCH[:, :1], 0).numpy()
    np.testing.assert_allclose(target.probability(LOGITS[:, :1]), wanted, rtol=1e-12)


@pytest.mark.parametrize("output", [OutputKind.SOFTMAX, OutputKind.SIGMOID])
def test_an_absence_has_what_the_class_leaves(output: OutputKind) -> None:
    oracle = softmax_probability if output is OutputKind.SOFTMAX else sigmoid_probability
    wanted = 1 - oracle(TORCH, 3).numpy()
    np.testing.assert_allclose(absent(output).probability(LOGITS), wanted, rtol=1e-9)


@pytest.mark.parametrize("output", [*SOFTMAX_KINDS, OutputKind.SIGMOID])
def test_a_difference_has_the_softmax_of_the_two_alone(output: OutputKind) -> None:
    wanted = pair_probability(TORCH, 3, 7).numpy()
    np.testing.assert_allclose(difference(output).probability(LOGITS), wanted, rtol=1e-9)


@pytest.mark.parametrize("output", list(OutputKind))
def test_the_value_and_its_gradient_are_those_of_torch(output: OutputKind) -> None:
    for target, value in [
        (present(output), TORCH[:, 3]),
        (absent(output), -TORCH[:, 3]),
        (difference(output), TORCH[:, 3].double() - TORCH[:, 7].double()),
    ]:
        np.testing.assert_allclose(target.value(LOGITS), value.double().numpy(), rtol=1e-12)
        leaf = TORCH[0].clone().requires_grad_()
        picked = {"c": leaf[3], "not:c": -leaf[3], "c-d": leaf[3] - leaf[7]}[target.name]
        picked.backward()
        cotangent = target.cotangent(10)
        assert cotangent.dtype == np.float32
        np.testing.assert_array_equal(cotangent, leaf.grad.numpy())  # type: ignore[union-attr]


@pytest.mark.parametrize("lead", [0.0, 5.0, 20.0, 40.0, 80.0, 300.0])
def test_one_less_p_is_exact_where_p_rounds_to_one(lead: float) -> None:
    logits = [0.5, lead, -1.25, 0.25]
    row = np.array(logits, np.float32)
    wanted = exact_complement(logits, 1)
    assert complement(present(OutputKind.SOFTMAX, 1), row) == pytest.approx(wanted, rel=1e-12)
    assert absent(OutputKind.SOFTMAX, 1).probability(row) == pytest.approx(wanted, rel=1e-12)
    wanted = exact_sigmoid_complement(lead)
    assert complement(present(OutputKind.SIGMOID, 1), row) == pytest.approx(wanted, rel=1e-12)


def test_p_and_one_less_p_make_one() -> None:
    for target in (present(OutputKind.SOFTMAX), absent(OutputKind.SIGMOID)):
        whole = target.probability(LOGITS) + complement(target, LOGITS)
        np.testing.assert_allclose(whole, 1, rtol=1e-15)


def test_huge_logits_neither_overflow_nor_become_nan() -> None:
    row = np.array([-1e4, 1e4, 0, 3e38], np.float32)
    for index in range(4):
        for output in (OutputKind.SOFTMAX, OutputKind.SIGMOID):
            p = present(output, index).probability(row)
            assert 0 <= p <= 1


def test_log_probabilities_of_minus_infinity_are_certain_not_nan() -> None:
    row = np.array([-np.inf, 0.0, -np.inf], np.float32)
    assert present(OutputKind.LOG_PROBABILITY, 1).probability(row) == 1
    assert complement(present(OutputKind.LOG_PROBABILITY, 1), row) == 0
    assert present(OutputKind.LOG_PROBABILITY, 0).probability(row) == 0


@pytest.mark.parametrize("output", [*SOFTMAX_KINDS, OutputKind.SIGMOID])
def test_classes_asked_for_together_have_what_each_has_alone(output: OutputKind) -> None:
    extreme = np.array([-1e4, 1e4, 0, 3e38, -np.inf, *[0.5] * 5], np.float32)
    infinite = np.array([0, np.inf, -np.inf, *[0.5] * 7], np.float32)
    shared = np.array([np.inf, 1, np.inf, -np.inf, *[1e4] * 6], np.float32)
    nowhere = np.full(10, -np.inf, np.float32)
    for row in [*LOGITS, extreme, infinite, shared, nowhere]:
        doubles = row.astype(np.float64)
        alone = [float(present(output, index).probability(doubles)) for index in range(10)]
        together = probabilities(doubles, Head(output, 10))
        np.testing.assert_allclose(together, alone, rtol=1e-14)
        np.testing.assert_array_equal(doubles, row, "the logits themselves were written to")


def test_classes_of_infinite_logits_share_all_of_it_in_every_row() -> None:
    rows = np.array([[np.inf, 1, np.inf], [0, 1, 2], [-np.inf] * 3], np.float32)
    each = [present(OutputKind.SOFTMAX, 0).probability(row) for row in rows]
    np.testing.assert_allclose([each[0], each[2]], [1 / 2, 1 / 3], rtol=1e-14)
    np.testing.assert_array_equal(present(OutputKind.SOFTMAX, 0).probability(rows), each)


def test_the_only_class_of_a_softmax_is_certain() -> None:
    target = present(OutputKind.SOFTMAX, 0)
    np.testing.assert_array_equal(target.probability(LOGITS[:, :1]), 1)
    np.testing.assert_array_equal(complement(target, LOGITS[:, :1]), 0)
    impossible = np.array([-np.inf], np.float32)
    assert target.probability(impossible) == 1
    assert probabilities(impossible, Head(OutputKind.SOFTMAX, 1)).tolist() == [1]


def test_a_regression_has_a_value_but_no_probability() -> None:
    target = present(OutputKind.REGRESSION)
    np.testing.assert_array_equal(target.confidence(LOGITS), LOGITS[:, 3])
    with pytest.raises(InvalidRequest, match="regression"):
        target.probability(LOGITS)


def test_the_confidence_of_a_classifier_is_its_probability() -> None:
    target = present(OutputKind.SOFTMAX)
    np.testing.assert_array_equal(target.confidence(LOGITS), target.probability(LOGITS))
