"""The words of the command line as values of the library."""

import math
from collections.abc import Iterable, Mapping
from typing import TypeVar, get_args

import typer

from salience_client.fill import Blur, Colour, Fill
from salience_client.method import Method, OptionScalar
from salience_client.request import Box, CurveProtocol, GradientSide, Priority, Score, StopWhen

ALL = "all"
"""Stands for every method that the model can answer."""
FILLS = "mean, black, blur, blur:KERNEL,SIGMA, colour:R,G,B or colour:GREY"
_T = TypeVar("_T")


def listed(words: Iterable[str]) -> list[str]:
    """Every word of options that may be repeated and may hold several, comma between."""
    return [part.strip() for word in words for part in word.split(",") if part.strip()]


def methods_of(names: Iterable[str], options: Iterable[str], taps: Iterable[str]) -> list[Method]:
    """Methods from --method M, --option METHOD.KEY=VALUE and --tap METHOD=TAP.

    Raises:
        BadParameter: no method, a malformed word, or one for a method that is not asked for.
    """
    methods = listed(names)
    if not methods:
        raise typer.BadParameter("give at least one --method")
    if ALL in methods:
        raise typer.BadParameter(f"--method {ALL} stands alone")
    if len(set(methods)) < len(methods):
        # Options and files are named after methods.
        raise typer.BadParameter("a method is given twice; run the command once for each")
    keyed: dict[str, dict[str, OptionScalar]] = {name: {} for name in methods}
    tapped: dict[str, list[str]] = {name: [] for name in methods}
    for word in options:
        head, value = _halves(word, "=", "--option METHOD.KEY=VALUE")
        method, key = _halves(head, ".", "--option METHOD.KEY=VALUE")
        _of_method(keyed, method, word)[key] = scalar_of(value)
    for word in taps:
        method, value = _halves(word, "=", "--tap METHOD=TAP[,TAP]")
        _of_method(tapped, method, word).extend(listed([value]))
    return [Method(name, tapped[name], **keyed[name]) for name in methods]


def scalar_of(word: str) -> OptionScalar:
    """true, false, an integer, a number, or else the word itself."""
    if word in ("true", "false"):
        return word == "true"
    for kind in (int, float):
        try:
            return kind(word)
        except ValueError:
            continue
    return word


def scores_of(words: str) -> list[Score]:
    """Scores from "ad,ai,ag,insertion,deletion,insertion-deletion".

    Raises:
        BadParameter: an unknown one.
    """
    known: dict[str, Score] = {word: word for word in get_args(Score)}
    unknown = [word for word in listed([words]) if word not in known]
    if unknown:
        raise typer.BadParameter(f"{unknown[0]!r} is no score; give some of {','.join(known)}")
    return [known[word] for word in listed([words])]


def curves_of_word(word: str) -> CurveProtocol:
    """A curve protocol from rise or polycam.

    Raises:
        BadParameter: anything else.
    """
    known: dict[str, CurveProtocol] = {word: word for word in get_args(CurveProtocol)}
    if word not in known:
        raise typer.BadParameter(f"{word!r} is no curve protocol; give one of {', '.join(known)}")
    return known[word]


def box_of_word(word: str) -> Box:
    """What a box's pixels exceed, from mean or a share from 0 to less than 1.

    Raises:
        BadParameter: anything else.
    """
    share = scalar_of(word)
    if word == "mean":
        return "mean"
    if isinstance(share, float | int) and type(share) is not bool and 0 <= share < 1:
        return float(share)
    raise typer.BadParameter(f"{word!r} is no threshold; give mean or 0 to less than 1")


def side_of_word(word: str) -> GradientSide:
    """A gradient side from auto, onnx or torch.

    Raises:
        BadParameter: anything else.
    """
    known: dict[str, GradientSide] = {"auto": "auto", "onnx": "onnx", "torch": "torch"}
    if word not in known:
        raise typer.BadParameter(f"{word!r} is no gradient side; give one of {', '.join(known)}")
    return known[word]


def priority_of_word(word: str) -> Priority:
    """A priority from interactive, normal or bulk.

    Raises:
        BadParameter: anything else.
    """
    known: dict[str, Priority] = {word: word for word in get_args(Priority)}
    if word not in known:
        raise typer.BadParameter(f"{word!r} is no priority; give one of {', '.join(known)}")
    return known[word]


def stop_of(correlation: float | None, seconds: float | None) -> StopWhen | None:
    """When maps may end, from --stop-at and --stop-after; None where neither is given.

    Raises:
        BadParameter: a correlation outside (0, 1), or seconds that are not above 0.
    """
    if correlation is not None and not 0 < correlation < 1:
        raise typer.BadParameter(f"--stop-at is {correlation:g}: give more than 0, less than 1")
    if seconds is not None and not 0 < seconds < math.inf:
        raise typer.BadParameter(f"--stop-after is {seconds:g}: give seconds above 0")
    return None if correlation is None and seconds is None else StopWhen(correlation, seconds)


def fill_of_word(word: str) -> Fill:
    """A fill from mean, black, blur, blur:51,20 or colour:0.5,0.5,0.5.

    Raises:
        BadParameter: anything else.
    """
    name, _, rest = word.partition(":")
    try:
        numbers = [float(part) for part in listed([rest])]
    except ValueError as error:
        raise typer.BadParameter(f"{rest!r} is not numbers; a fill is {FILLS}") from error
    match name, numbers:
        case "mean", []:
            return "mean"
        case "black", []:
            return "black"
        case "blur", []:
            return Blur()
        case "blur", [kernel, sigma] if kernel.is_integer() and kernel > 0:
            return Blur(int(kernel), sigma)
        case "colour", [_, *_]:
            return Colour(tuple(numbers))
    raise typer.BadParameter(f"{word!r} is no fill; give {FILLS}")


def _halves(word: str, sign: str, form: str) -> tuple[str, str]:
    head, found, tail = word.partition(sign)
    if not (head and found and tail):
        raise typer.BadParameter(f"{word!r} is not of the form {form}")
    return head, tail


def _of_method(table: Mapping[str, _T], method: str, word: str) -> _T:
    if method not in table:
        raise typer.BadParameter(f"{word!r} is for a method that no --method asks for")
    return table[method]
