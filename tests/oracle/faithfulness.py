"""AD, AI and AG of one image to sixty digits, from the definitions (Opti-CAM §5, equation 15)."""

from decimal import Decimal, localcontext


def softmax_probability(logits, index):
    """p of a class, a Decimal; call inside a precise context."""
    raised = [Decimal(float(logit)).exp() for logit in logits]
    return raised[index] / sum(raised)


def sigmoid_probability(logits, index):
    return 1 / (1 + (-Decimal(float(logits[index]))).exp())


def faithfulness(clean, masked, index, probability=softmax_probability):
    """(AD, AI, AG) in percent, floats."""
    with localcontext() as context:
        context.prec = 60
        p, o = probability(clean, index), probability(masked, index)
        drop = 100 * max(Decimal(0), p - o) / p
        gain = 100 * max(Decimal(0), o - p) / (1 - p)
        return float(drop), 100.0 if o > p else 0.0, float(gain)
