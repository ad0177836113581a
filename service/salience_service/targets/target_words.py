"""Targets in words: "tabby", "not:Edema", "tabby-tiger cat", "top:3", "above-threshold"."""

from salience_service.errors import InvalidRequest
from salience_service.request import (
    AboveThresholdTargets,
    AbsentTarget,
    ClassRef,
    DifferenceTarget,
    PresentTarget,
    TopKTargets,
)
from salience_service.targets.classes import Classes, short_enough

Plain = PresentTarget | AbsentTarget | DifferenceTarget | TopKTargets | AboveThresholdTargets
"""Targets without words."""


def read_words(text: str, classes: Classes) -> Plain:
    """Reads "LABEL", "INDEX", "not:LABEL", "A-B", "top:K" or "above-threshold".

    A class's own name comes first, whatever it looks like; letter case matters only where
    labels differ by nothing else.

    Returns:
        The target; its classes by index.

    Raises:
        InvalidRequest: too long, or no class has that name, or more than one may be meant.
    """
    word = short_enough(text).strip()
    found = classes.meant(word)
    if found:
        return PresentTarget(ClassRef(classes.only(found, word)))
    if word == "above-threshold":
        return AboveThresholdTargets()
    kind, _, rest = word.partition(":")
    rest = rest.strip()
    if kind == "top" and rest.isascii() and rest.isdigit():
        return TopKTargets(int(rest))
    if kind == "not" and rest:
        return AbsentTarget(ClassRef(classes.only(classes.meant(rest), rest)))
    return _read_difference(word, classes)


def _read_difference(word: str, classes: Classes) -> DifferenceTarget:
    """`A-B`, split at whichever hyphen leaves a class on either side."""
    pairs = {
        (this, that)
        for at, letter in enumerate(word)
        if letter == "-"
        for this in classes.meant(word[:at].strip())
        for that in classes.meant(word[at + 1 :].strip())
    }
    if not pairs:
        raise classes.unknown(word)
    if len(pairs) > 1:
        readings = ", ".join(f"{this}-{that}" for this, that in sorted(pairs)[:5])
        raise InvalidRequest(f"{word!r} can be read as {readings}: name the classes by index")
    this, that = pairs.pop()
    return DifferenceTarget(ClassRef(this), ClassRef(that))
