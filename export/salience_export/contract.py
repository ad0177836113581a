"""What a model's file alone does not say: what it takes, and what its numbers mean."""

import math
from collections import Counter
from dataclasses import dataclass
from enum import Enum

from salience_export.errors import ExportError
from salience_service.bundle.consistency import MAX_SIDE
from salience_service.bundle.manifest import (
    ColourOrder,
    Head,
    InputContract,
    OutputKind,
    ResizeRule,
)


class Layout(Enum):
    """Where a source's input has its channels; a bundle's graphs are always NCHW."""

    NCHW = "NCHW"
    NHWC = "NHWC"


@dataclass(frozen=True)
class ModelContract:
    """What a model takes and what its numbers mean; what its file alone does not say.

    Attributes:
        input: the input contract.
        output: what its numbers mean.
        labels: one a class, or none.
        thresholds: one probability a class, or none; for sigmoids alone.
        layout: the source's own.

    Raises:
        ExportError: a value out of its limits, named as in the TOML file.
    """

    input: InputContract
    output: OutputKind
    labels: tuple[str, ...] = ()
    thresholds: tuple[float, ...] = ()
    layout: Layout = Layout.NCHW

    def __post_init__(self) -> None:
        _check_size(self.input)
        _check_numbers(self.input)
        _check_resize(self.input)
        _check_labels(self.labels)
        _check_thresholds(self.thresholds, self.output)

    def head(self, output: OutputKind, classes: int) -> Head:
        """The head of a model that turned out to have this many classes.

        Raises:
            ExportError: another number of labels or thresholds, or a softmax of one class.
        """
        for name, values in (("labels", self.labels), ("thresholds", self.thresholds)):
            if len(values) not in (0, classes):
                raise ExportError(
                    f"output.{name}: {len(values)} given, but the model has {classes} classes"
                )
        if classes == 1 and output in (OutputKind.SOFTMAX, OutputKind.LOG_PROBABILITY):
            raise ExportError(
                f"output.kind: {output.value}, but one class of a softmax is always certain; "
                "declare sigmoid or regression"
            )
        return Head(output, classes, self.labels, self.thresholds)


def _check_size(given: InputContract) -> None:
    _require(given.channels in (1, 3), f"input.channels: {given.channels} is neither 1 nor 3")
    for name, side in (("height", given.height), ("width", given.width)):
        _require(1 <= side <= MAX_SIDE, f"input.{name}: {side} is not within 1 to {MAX_SIDE}")
    _require(
        (given.colour_order is ColourOrder.GREY) == (given.channels == 1),
        f"input.colour_order: {given.colour_order.value} does not fit {given.channels} channels; "
        "GREY goes with 1, RGB and BGR with 3",
    )


def _check_numbers(given: InputContract) -> None:
    _require(
        math.isfinite(given.white) and given.white > 0,
        f"input.white: {given.white} is not a finite number above 0",
    )
    for name, values in (("mean", given.mean), ("std", given.std)):
        _require(
            len(values) == given.channels,
            f"input.{name}: {len(values)} numbers for {given.channels} channels; "
            "give one a channel",
        )
        _require(all(map(math.isfinite, values)), f"input.{name}: must be finite")
    _require(min(given.std) > 0, "input.std: must be above 0")


def _check_resize(given: InputContract) -> None:
    side, least = given.resize.short_side, max(given.height, given.width)
    if given.resize.rule is not ResizeRule.SHORT_SIDE:
        _require(
            not side, "input.resize.short_side: only the rule short_side has one; leave it out"
        )
        return
    _require(
        side >= least, f"input.resize.short_side: {side} is below {least}, which the crop needs"
    )
    _require(side <= MAX_SIDE, f"input.resize.short_side: {side} is above {MAX_SIDE}")


def _check_labels(labels: tuple[str, ...]) -> None:
    for number, label in enumerate(labels):
        _require(
            bool(label.strip()), f"output.labels: label {number} is empty; give every class a name"
        )
    label, times = next(iter(Counter(labels).most_common(1)), ("", 0))
    _require(times <= 1, f"output.labels: {label!r} occurs twice; a label names one class")


def _check_thresholds(thresholds: tuple[float, ...], kind: OutputKind) -> None:
    inside = all(0 <= threshold <= 1 for threshold in thresholds)
    _require(inside, "output.thresholds: must lie in [0, 1]")
    _require(
        not thresholds or kind is OutputKind.SIGMOID,
        f"output.thresholds: only for sigmoid, the kind is {kind.value}",
    )


def _require(holds: bool, broken: str) -> None:
    if not holds:
        raise ExportError(broken)
