"""Targets and their probabilities, from the definitions, by torch in float64 and big decimals."""

from decimal import Decimal, localcontext

import torch
from torch import Tensor


def softmax_probability(logits: Tensor, index: int) -> Tensor:
    return torch.softmax(logits.double(), dim=-1)[..., index]


def sigmoid_probability(logits: Tensor, index: int) -> Tensor:
    return torch.sigmoid(logits.double()[..., index])


def pair_probability(logits: Tensor, this: int, that: int) -> Tensor:
    """Softmax over two classes alone."""
    return torch.softmax(logits.double()[..., [this, that]], dim=-1)[..., 0]


def exact_complement(logits: list[float], index: int) -> float:
    """1 − softmax, in 80 digits: what is left where p rounds to 1."""
    with localcontext() as context:
        context.prec = 80
        terms = [Decimal(value).exp() for value in logits]
        return float((sum(terms) - terms[index]) / sum(terms))


def exact_sigmoid_complement(logit: float) -> float:
    """1 − sigmoid, in 80 digits."""
    with localcontext() as context:
        context.prec = 80
        return float(1 / (1 + Decimal(logit).exp()))
