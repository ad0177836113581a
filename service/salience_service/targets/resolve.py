"""Targets as the caller said them become targets of one image's logits."""

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from salience_service.bundle.manifest import Head, OutputKind
from salience_service.errors import InvalidRequest, NoFinding
from salience_service.field_path import each, read
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
from salience_service.targets.classes import Classes
from salience_service.targets.highest import highest
from salience_service.targets.probabilities import probabilities as probabilities_of
from salience_service.targets.target import Target, TargetKind
from salience_service.targets.target_words import Plain, read_words

MOST_TARGETS = 64
MOST_TOP = 32
SIGMOID_THRESHOLD = 0.5


def check_targets(specs: tuple[TargetSpec, ...], head: Head) -> None:
    """Refuses, before any device work, every target that no image can have.

    Raises:
        InvalidRequest: an unknown or ambiguous label, an index or k out of range, the
            difference of a class with itself, thresholds of a head that has none, too many.
    """
    _plain(specs, head)


def most_targets(specs: tuple[TargetSpec, ...], head: Head) -> int:
    """How many targets an image can have at most, 1 to 64.

    Raises:
        InvalidRequest: as `check_targets`.
    """
    found = sum(_most(spec, head) for spec in _plain(specs, head))
    return min(max(found, 1), MOST_TARGETS)


def resolve_targets(
    specs: tuple[TargetSpec, ...], logits: NDArray[np.floating], head: Head
) -> tuple[Target, ...]:
    """The targets of one image, in the order said, each once.

    Args:
        specs: what the caller said; none means the class with the highest logit.
        logits: [K] of the clean image.
        head: what they mean.

    Returns:
        At most 64 targets. `top:K` runs from the highest logit down (equal ones by index);
        `above-threshold` from the highest probability down, and may add nothing: where nothing
        else was asked for, there are none (see `none_above`).

    Raises:
        InvalidRequest: as `check_targets`; more than 64 targets; the logits hold NaN, or a
            target's value is it.
    """
    if np.isnan(logits).any():
        raise InvalidRequest(
            "the model answers this image with NaN: its values may be far from those of its range",
            field="image",
        )
    classes = Classes(head)
    plain = _plain(specs, head) or (TopKTargets(1),)
    found = dict.fromkeys(
        target for spec in plain for target in _targets(spec, logits, head, classes)
    )
    if len(found) > MOST_TARGETS:
        raise InvalidRequest(
            f"{len(found)} targets; at most {MOST_TARGETS} are explained at once: name fewer",
            field="targets",
        )
    for target in found:
        if np.isnan(target.value(logits)):
            raise InvalidRequest(
                f"{target.name!r} is the difference of two logits that are both infinite on this "
                "image, which is no number: name other classes, or one of them",
                field="targets",
            )
    return tuple(found)


def none_above(logits: NDArray[np.floating], head: Head) -> NoFinding:
    """The error for an image that has no target: no class is above its threshold.

    Args:
        logits: [K] of the clean image.
        head: what they mean; it has thresholds.
    """
    probabilities, thresholds = probabilities_of(logits, head), _thresholds(head)
    nearest = int(np.argmax(probabilities - thresholds))
    return NoFinding(
        f"no class is above its threshold (the nearest is {Classes(head).name(nearest)!r}, with "
        f"{probabilities[nearest]:.3f} of {thresholds[nearest]:g}): add top:1 to explain one"
    )


def _plain(specs: tuple[TargetSpec, ...], head: Head) -> tuple[Plain, ...]:
    """Resolves all words and labels, and checks what needs no logits."""
    if len(specs) > MOST_TARGETS:
        raise InvalidRequest(
            f"{len(specs)} targets; at most {MOST_TARGETS} may be named", field="targets"
        )
    classes = Classes(head)

    def plain(spec: TargetSpec) -> Plain:
        return read(_FIELDS[type(spec)], _resolved, spec, head, classes)

    return each("targets", plain, specs)


_FIELDS: Mapping[type[TargetSpec], str] = {
    PresentTarget: "present",
    AbsentTarget: "absent",
    DifferenceTarget: "difference",
    TopKTargets: "top_k.k",
    AboveThresholdTargets: "above_threshold",
    TextTarget: "text",
}
"""Where the contract's target has each."""


def _resolved(spec: TargetSpec, head: Head, classes: Classes) -> Plain:
    plain = read_words(spec.text, classes) if isinstance(spec, TextTarget) else spec
    return _checked(plain, head, classes)


def _checked(spec: Plain, head: Head, classes: Classes) -> Plain:
    match spec:
        case PresentTarget(ref=ref):
            return PresentTarget(ClassRef(classes.find(ref)))
        case AbsentTarget(ref=ref):
            return AbsentTarget(ClassRef(classes.find(ref)))
        case DifferenceTarget(this=this, that=that):
            first = read("this_class", classes.find, this)
            second = read("that_class", classes.find, that)
            if first == second:
                raise InvalidRequest(
                    f"the difference of {classes.name(first)!r} with itself is always zero: "
                    "name two classes"
                )
            return DifferenceTarget(ClassRef(first), ClassRef(second))
        case TopKTargets(k=k):
            most = min(MOST_TOP, head.classes)
            if not 1 <= k <= most:
                raise InvalidRequest(f"top {k} classes: use 1 to {most}")
            return spec
        case AboveThresholdTargets():
            _check_thresholds(head)
            return spec


def _check_thresholds(head: Head) -> None:
    if head.kind is OutputKind.REGRESSION:
        raise InvalidRequest("a regression has no probabilities, so no thresholds: name outputs")
    if head.kind is not OutputKind.SIGMOID and not head.thresholds:
        raise InvalidRequest(
            "this model's classes exclude each other, and its manifest has no thresholds: use top:K"
        )


def _most(spec: Plain, head: Head) -> int:
    match spec:
        case TopKTargets(k=k):
            return k
        case AboveThresholdTargets():
            return head.classes
    return 1


def _targets(
    spec: Plain, logits: NDArray[np.floating], head: Head, classes: Classes
) -> Iterator[Target]:
    match spec:
        case PresentTarget(ref=ref):
            yield _present(classes.find(ref), head, classes)
        case AbsentTarget(ref=ref):
            index = classes.find(ref)
            yield Target(f"not:{classes.name(index)}", TargetKind.ABSENT, index, head.kind)
        case DifferenceTarget(this=this, that=that):
            first, second = classes.find(this), classes.find(that)
            name = f"{classes.name(first)}-{classes.name(second)}"
            yield Target(name, TargetKind.DIFFERENCE, first, head.kind, second)
        case TopKTargets(k=k):
            for index in highest(logits, k):
                yield _present(int(index), head, classes)
        case AboveThresholdTargets():
            probabilities = probabilities_of(logits, head)
            above = np.flatnonzero(probabilities > _thresholds(head))
            for index in above[np.argsort(-probabilities[above], kind="stable")]:
                yield _present(int(index), head, classes)


def _present(index: int, head: Head, classes: Classes) -> Target:
    return Target(classes.name(index), TargetKind.CLASS, index, head.kind)


def _thresholds(head: Head) -> NDArray[np.float64]:
    return np.asarray(head.thresholds or (SIGMOID_THRESHOLD,) * head.classes, np.float64)
