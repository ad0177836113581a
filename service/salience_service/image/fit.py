"""How an image of some size comes to the model's: its size when resized, and where it lies."""

from dataclasses import dataclass

from salience_service.bundle.manifest import InputContract, ResizeRule
from salience_service.image.placement import Placement


@dataclass(frozen=True)
class Fit:
    """The image is resized to height × width; the model's input begins at (top, left) of that.

    A negative top or left means that a border is added before the image.
    """

    height: int
    width: int
    top: int
    left: int

    def kept(self, contract: InputContract) -> tuple[slice, slice]:
        """Rows and columns of the resized image that the model sees."""
        rows = slice(max(self.top, 0), min(self.top + contract.height, self.height))
        columns = slice(max(self.left, 0), min(self.left + contract.width, self.width))
        return rows, columns

    def placement(self, original: tuple[int, int], contract: InputContract) -> Placement:
        """Where the model's input lies in the original [height, width]."""
        row_step, column_step = original[0] / self.height, original[1] / self.width
        return Placement(
            original_height=original[0],
            original_width=original[1],
            height=contract.height,
            width=contract.width,
            top=self.top * row_step,
            left=self.left * column_step,
            row_step=row_step,
            column_step=column_step,
        )


def fit(height: int, width: int, contract: InputContract) -> Fit:
    """The fit of an image of height × width by the contract's resize rule."""
    resized = _resized(height, width, contract)
    if contract.resize.rule is ResizeRule.PAD:
        top, left = -((contract.height - resized[0]) // 2), -((contract.width - resized[1]) // 2)
    else:
        top, left = _centred(resized[0], contract.height), _centred(resized[1], contract.width)
    return Fit(*resized, top, left)


def _resized(height: int, width: int, contract: InputContract) -> tuple[int, int]:
    """Size after the resize: torchvision's `Resize` truncates the long side, timm's pad rounds."""
    match contract.resize.rule:
        case ResizeRule.STRETCH:
            return contract.height, contract.width
        case ResizeRule.SHORT_SIDE:
            short = contract.resize.short_side
            if width <= height:
                return int(short * height / width), short
            return short, int(short * width / height)
        case ResizeRule.PAD:
            scale = min(contract.height / height, contract.width / width)
            return max(1, round(height * scale)), max(1, round(width * scale))


def _centred(resized: int, wanted: int) -> int:
    """Offset of torchvision's `CenterCrop`: half rounded to even; a border where too small."""
    if resized < wanted:
        return -((wanted - resized) // 2)
    return round((resized - wanted) / 2)
