"""The tensors of a bundle's graphs: the names that the exporter writes and the service feeds.

N rows or images a call, R sources of rows, S = N, or 1 where all rows have one source.
"""

IMAGES = "images"
"""float32 [N, C, H, W]: the network's input; composed inside the masked graphs."""

LOGITS = "logits"
"""float32 [N, K]: every graph's output, before a softmax or sigmoid."""

DIFFERENCES = "differences"
"""float32 [R, C, H, W]: image − fill, of each source."""

FILLS = "fills"
"""float32 [R, C, H, W]: what shows where a mask is 0."""

IMAGE_OF = "image_of"
"""int64 [S], of a tail [N]: the source of each row."""

MASKS = "masks"
"""float32 [N, H, W]: what each row shows of its difference, pixel by pixel."""

MAPS = "maps"
"""float32 [N, h, w]: small maps, which the masked graph brings to the size of the image."""

ROWS = "rows"
"""float32 [H, h]: interpolates the rows of a map."""

COLUMNS = "columns"
"""float32 [W, w]: interpolates its columns."""

NORMALISE = "normalise"
"""bool [N]: whether a map, at the size of the image, is brought to 0…1."""

SCALE = "scale"
"""float32 [N]: mask = scale · map + shift."""

SHIFT = "shift"
"""float32 [N]: see `SCALE`."""

TAP = "tap"
"""float32 [R, C, h, w], or tokens: the images as the network has them at a tap."""

KEEP = "keep"
"""float32 [N, C]: the factor of each channel of the tap; 0 takes it out."""

COTANGENT = "cotangent"
"""float32 [N, K]: weighs the logits; one-hot for the gradient of one class."""


def gradient_of(name: str) -> str:
    """The output, of the tensor's shape, that holds d Σ (cotangent · logits) / d tensor.

    Args:
        name: `IMAGES`, `MAPS`, `TAP`, or a tap's output of the forward graph.
    """
    return f"d_{name}"
