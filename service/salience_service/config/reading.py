"""Reads a configuration: one TOML file, with the command line's words put over it."""

import tomllib
from collections.abc import Sequence, Sized
from pathlib import Path
from typing import get_args

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from salience_service.config.section import Section
from salience_service.config.serve import ServeConfig
from salience_service.errors import ConfigRefused

_LONGEST_VALUE = 80
"""Characters of a value that a message shows."""


def read_config(path: Path | None = None, **overrides: object) -> ServeConfig:
    """The configuration in a TOML file, keys of `overrides` (those not None) put over it.

    A key of a table is said with a dot: `**{"bundles.unsigned": "allow"}`.

    Raises:
        ConfigRefused: unreadable, not TOML, an unknown key, or a value out of its range.
    """
    stated = _read_toml(path) if path else {}
    for key, value in overrides.items():
        if value is not None:
            _put_over(stated, key, value)
    try:
        return ServeConfig.model_validate(stated)
    except ValidationError as fault:
        told = [_in_words(each, stated) for each in fault.errors() if not _follows(each)]
        raise ConfigRefused("; ".join(told)) from fault


def _put_over(stated: dict[str, object], key: str, value: object) -> None:
    table, dot, rest = key.partition(".")
    inner = stated.setdefault(table, {}) if dot else None
    if isinstance(inner, dict):
        _put_over(inner, rest, value)
    elif not dot:  # A table that is none is refused where it is read.
        stated[key] = value


def _read_toml(path: Path) -> dict[str, object]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as fault:
        raise ConfigRefused(f"{path.name} cannot be read: {fault.strerror}") from fault
    except ValueError as fault:  # not UTF-8, or not TOML
        raise ConfigRefused(f"{path.name} is not TOML: {fault}") from fault


def _in_words(fault: ErrorDetails, stated: object) -> str:
    """One of pydantic's faults with the key, the value and the remedy."""
    *section, _ = fault["loc"] or ("",)
    name, value = _key(fault["loc"], stated), fault["input"]
    match fault["type"]:
        case "extra_forbidden":
            return f"unknown key {name!r}: known are {', '.join(_known_keys(section))}"
        case "missing":
            return f"{name} is required"
        case "model_type":
            return f"{name} = {_short(value)}: it must be a table"
        case "too_short":
            return f"{name} = {_short(list(value))}: give at least {fault['ctx']['min_length']}"
        case "too_long":
            most = fault["ctx"]["max_length"]
            return f"{name} = {_short(list(value))}: give at most {most}, not {len(value)}"
        case "value_error":
            said = str(fault["ctx"]["error"])
            if isinstance(value, dict):
                return f"{name}: {said}" if name else said
            return f"{name} = {_short(value)}: {said}"
    return f"{name} = {_short(value)}: {fault['msg']}"


def _follows(fault: ErrorDetails) -> bool:
    """Whether a fault is only that a list is too short once its faulty items are left out."""
    value = fault["input"]
    return fault["type"] == "too_short" and isinstance(value, Sized) and len(value) > 0


def _key(place: Sequence[str | int], stated: object) -> str:
    """A place as people write it, without pydantic's names for the kinds of value it tried."""
    key = ""
    for step in place:
        if isinstance(step, int):
            key += f"[{step}]"
        elif isinstance(stated, dict) or not key:
            key += f".{step}" if key else step
        else:
            continue
        stated = _inside(stated, step)
    return key


def _inside(stated: object, step: str | int) -> object:
    if isinstance(stated, dict):
        return stated.get(step)
    if isinstance(stated, list) and isinstance(step, int) and step < len(stated):
        return stated[step]
    return None


def _short(value: object) -> str:
    said = repr(value)
    return said if len(said) <= _LONGEST_VALUE else f"{said[:_LONGEST_VALUE]}…"


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
