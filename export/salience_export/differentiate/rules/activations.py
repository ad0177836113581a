"""Activations: Relu, Clip, Sigmoid, HardSwish, Gelu, Softmax and the like."""

import math
from collections.abc import Mapping

from salience_export.differentiate.rules.arithmetic import scaled_by
from salience_export.differentiate.step import Rule, Step


def _one_less(step: Step, tensor: str) -> str:
    return step.emit("Sub", step.number(1), tensor)


def _sigmoid(step: Step) -> str:
    """y (1 − y)."""
    return step.emit("Mul", step.output, _one_less(step, step.output))


def _tanh(step: Step) -> str:
    """1 − y²."""
    return _one_less(step, step.emit("Mul", step.output, step.output))


def _softsign(step: Step) -> str:
    """(1 − |y|)²."""
    rest = _one_less(step, step.emit("Abs", step.output))
    return step.emit("Mul", rest, rest)


def _hard_sigmoid(step: Step) -> str:
    """α where 0 < y < 1; 0 at both bounds, as in torch."""
    inside = step.emit("Sign", _sigmoid(step))
    return step.emit("Mul", inside, step.number(step.real("alpha", _HARD_SLOPE)))


_HARD_SLOPE = 0.20000000298023224
"""HardSigmoid's α unless stated: ONNX's 0.2, a float32."""


def _hard_swish(step: Step) -> str:
    """y = x · clip(x/6 + 1/2, 0, 1): clip(x/6 + 1/2, 0, 1), and x/6 more where |x| < 3."""
    x = step.input(0)
    inner = step.emit("Sub", x, step.emit("Shrink", x, lambd=_BELOW_3))
    clipped = step.emit("Clip", x, step.number(-3), step.number(3))
    sixfold = step.emit("Mul", step.emit("Add", clipped, inner), step.number(1 / 6))
    return step.emit("Add", sixfold, step.number(0.5))


_BELOW_3 = 2.9999997615814209
"""The float32 before 3: Shrink keeps what is beyond a limit, and 3 itself is beyond."""


def _is_positive(step: Step) -> str:
    """1 where x > 0, else 0."""
    return step.emit("Clip", step.emit("Sign", step.input(0)), step.number(0), step.number(1))


def _leaky_relu(step: Step) -> str:
    """1 where x > 0, else α; where α lies in [0, 1], the output's sign tells."""
    alpha = step.real("alpha", 0.009999999776482582)
    if 0 <= alpha <= 1:
        sign = step.emit("Sign", step.output)
        return step.emit("Clip", sign, step.number(alpha), step.number(1))
    return _one_or(step, step.number(alpha), alpha)


def _one_or(step: Step, below: str, limit: float) -> str:
    """1 where x > 0, else what is given, which is `limit` at x > 0."""
    if limit == 1:
        return below
    rise = step.emit("Mul", _is_positive(step), step.number(1 - limit))
    return step.emit("Add", rise, below)


def _exponential_below(step: Step, width: float = 1.0) -> str:
    """exp(x / width) where x ≤ 0, else 1."""
    low = step.emit("Min", step.input(0), step.number(0))
    return step.emit("Exp", step.emit("Div", low, step.number(width)) if width != 1 else low)


def _elu(step: Step) -> str:
    """α exp(x) where x ≤ 0, else 1."""
    return _scaled_elu(step, step.real("alpha", 1.0))


def _scaled_elu(step: Step, alpha: float) -> str:
    below = _exponential_below(step)
    if alpha != 1:
        below = step.emit("Mul", below, step.number(alpha))
    return _one_or(step, below, alpha)


def _selu(step: Step) -> str:
    """γ α exp(x) where x ≤ 0, else γ."""
    slope = _scaled_elu(step, step.real("alpha", 1.6732631921768188))
    return step.emit("Mul", slope, step.number(step.real("gamma", 1.0507010221481323)))


def _celu(step: Step) -> str:
    """exp(x / α) where x ≤ 0, else 1."""
    return _exponential_below(step, step.real("alpha", 1.0))


def _thresholded_relu(step: Step) -> str:
    """1 where x > α, else 0."""
    above = step.emit("Greater", step.input(0), step.number(step.real("alpha", 1.0)))
    return step.emit("Cast", above, to=step.shape(step.output).element)


def p_relu(step: Step) -> Mapping[int, str]:
    """y = x where x > 0, else slope · x."""
    found: dict[int, str] = {}
    if 0 in step.wanted:
        rise = step.emit("Mul", _is_positive(step), _one_less(step, step.input(1)))
        slope = step.emit("Add", rise, step.input(1))
        found[0] = step.emit("Mul", step.cotangent, slope)
    if 1 in step.wanted:
        low = step.emit("Min", step.input(0), step.number(0))
        found[1] = step.like(step.emit("Mul", step.cotangent, low), step.input(1))
    return found


def _softplus(step: Step) -> str:
    return step.emit("Sigmoid", step.input(0))


def _swish(step: Step) -> str:
    """y = x s, s = σ(α x): s + α y (1 − s)."""
    x, alpha = step.input(0), step.number(step.real("alpha", 1.0))
    s = step.emit("Sigmoid", step.emit("Mul", alpha, x))
    bend = step.emit("Mul", step.emit("Mul", alpha, step.output), _one_less(step, s))
    return step.emit("Add", s, bend)


def _mish(step: Step) -> str:
    """y = x t, t = tanh(softplus(x)): t + x (1 − t²) σ(x)."""
    x = step.input(0)
    t = step.emit("Tanh", step.emit("Softplus", x))
    rest = _one_less(step, step.emit("Mul", t, t))
    bend = step.emit("Mul", step.emit("Mul", x, rest), step.emit("Sigmoid", x))
    return step.emit("Add", t, bend)


def _gelu(step: Step) -> str:
    """y = x Φ(x), Φ of the normal distribution or its approximation by tanh."""
    if step.attribute("approximate", "none") == "tanh":
        return _gelu_by_tanh(step)
    u = step.emit("Mul", step.input(0), step.number(math.sqrt(0.5)))
    bell = step.emit("Exp", step.emit("Neg", step.emit("Mul", u, u)))
    bend = step.emit("Mul", step.emit("Mul", u, bell), step.number(1 / math.sqrt(math.pi)))
    half = step.emit("Mul", step.emit("Erf", u), step.number(0.5))
    return step.emit("Add", step.emit("Add", half, step.number(0.5)), bend)


def _gelu_by_tanh(step: Step) -> str:
    """y = x (1 + t) / 2, t = tanh(k (x + c x³)): (1 + t) / 2 + x (1 − t²) k (1 + 3 c x²) / 2."""
    x, k, c = step.input(0), math.sqrt(2 / math.pi), 0.044715
    square = step.emit("Mul", x, x)
    factor = step.emit("Add", step.emit("Mul", square, step.number(k * c)), step.number(k))
    t = step.emit("Tanh", step.emit("Mul", x, factor))
    growth = step.emit("Mul", square, step.number(1.5 * k * c))
    growth = step.emit("Add", growth, step.number(k / 2))
    rest = _one_less(step, step.emit("Mul", t, t))
    bend = step.emit("Mul", step.emit("Mul", x, rest), growth)
    half = step.emit("Add", step.emit("Mul", t, step.number(0.5)), step.number(0.5))
    return step.emit("Add", half, bend)


def softmax(step: Step) -> Mapping[int, str]:
    """y (dy − Σ dy · y)."""
    weighted = step.emit("Mul", step.cotangent, step.output)
    total = step.emit("ReduceSum", weighted, step.tape.integers(step.integer("axis", -1)))
    return {0: step.emit("Sub", weighted, step.emit("Mul", step.output, total))}


def log_softmax(step: Step) -> Mapping[int, str]:
    """dy − exp(y) · Σ dy."""
    total = step.emit("ReduceSum", step.cotangent, step.tape.integers(step.integer("axis", -1)))
    share = step.emit("Mul", step.emit("Exp", step.output), total)
    return {0: step.emit("Sub", step.cotangent, share)}


ACTIVATIONS: Mapping[str, Rule] = {
    "Celu": scaled_by(_celu),
    "Elu": scaled_by(_elu),
    "Gelu": scaled_by(_gelu),
    "HardSigmoid": scaled_by(_hard_sigmoid),
    "HardSwish": scaled_by(_hard_swish),
    "LeakyRelu": scaled_by(_leaky_relu),
    "LogSoftmax": log_softmax,
    "Mish": scaled_by(_mish),
    "PRelu": p_relu,
    "Selu": scaled_by(_selu),
    "Sigmoid": scaled_by(_sigmoid),
    "Softmax": softmax,
    "Softplus": scaled_by(_softplus),
    "Softsign": scaled_by(_softsign),
    "Swish": scaled_by(_swish),
    "Tanh": scaled_by(_tanh),
    "ThresholdedRelu": scaled_by(_thresholded_relu),
}
