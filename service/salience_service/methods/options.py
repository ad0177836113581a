"""Options of methods: strict models, their descriptions, and words for what is refused."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from reprlib import repr as short
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from salience_service.errors import InvalidRequest
from salience_service.field_path import keyed
from salience_service.request import OptionScalar


class Options(BaseModel):
    """Options of one method. Numbers are bounded with `ge` and `le`, choices are `Literal`s.

    Strict: no unknown name, no NaN, no infinity, a flag is not a number; an integer
    is taken where a number is asked for, and a number where text is.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


OptionsT = TypeVar("OptionsT", bound=Options)

Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]
"""What is drawn by chance is drawn from; 32 bits."""


class OptionKind(Enum):
    """The type of an option."""

    NUMBER = "number"
    INTEGER = "integer"
    FLAG = "flag"
    CHOICE = "choice"
    TEXT = "text"


_NUMERIC = {OptionKind.INTEGER: ("an integer", ".0f"), OptionKind.NUMBER: ("a number", "g")}
"""How each is called, and how its limits are written: an integer with all its digits."""


@dataclass(frozen=True)
class OptionDescription:
    """An option as DescribeModel lists it.

    Attributes:
        name: its name in a request. summary: one line on what it does.
        kind: its type. default: what holds where it is not named.
        minimum: least value allowed, or None. maximum: greatest, or None.
        choices: the words allowed, for a choice.
    """

    name: str
    summary: str
    kind: OptionKind
    default: OptionScalar
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()

    def asked(self) -> str:
        """What must be given, in words."""
        if self.kind is OptionKind.CHOICE:
            return f"one of {', '.join(self.choices)}"
        if self.kind is OptionKind.FLAG:
            return "true or false"
        if self.kind is OptionKind.TEXT:
            return f"text: {self.summary}"
        noun, spelling = _NUMERIC[self.kind]
        least = "" if self.minimum is None else f" from {self.minimum:{spelling}}"
        greatest = "" if self.maximum is None else f" to {self.maximum:{spelling}}"
        return noun + least + greatest


def resolve(model: type[OptionsT], given: Mapping[str, OptionScalar]) -> OptionsT:
    """The options in full: what was given, and defaults for the rest.

    Raises:
        InvalidRequest: an unknown option, a wrong type, a value outside its limits.
    """
    try:
        return model.model_validate(_worded(model, given))
    except ValidationError as refused:
        first = refused.errors()[0]
        raise InvalidRequest(
            _reason(model, first["type"], first["loc"], given),
            field=keyed("options", str(first["loc"][0])),
        ) from refused


def _worded(model: type[Options], given: Mapping[str, OptionScalar]) -> dict[str, OptionScalar]:
    """Numbers as text where text is asked for: a command line cannot tell "0.1" from 0.1."""
    texts = {name for name, field in model.model_fields.items() if field.annotation is str}
    return {
        name: str(value) if name in texts and type(value) in (int, float) else value
        for name, value in given.items()
    }


def describe(model: type[Options]) -> tuple[OptionDescription, ...]:
    """The options of a method, in the order they were written."""
    properties = model.model_json_schema()["properties"]
    return tuple(_description(name, schema) for name, schema in properties.items())


def as_scalars(options: Options) -> dict[str, OptionScalar]:
    """All options by name, defaults included, as provenance states them."""
    return options.model_dump()


def _description(name: str, schema: dict[str, Any]) -> OptionDescription:
    """One property of a JSON schema as an option."""
    kind = _KINDS["enum" if "enum" in schema else schema["type"]]
    return OptionDescription(
        name=name,
        summary=schema["description"],
        kind=kind,
        default=schema["default"],
        minimum=schema.get("minimum"),
        maximum=schema.get("maximum"),
        choices=tuple(schema.get("enum", ())),
    )


_KINDS = {
    "enum": OptionKind.CHOICE,
    "boolean": OptionKind.FLAG,
    "integer": OptionKind.INTEGER,
    "number": OptionKind.NUMBER,
    "string": OptionKind.TEXT,
}


def _reason(
    model: type[Options], kind: str, place: tuple[int | str, ...], given: Mapping[str, OptionScalar]
) -> str:
    """One refusal in words: option, value, limit."""
    name = str(place[0])
    known = {option.name: option for option in describe(model)}
    if kind == "extra_forbidden":
        listed = f"known are {', '.join(known)}" if known else "this method has none"
        return f"unknown option {short(name)}: {listed}"
    option = known[name]
    return (
        f"option {name} is {short(given[name])}: "
        f"give {option.asked()} (default {_written(option.default)})"
    )


def _written(value: OptionScalar) -> str:
    """A value as a request would write it."""
    return str(value).lower() if isinstance(value, bool) else str(value)
