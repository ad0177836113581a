"""Arithmetic, element by element, with broadcasting: Add, Mul, Pow, Max, Where and the like."""

import math
from collections.abc import Callable, Mapping

import numpy as np

from salience_export.differentiate.step import Rule, Step


def add(step: Step) -> Mapping[int, str]:
    """y = a + b + …"""
    return {position: step.like(step.cotangent, step.input(position)) for position in step.wanted}


def subtract(step: Step) -> Mapping[int, str]:
    """y = a − b; b's cotangent is brought to its shape before its sign is turned."""
    found = dict(add(step))
    if 1 in found:
        found[1] = step.emit("Neg", found[1])
    return found


def multiply(step: Step) -> Mapping[int, str]:
    """y = a · b."""
    return {
        position: step.like(
            step.emit("Mul", step.cotangent, step.input(1 - position)), step.input(position)
        )
        for position in step.wanted
    }


def divide(step: Step) -> Mapping[int, str]:
    """y = a / b: da = dy / b, db = −y · dy / b."""
    share = step.emit("Div", step.cotangent, step.input(1))
    found: dict[int, str] = {}
    if 0 in step.wanted:
        found[0] = step.like(share, step.input(0))
    if 1 in step.wanted:
        product = step.emit("Mul", share, step.output)
        found[1] = step.emit("Neg", step.like(product, step.input(1)))
    return found


def mean(step: Step) -> Mapping[int, str]:
    """The mean of several tensors."""
    share = step.emit("Mul", step.cotangent, step.number(1 / len(step.node.input)))
    return {position: step.like(share, step.input(position)) for position in step.wanted}


def power(step: Step) -> Mapping[int, str]:
    """y = x^p of a constant p: p · x^(p − 1), and 0 where p is 0."""
    if step.wanted != {0}:
        raise step.refused("an exponent that depends on what is asked for")
    exponent = step.constant(1).astype(np.float64)
    lower = np.where(exponent == 0, 0, exponent - 1)
    slope = step.emit("Mul", step.cotangent, _constant(step, exponent))
    if not (lower == 0).all():
        base = step.input(0)
        if not (lower == 1).all():
            base = step.emit("Pow", base, _constant(step, lower))
        slope = step.emit("Mul", slope, base)
    return {0: step.like(slope, step.input(0))}


def _constant(step: Step, values: "np.ndarray[tuple[int, ...], np.dtype[np.float64]]") -> str:
    return step.tape.constant(values.astype(step.dtype))


def extreme(step: Step) -> Mapping[int, str]:
    """The largest or smallest of several tensors; equal ones share, as in torch.maximum."""
    element = step.shape(step.output).element
    hits = [
        step.emit("Cast", step.emit("Equal", name, step.output), to=element)
        for name in step.node.input
    ]
    count = hits[0]
    for hit in hits[1:]:
        count = step.emit("Add", count, hit)
    share = step.emit("Div", step.cotangent, count)
    return {
        position: step.like(step.emit("Mul", share, hits[position]), step.input(position))
        for position in step.wanted
    }


def where(step: Step) -> Mapping[int, str]:
    """y = a where the condition holds, b elsewhere: each gets its part."""
    element = step.shape(step.output).element
    found: dict[int, str] = {}
    for position in step.wanted - {0}:
        chosen = step.input(0) if position == 1 else step.emit("Not", step.input(0))
        part = step.emit("Mul", step.cotangent, step.emit("Cast", chosen, to=element))
        found[position] = step.like(part, step.input(position))
    return found


def scaled_by(slope: Callable[[Step], str]) -> Rule:
    """The rule of y = f(x), one number at a time: dy · f'(x)."""

    def rule(step: Step) -> Mapping[int, str]:
        return {0: step.emit("Mul", step.cotangent, slope(step))}

    return rule


def _negate(step: Step) -> Mapping[int, str]:
    return {0: step.emit("Neg", step.cotangent)}


def _logarithm(step: Step) -> Mapping[int, str]:
    return {0: step.emit("Div", step.cotangent, step.input(0))}


def _root(step: Step) -> Mapping[int, str]:
    """1 / 2y."""
    return {0: step.emit("Div", step.cotangent, step.emit("Add", step.output, step.output))}


def _reciprocal(step: Step) -> str:
    """−y²."""
    return step.emit("Neg", step.emit("Mul", step.output, step.output))


def _error_function(step: Step) -> str:
    """2 / √π · exp(−x²)."""
    square = step.emit("Mul", step.input(0), step.input(0))
    bell = step.emit("Exp", step.emit("Neg", square))
    return step.emit("Mul", bell, step.number(2 / math.sqrt(math.pi)))


ARITHMETIC: Mapping[str, Rule] = {
    "Abs": scaled_by(lambda step: step.emit("Sign", step.input(0))),
    "Add": add,
    "Cos": scaled_by(lambda step: step.emit("Neg", step.emit("Sin", step.input(0)))),
    "Div": divide,
    "Erf": scaled_by(_error_function),
    "Exp": scaled_by(lambda step: step.output),
    "Log": _logarithm,
    "Max": extreme,
    "Mean": mean,
    "Min": extreme,
    "Mul": multiply,
    "Neg": _negate,
    "Pow": power,
    "Reciprocal": scaled_by(_reciprocal),
    "Sin": scaled_by(lambda step: step.emit("Cos", step.input(0))),
    "Sqrt": _root,
    "Sub": subtract,
    "Sum": add,
    "Where": where,
}
