"""A model's contract as a TOML file: its input and the meaning of its output.

A complete example; everything but labels, thresholds and `layout` is needed:

```toml
[input]
channels = 3                  # 1 or 3
height = 224                  # rows
width = 224                   # columns
layout = "NCHW"               # or "NHWC", for ONNX files; default NCHW
colour_order = "RGB"          # RGB, BGR or GREY, as the model's channels lie
white = 255                   # a pixel of full intensity, before mean and std
mean = [127, 127, 127]        # one a channel in the model's order, or one number for all
std = [128, 128, 128]         # x = (intensity · white − mean) / std, intensity in [0, 1]

[input.resize]
rule = "short_side"           # short_side (then centre crop), stretch or pad
short_side = 256              # pixels, for short_side alone; at least height and width
interpolation = "bicubic"     # bilinear, bicubic or lanczos

[output]
kind = "softmax"              # softmax, sigmoid, regression or log_probability
labels = ["cat", "dog"]       # one a class; or
# labels_file = "labels.txt"  # one a line, the path relative to this file
# thresholds = [0.4, 0.6]     # of probabilities, one a class, for sigmoids
```
"""

import tomllib
from collections import Counter
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from salience_export.contract import Layout, ModelContract
from salience_export.errors import ExportError
from salience_service.bundle.manifest import (
    ColourOrder,
    InputContract,
    Interpolation,
    OutputKind,
    Resize,
    ResizeRule,
)


def read_contract(path: Path) -> ModelContract:
    """The contract in the TOML file at `path`.

    Raises:
        ExportError: no such file, not TOML, or a key that is unknown, missing or out of
            its limits; the message names the key.
    """
    try:
        text = path.read_text(encoding="utf-8")
        table = tomllib.loads(text)
    except (OSError, UnicodeDecodeError) as error:
        raise ExportError(f"{path.name} cannot be read as text") from error
    except tomllib.TOMLDecodeError as error:
        raise ExportError(f"{path.name} is not TOML: {error}") from error
    try:
        document = _Document.model_validate(table)
    except ValidationError as error:
        raise ExportError(f"{path.name}: {_first_fault(error)}") from error
    return document.contract(_labels(document.output, path.parent))


class _Table(BaseModel):
    """A table of the file: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Side = Field(ge=1, le=8192)
PerChannel = float | tuple[float, ...]


class _Resize(_Table):
    rule: ResizeRule
    interpolation: Interpolation
    short_side: int = Field(default=0, ge=0, le=8192)


class _Input(_Table):
    channels: int = Field(ge=1, le=3)
    height: int = Side
    width: int = Side
    layout: Layout = Layout.NCHW
    colour_order: ColourOrder
    white: float = Field(gt=0, allow_inf_nan=False)
    mean: PerChannel
    std: PerChannel
    resize: _Resize

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.channels == 2:
            raise ValueError("channels: 2 is neither 1 nor 3")
        if (self.colour_order is ColourOrder.GREY) != (self.channels == 1):
            raise ValueError(
                f"colour_order: {self.colour_order.value} does not fit {self.channels} channels; "
                "GREY goes with 1, RGB and BGR with 3"
            )
        if min(self.per_channel("std")) <= 0:
            raise ValueError("std: must be above 0")
        self.per_channel("mean")
        self._check_short_side()
        return self

    def _check_short_side(self) -> None:
        side, least = self.resize.short_side, max(self.height, self.width)
        if self.resize.rule is not ResizeRule.SHORT_SIDE and side:
            raise ValueError("resize.short_side: only the rule short_side has one; leave it out")
        if self.resize.rule is ResizeRule.SHORT_SIDE and side < least:
            raise ValueError(f"resize.short_side: {side} is below {least}, which the crop needs")

    def per_channel(self, key: str) -> tuple[float, ...]:
        """`mean` or `std` with one finite number a channel."""
        given = getattr(self, key)
        values = given if isinstance(given, tuple) else (given,) * self.channels
        if len(values) != self.channels:
            raise ValueError(
                f"{key}: {len(values)} numbers for {self.channels} channels; "
                "give one a channel, or one number for all"
            )
        if not all(abs(value) < float("inf") for value in values):
            raise ValueError(f"{key}: must be finite")
        return values


class _Output(_Table):
    kind: OutputKind
    labels: tuple[str, ...] = ()
    labels_file: str = ""
    thresholds: tuple[float, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.labels and self.labels_file:
            raise ValueError("labels: give labels or labels_file, not both")
        if not all(0 <= threshold <= 1 for threshold in self.thresholds):
            raise ValueError("thresholds: must lie in [0, 1]")
        if self.thresholds and self.kind is not OutputKind.SIGMOID:
            raise ValueError(f"thresholds: only for sigmoid, the kind is {self.kind.value}")
        return self


class _Document(_Table):
    input: _Input
    output: _Output

    def contract(self, labels: tuple[str, ...]) -> ModelContract:
        """The same as plain values."""
        given = self.input
        resize = Resize(given.resize.rule, given.resize.interpolation, given.resize.short_side)
        return ModelContract(
            InputContract(
                channels=given.channels,
                height=given.height,
                width=given.width,
                colour_order=given.colour_order,
                white=given.white,
                mean=given.per_channel("mean"),
                std=given.per_channel("std"),
                resize=resize,
            ),
            self.output.kind,
            labels,
            self.output.thresholds,
            given.layout,
        )


def _labels(output: _Output, directory: Path) -> tuple[str, ...]:
    if not output.labels_file:
        labels = output.labels
    else:
        try:
            text = (directory / output.labels_file).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ExportError(
                f"output.labels_file: {output.labels_file!r} cannot be read as text"
            ) from error
        labels = tuple(line.strip() for line in text.splitlines())
    if empty := [number for number, label in enumerate(labels) if not label.strip()]:
        raise ExportError(f"output.labels: label {empty[0]} is empty; give every class a name")
    label, times = next(iter(Counter(labels).most_common(1)), ("", 0))
    if times > 1:
        raise ExportError(f"output.labels: {label!r} occurs twice; a label names one class")
    return labels


def _first_fault(error: ValidationError) -> str:
    """The first thing wrong, as `key: value: limit`, in one line."""
    fault: Any = error.errors()[0]
    key = ".".join(str(part) for part in fault["loc"] if not _is_branch(part))
    if fault["type"] == "value_error":
        return f"{key}.{fault['ctx']['error']}"
    if fault["type"] == "missing":
        return f"{key}: is missing"
    if fault["type"] == "extra_forbidden":
        return f"{key}: is not a key of this file"
    return f"{key}: {fault['input']!r}: {fault['msg'][0].lower()}{fault['msg'][1:]}"


def _is_branch(part: object) -> bool:
    """Pydantic adds the branch of a union (`float`, `tuple[float, ...]`) to the place."""
    return part == "float" or str(part).startswith("tuple[")
