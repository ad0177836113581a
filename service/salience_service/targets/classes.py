"""The classes of a head, found by number or by label."""

import difflib
from collections import defaultdict
from collections.abc import Callable, Mapping
from functools import cached_property

from salience_service.bundle.manifest import Head
from salience_service.errors import InvalidRequest
from salience_service.field_path import at
from salience_service.request import ClassRef

LONGEST_WORDS = 512
"""Characters of a label looked for, or of a target in words; the search for close labels takes
time by it."""
SUGGESTIONS = 3


def short_enough(words: str) -> str:
    """A label or a target in words, as it is.

    Raises:
        InvalidRequest: it has more characters than are looked for.
    """
    if len(words) > LONGEST_WORDS:
        raise InvalidRequest(f"words of {len(words)} characters: use at most {LONGEST_WORDS}")
    return words


class Classes:
    """Finds classes of one head; indexes its labels the first time that one is looked for."""

    def __init__(self, head: Head) -> None:
        self._head = head

    def name(self, index: int) -> str:
        """The label, or the number where there is none."""
        labels = self._head.labels
        return labels[index] if labels and labels[index] else str(index)

    def labelled(self, label: str) -> list[int]:
        """Every class of that label: exactly, or else whatever the case."""
        return self._exact.get(label) or self._folded.get(label.casefold()) or []

    def meant(self, word: str) -> list[int]:
        """Every class that a word can mean: by label, or by number."""
        found = self.labelled(word)
        if word.isascii() and word.isdigit() and int(word) < self._head.classes:
            found = sorted({*found, int(word)})
        return found

    def find(self, ref: ClassRef) -> int:
        """The class of a reference.

        Raises:
            InvalidRequest: the number is out of range; the label unknown or ambiguous.
        """
        if isinstance(ref.name, str):
            with at("label"):
                return self.only(self.labelled(short_enough(ref.name)), ref.name)
        if not 0 <= ref.name < self._head.classes:
            raise InvalidRequest(
                f"class {ref.name} is out of range: use 0 to {self._head.classes - 1}",
                field="index",
            )
        return ref.name

    def only(self, found: list[int], word: str) -> int:
        """The one class found for a word; unknown and ambiguous words are refused."""
        if not found:
            raise self.unknown(word)
        if len(found) > 1:
            numbers = ", ".join(map(str, found[:10])) + (", …" if len(found) > 10 else "")
            raise InvalidRequest(
                f"{word!r} can mean classes {numbers}: name the class by its index"
            )
        return found[0]

    def unknown(self, word: str) -> InvalidRequest:
        """The error for a word that no class has, with labels close to it."""
        if not self._head.labels:
            return InvalidRequest(
                f"no class is named {word!r}: this model has no labels, "
                f"use an index from 0 to {self._head.classes - 1}"
            )
        if word.isascii() and word.isdigit():
            return InvalidRequest(
                f"class {word} is out of range: use 0 to {self._head.classes - 1}, or a label"
            )
        close = difflib.get_close_matches(word.casefold(), self._folded, SUGGESTIONS)
        names = ", ".join(repr(self.name(self._folded[label][0])) for label in close)
        hint = f"did you mean {names}?" if names else "DescribeModel lists the labels"
        return InvalidRequest(f"no class is named {word!r}: {hint}")

    @cached_property
    def _exact(self) -> Mapping[str, list[int]]:
        return self._by(str)

    @cached_property
    def _folded(self) -> Mapping[str, list[int]]:
        return self._by(str.casefold)

    def _by(self, spelling: Callable[[str], str]) -> Mapping[str, list[int]]:
        """The classes of each label in one spelling."""
        found = defaultdict[str, list[int]](list)
        for index, label in enumerate(self._head.labels):
            if label:
                found[spelling(label)].append(index)
        return found
