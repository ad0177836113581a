"""What a model's file alone does not say: what it takes, and what its numbers mean."""

from dataclasses import dataclass
from enum import Enum

from salience_export.errors import ExportError
from salience_service.bundle.manifest import Head, InputContract, OutputKind


class Layout(Enum):
    """Where a source's input has its channels; a bundle's graphs are always NCHW."""

    NCHW = "NCHW"
    NHWC = "NHWC"


@dataclass(frozen=True)
class ModelContract:
    """What a model takes and what its numbers mean; what its file alone does not say.

    Attributes:
        input: the input contract.
        output: what its numbers mean.
        labels: one a class, or none.
        thresholds: one probability a class, or none.
        layout: the source's own.
    """

    input: InputContract
    output: OutputKind
    labels: tuple[str, ...] = ()
    thresholds: tuple[float, ...] = ()
    layout: Layout = Layout.NCHW

    def head(self, output: OutputKind, classes: int) -> Head:
        """The head of a model that turned out to have this many classes.

        Raises:
            ExportError: another number of labels or thresholds.
        """
        for name, values in (("labels", self.labels), ("thresholds", self.thresholds)):
            if len(values) not in (0, classes):
                raise ExportError(
                    f"output.{name}: {len(values)} given, but the model has {classes} classes"
                )
        return Head(output, classes, self.labels, self.thresholds)
