"""Targets as they are said become the right classes, or are refused with a remedy."""

import numpy as np
import pytest

from salience_service.bundle.manifest import Head, OutputKind
from salience_service.errors import InvalidRequest, NoFinding
from salience_service.request import (
    AboveThresholdTargets,
    AbsentTarget,
    ClassRef,
    DifferenceTarget,
    PresentTarget,
    TargetSpec,
    TextTarget,
    TopKTargets,
)
from salience_service.targets.resolve import check_targets, none_above, resolve_targets
from salience_service.targets.target import Target, TargetKind

LABELS = (
    "tench", "goldfish", "crane", "wire-haired fox terrier", "Wire", "haired fox terrier",
    "crane", "maillot", "Maillot", "tiger cat", "not:so", "5", "T-shirt",
)  # fmt: skip
HEAD = Head(OutputKind.SOFTMAX, len(LABELS), LABELS)
LOGITS = np.array([0, 3, 1, 2, -1, 5, 4, -2, -3, 2.5, -4, -5, -6], np.float32)
SIGMOIDS = Head(OutputKind.SIGMOID, 4, ("Edema", "Mass", "Nodule", "Effusion"))
REGRESSION = Head(OutputKind.REGRESSION, 1, ("age",))


def resolved(
    spec: TargetSpec | str, head: Head = HEAD, logits: np.ndarray = LOGITS
) -> list[Target]:
    spec = TextTarget(spec) if isinstance(spec, str) else spec
    return list(resolve_targets((spec,), logits, head))


def classes(spec: TargetSpec | str, head: Head = HEAD, logits: np.ndarray = LOGITS) -> list[int]:
    targets = resolved(spec, head, logits)
    assert all(target.kind is TargetKind.CLASS for target in targets)
    return [target.index for target in targets]


def refused(spec: TargetSpec | str, head: Head = HEAD) -> str:
    """The refusal, which must come before any logits are known."""
    spec = TextTarget(spec) if isinstance(spec, str) else spec
    with pytest.raises(InvalidRequest) as refusal:
        check_targets((spec,), head)
    with pytest.raises(InvalidRequest):
        resolve_targets((spec,), np.zeros(head.classes, np.float32), head)
    return str(refusal.value)


def test_no_target_means_the_class_with_the_highest_logit() -> None:
    check_targets((), HEAD)
    assert resolve_targets((), LOGITS, HEAD) == (
        Target("haired fox terrier", TargetKind.CLASS, 5, OutputKind.SOFTMAX),
    )


def test_a_regression_without_a_target_explains_its_output() -> None:
    assert [t.name for t in resolve_targets((), np.float32([37.5]), REGRESSION)] == ["age"]


@pytest.mark.parametrize("index", [0, 7, 12])
def test_a_class_is_found_by_its_index(index: int) -> None:
    assert classes(PresentTarget(ClassRef(index))) == [index]


@pytest.mark.parametrize("index", [-1, 13, 10**9])
def test_an_index_out_of_range_is_refused_with_the_range(index: int) -> None:
    assert "0 to 12" in refused(PresentTarget(ClassRef(index)))


@pytest.mark.parametrize("text", ["13", "not:13"])
def test_an_index_in_words_out_of_range_is_refused_with_the_range(text: str) -> None:
    with pytest.raises(InvalidRequest, match="class 13 is out of range: use 0 to 12"):
        check_targets((TextTarget(text),), HEAD)


@pytest.mark.parametrize(
    ("label", "index"),
    [("tench", 0), ("TENCH", 0), ("maillot", 7), ("Maillot", 8), ("t-SHIRT", 12), ("5", 11)],
)
def test_a_label_is_found_exactly_or_else_whatever_its_case(label: str, index: int) -> None:
    assert classes(PresentTarget(ClassRef(label))) == [index]


@pytest.mark.parametrize(("label", "indices"), [("crane", "2, 6"), ("MAILLOT", "7, 8")])
def test_an_ambiguous_label_is_refused_with_its_indices(label: str, indices: str) -> None:
    assert indices in refused(PresentTarget(ClassRef(label)))
    assert indices in refused(label)
    assert indices in refused(AbsentTarget(ClassRef(label)))


def test_an_unknown_label_is_refused_with_close_ones() -> None:
    assert "'goldfish'" in refused("goldfisch")
    assert "'tiger cat'" in refused(PresentTarget(ClassRef("Tiger  Cat")))
    assert "DescribeModel" in refused("zzzzzz")


def test_an_unknown_label_gets_at_most_three_suggestions() -> None:
    head = Head(OutputKind.SOFTMAX, 9, tuple(f"label {i}" for i in range(9)))
    assert refused("label x", head).count("'label ") == 1 + 3


def test_a_model_without_labels_names_classes_by_index() -> None:
    head = Head(OutputKind.SOFTMAX, 3)
    assert [t.name for t in resolved("2", head, np.zeros(3))] == ["2"]
    assert "no labels" in refused("tench", head)


def test_an_empty_label_is_no_name() -> None:
    head = Head(OutputKind.SOFTMAX, 2, ("", "cat"))
    assert [t.name for t in resolved("0", head, np.zeros(2))] == ["0"]
    for text in ("", "  ", "-", "cat-"):
        refused(text, head)


@pytest.mark.parametrize("spec", ["not:tench", "not: TENCH", "not:0", AbsentTarget(ClassRef(0))])
def test_an_absence_is_resolved(spec: TargetSpec | str) -> None:
    assert resolved(spec) == [Target("not:tench", TargetKind.ABSENT, 0, OutputKind.SOFTMAX)]


def test_an_absence_of_a_label_with_a_hyphen_is_resolved() -> None:
    assert [t.index for t in resolved("not:wire-haired fox terrier")] == [3]


@pytest.mark.parametrize(
    "spec", ["goldfish-tench", "goldfish - Tench", "1-0", "1-tench",
             DifferenceTarget(ClassRef("goldfish"), ClassRef(0))],
)  # fmt: skip
def test_a_difference_is_resolved(spec: TargetSpec | str) -> None:
    wanted = Target("goldfish-tench", TargetKind.DIFFERENCE, 1, OutputKind.SOFTMAX, 0)
    assert resolved(spec) == [wanted]


def test_a_label_is_tried_whole_before_it_is_split() -> None:
    assert classes("Wire-haired fox terrier") == [3]
    assert classes("not:so") == [10]


def test_a_difference_of_labels_with_hyphens_is_split_where_both_sides_are_classes() -> None:
    (target,) = resolved("T-shirt-wire-haired fox terrier")
    assert (target.index, target.against) == (12, 3)


def test_a_difference_that_can_be_read_twice_is_refused() -> None:
    head = Head(OutputKind.SOFTMAX, 4, ("a", "b-c", "a-b", "c"))
    assert "0-1, 2-3" in refused("a-b-c", head)
    assert "2-0, 6-0" in refused("crane-tench")


def test_a_number_that_is_also_a_label_is_refused_as_ambiguous() -> None:
    """Class 5 is "haired fox terrier", and class 11 is called "5"."""
    assert "5, 11" in refused("5")
    assert classes(PresentTarget(ClassRef(5))) == [5]


@pytest.mark.parametrize(
    "spec", ["tench-tench", "0-tench", DifferenceTarget(ClassRef(3), ClassRef(3))]
)
def test_the_difference_of_a_class_with_itself_is_refused(spec: TargetSpec | str) -> None:
    assert "with itself" in refused(spec)


@pytest.mark.parametrize("spec", ["top:4", "top: 4", TopKTargets(4)])
def test_top_k_runs_from_the_highest_logit_down(spec: TargetSpec | str) -> None:
    assert classes(spec) == [5, 6, 1, 9]


def test_equal_logits_are_taken_in_the_order_of_classes() -> None:
    assert classes("top:3", logits=np.ones(13, np.float32)) == [0, 1, 2]


@pytest.mark.parametrize("k", [0, -1, 14, 33])
def test_a_k_out_of_range_is_refused(k: int) -> None:
    assert "use 1 to 13" in refused(TopKTargets(k))


def test_k_is_at_most_32_however_many_classes_there_are() -> None:
    head = Head(OutputKind.SOFTMAX, 1000)
    assert len(classes("top:32", head, np.arange(1000.0))) == 32
    assert "use 1 to 32" in refused("top:33", head)


@pytest.mark.parametrize("text", ["top:", "top:x", "top:-1", "top:1.5", "top:²", "not:", "above"])
def test_words_that_are_no_target_are_refused(text: str) -> None:
    assert repr(text) in refused(text)


@pytest.mark.parametrize("spec", ["above-threshold", AboveThresholdTargets()])
def test_above_one_half_every_finding_is_a_target_best_first(spec: TargetSpec | str) -> None:
    logits = np.array([0.1, -0.1, 3.0, 0.0], np.float32)
    assert classes(spec, SIGMOIDS, logits) == [2, 0]


def test_the_manifests_thresholds_count_where_there_are_any() -> None:
    head = Head(OutputKind.SIGMOID, 3, ("a", "b", "c"), (0.9, 0.1, 0.5))
    logits = np.log(np.array([0.8, 0.2, 0.6]) / np.array([0.2, 0.8, 0.4]))
    assert classes("above-threshold", head, logits) == [2, 1]


def test_a_softmax_with_thresholds_is_compared_by_its_softmax() -> None:
    head = Head(OutputKind.SOFTMAX, 3, ("a", "b", "c"), (0.35, 0.2, 0.3))
    probabilities = np.array([0.3, 0.3, 0.4])
    assert classes("above-threshold", head, np.log(probabilities) + 7) == [2, 1]


def test_a_softmax_without_thresholds_has_nothing_to_be_above() -> None:
    assert "top:K" in refused("above-threshold")


def test_a_regression_has_nothing_to_be_above() -> None:
    assert "regression" in refused("above-threshold", REGRESSION)


def test_where_no_class_is_above_its_threshold_there_is_no_target_and_the_nearest_is_named() -> (
    None
):
    check_targets((AboveThresholdTargets(),), SIGMOIDS)
    logits = np.array([-3, -1, -2, -4], np.float32)
    assert resolve_targets((AboveThresholdTargets(),), logits, SIGMOIDS) == ()
    with pytest.raises(NoFinding, match=r"'Mass', with 0\.269 of 0\.5.*top:1"):
        raise none_above(logits, SIGMOIDS)
    both = resolve_targets((AboveThresholdTargets(), TopKTargets(1)), logits, SIGMOIDS)
    assert [target.name for target in both] == ["Mass"]


def test_each_target_is_explained_once_in_the_order_said() -> None:
    specs = (
        TextTarget("tench"), TopKTargets(2), PresentTarget(ClassRef(5)), TextTarget("not:tench"),
        PresentTarget(ClassRef("TENCH")), TextTarget("not:0"),
    )  # fmt: skip
    names = [target.name for target in resolve_targets(specs, LOGITS, HEAD)]
    assert names == ["tench", "haired fox terrier", "crane", "not:tench"]


def test_classes_of_one_label_remain_two_targets() -> None:
    specs = (PresentTarget(ClassRef(2)), PresentTarget(ClassRef(6)))
    assert [target.index for target in resolve_targets(specs, LOGITS, HEAD)] == [2, 6]


def test_more_than_64_targets_are_refused() -> None:
    head = Head(OutputKind.SIGMOID, 65)
    named = tuple(PresentTarget(ClassRef(i)) for i in range(65))
    assert len(resolve_targets(named[:64], np.zeros(65), head)) == 64
    with pytest.raises(InvalidRequest, match="at most 64"):
        check_targets(named, head)
    with pytest.raises(InvalidRequest, match="65 targets; at most 64"):
        resolve_targets((AboveThresholdTargets(),), np.ones(65), head)


def test_endless_words_are_refused() -> None:
    limit = "513 characters: use at most 512"
    assert limit in refused("x" * 513)
    assert limit in refused(PresentTarget(ClassRef("x" * 513)))


def test_no_words_are_no_class() -> None:
    assert "no class is named ''" in refused("")
    assert "no class is named ''" in refused(PresentTarget(ClassRef("")))


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        (PresentTarget(ClassRef("unicorn")), "present.label"),
        (AbsentTarget(ClassRef(13)), "absent.index"),
        (DifferenceTarget(ClassRef(0), ClassRef(13)), "difference.that_class.index"),
        (DifferenceTarget(ClassRef(0), ClassRef("tench")), "difference"),
        (TopKTargets(14), "top_k.k"),
        (TextTarget("top:14"), "text"),
        (TextTarget("0-tench"), "text"),
        (AboveThresholdTargets(), "above_threshold"),
    ],
)
def test_a_refusal_names_the_part_of_the_target_at_fault(spec: TargetSpec, field: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        check_targets((TopKTargets(1), spec), HEAD)
    assert refusal.value.field == f"targets[1].{field}"


@pytest.mark.parametrize("infinite", [np.inf, -np.inf])
def test_the_difference_of_two_infinite_logits_is_refused(infinite: float) -> None:
    logits = LOGITS.copy()
    logits[[0, 2]] = infinite
    with pytest.raises(InvalidRequest, match=r"'tench-crane' is .* no number") as refusal:
        resolved(DifferenceTarget(ClassRef(0), ClassRef(2)), logits=logits)
    assert refusal.value.field == "targets"
    assert [target.name for target in resolved("tench-goldfish", logits=logits)]


def test_logits_of_nan_are_the_images_fault() -> None:
    with pytest.raises(InvalidRequest, match="NaN"):
        resolve_targets((), np.full(13, np.nan, np.float32), HEAD)
