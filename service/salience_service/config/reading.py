"""Reads a configuration: one TOML file, with the command line's words put over it."""

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from salience_service.config.section import Section
from salience_service.config.serve import ServeConfig
from salience_service.errors import ConfigRefused


def read_config(path: Path | None = None, **overrides: object) -> ServeConfig:
    """The configuration in a TOML file, keys of `overrides` (those not None) put over it.

    Raises:
        ConfigRefused: unreadable, not TOML, an unknown key, or a value out of its range.
    """
    stated = _read_toml(path) if path else {}
    stated.update({key: value for key, value in overrides.items() if value is not None})
    try:
        return ServeConfig.model_validate(stated)
    except ValidationError as fault:
        raise ConfigRefused("; ".join(map(_in_words, fault.errors()))) from fault


def _read_toml(path: Path) -> dict[str, object]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as fault:
        raise ConfigRefused(f"{path.name} cannot be read: {fault.strerror}") from fault
    except ValueError as fault:  # not UTF-8, or not TOML
        raise ConfigRefused(f"{path.name} is not TOML: {fault}") from fault


def _in_words(fault: ErrorDetails) -> str:
    """One of pydantic's faults with the key, the value and the remedy."""
    *section, key = fault["loc"] or ("",)
    name = ".".join(map(str, fault["loc"]))
    if fault["type"] == "extra_forbidden":
        return f"unknown key {name!r}: known are {', '.join(_known_keys(section))}"
    if fault["type"] == "value_error" and isinstance(fault["input"], dict):
        return f"{name}: {fault['ctx']['error']}" if key else str(fault["ctx"]["error"])
    return f"{name} = {fault['input']!r}: {fault['msg']}"


def _known_keys(path: Sequence[str | int]) -> Sequence[str]:
    """The keys of a section, by the names and numbers on the way to it."""
    section: type[Section] = ServeConfig
    for name in path:
        if isinstance(name, str):
            section = _section(section.model_fields[name].annotation)
    return list(section.model_fields)


def _section(annotation: object) -> type[Section]:
    """The section in an annotation, such as `Section | None` or `tuple[Section, ...]`."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    return next(map(_section, get_args(annotation)))
