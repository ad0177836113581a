"""Where a crop lies in an image, pixel by pixel, in exact fractions."""

from fractions import Fraction


def seen_span(original: int, resized: int, crop: int, offset: int) -> tuple[Fraction, Fraction]:
    """The part of an axis of `original` pixels that a crop at `offset` of the resized covers."""
    step = Fraction(original, resized)
    return offset * step, (offset + crop) * step


def seen_pixels(original: int, resized: int, crop: int, offset: int) -> list[bool]:
    """Per original pixel of an axis: does its centre lie in the crop?"""
    first, last = seen_span(original, resized, crop, offset)
    return [first <= Fraction(2 * i + 1, 2) <= last for i in range(original)]


def read_at(samples: list[float], position: Fraction) -> float:
    """Linear interpolation; sample i lies at i; the ends are held."""
    position = min(max(position, Fraction(0)), Fraction(len(samples) - 1))
    low = position.numerator // position.denominator
    high = min(low + 1, len(samples) - 1)
    share = float(position - low)
    return samples[low] * (1 - share) + samples[high] * share


def axis_to_original(
    samples: list[float], original: int, resized: int, crop: int, offset: int
) -> list[float]:
    """A profile [h] stretched over the crop, up to `crop` samples, then to the original."""
    grow = Fraction(len(samples), crop)
    inside = [read_at(samples, (i + Fraction(1, 2)) * grow - Fraction(1, 2)) for i in range(crop)]
    shrink = Fraction(resized, original)
    half = Fraction(1, 2)
    return [read_at(inside, (i + half) * shrink - offset - half) for i in range(original)]
