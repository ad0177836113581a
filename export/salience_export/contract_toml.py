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
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

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
        ExportError: no such file, not TOML, or a key that is unknown, missing or, as
            `ModelContract` says, out of its limits; the message names the key.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        table = tomllib.loads(text)
    except (OSError, UnicodeDecodeError) as error:
        raise ExportError(f"{path.name} cannot be read as text") from error
    except tomllib.TOMLDecodeError as error:
        raise ExportError(f"{path.name} is not TOML: {error}") from error
    try:
        document = _Document.model_validate(table)
    except ValidationError as error:
        raise ExportError(f"{path.name}: {_first_fault(error)}") from error
    labels = _labels(document.output, path.parent)
    try:
        return document.contract(labels)
    except ExportError as error:
        raise ExportError(f"{path.name}: {error}") from error


class _Table(BaseModel):
    """A table of the file: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class _Resize(_Table):
    rule: ResizeRule
    interpolation: Interpolation
    short_side: int = 0


class _Input(_Table):
    channels: int
    height: int
    width: int
    layout: Layout = Layout.NCHW
    colour_order: ColourOrder
    white: float
    mean: float | tuple[float, ...]
    std: float | tuple[float, ...]
    resize: _Resize

    def per_channel(self, key: str) -> tuple[float, ...]:
        """`mean` or `std`, one number written for all given to each channel."""
        given = getattr(self, key)
        return given if isinstance(given, tuple) else (given,) * self.channels


class _Output(_Table):
    kind: OutputKind
    labels: tuple[str, ...] = ()
    labels_file: str = ""
    thresholds: tuple[float, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.labels and self.labels_file:
            raise ValueError("labels: give labels or labels_file, not both")
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
        return output.labels
    try:
        text = (directory / output.labels_file).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ExportError(
            f"output.labels_file: {output.labels_file!r} cannot be read as text"
        ) from error
    return tuple(line.strip() for line in text.splitlines())


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
