"""A method to run, with the options and taps that differ from its defaults."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from types import MappingProxyType

from salience.v1 import method_pb2 as wire
from salience_client.errors import InvalidRequest

OptionScalar = float | int | bool | str
_LARGEST = 2**63


@dataclass(frozen=True, init=False)
class Method:
    """`Method("poly-cam", taps=["layer4", "layer3"], weights="plus")`.

    Attributes:
        name: such as "score-cam"; `client.describe(model).methods` lists them.
        taps: names of taps; none = the method's default taps.
        options: values by name; those not named keep their defaults.
    """

    name: str
    taps: tuple[str, ...]
    options: Mapping[str, OptionScalar]

    def __init__(self, name: str, /, taps: Iterable[str] = (), **options: OptionScalar) -> None:
        taps = (taps,) if isinstance(taps, str) else tuple(taps)
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "taps", taps)
        object.__setattr__(self, "options", MappingProxyType(options))


def method_message(method: str | Method) -> wire.MethodCall:
    """The wire's MethodCall.

    Raises:
        InvalidRequest: an option's value is not a number, a switch or a word.
    """
    if isinstance(method, str):
        return wire.MethodCall(name=method)
    options = {name: _value(name, value) for name, value in method.options.items()}
    return wire.MethodCall(name=method.name, taps=method.taps, options=options)


def option_of(message: wire.OptionValue) -> OptionScalar | None:
    """The value of an option as a server states it; None where it is not set."""
    field = message.WhichOneof("value")
    if field is None:
        return None
    value: OptionScalar = getattr(message, field)
    return value


def options_of(messages: Mapping[str, wire.OptionValue]) -> dict[str, OptionScalar]:
    """The options that are set, by name."""
    values = {name: option_of(message) for name, message in sorted(messages.items())}
    return {name: value for name, value in values.items() if value is not None}


def _value(name: str, value: object) -> wire.OptionValue:
    match value:
        case bool():
            return wire.OptionValue(flag=value)
        case str():
            return wire.OptionValue(text=value)
        case Integral() if -_LARGEST <= int(value) < _LARGEST:
            return wire.OptionValue(integer=int(value))
        case Real():
            return wire.OptionValue(number=float(value))
    raise InvalidRequest(
        f"option {name!r} cannot be a {type(value).__name__}: give a number, a switch or a word"
    )
