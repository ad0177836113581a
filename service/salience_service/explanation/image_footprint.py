"""The footprint of an image: bytes it takes as sent, while decoded, and while a map is drawn on it.

All are known from its header. The bytes of a pixel were measured, as the peak of what a
process holds, over photographs of twelve megapixels; each is a bound for all of its kind.
"""

from dataclasses import dataclass
from functools import cached_property

from salience_service.bundle.manifest import InputContract
from salience_service.image.decode import Header, header_of
from salience_service.image.fit import fit
from salience_service.image.pixels import ImageLimits, is_eight_bit
from salience_service.request import (
    DicomImage,
    EncodedImage,
    Encoding,
    Geometry,
    ImageInput,
    MapFormat,
    PixelImage,
    PreparedImage,
)

SENT_TWICE = 2
"""The message that an image came in lives as long as what was read from it."""
PLAIN_BYTES, DECODING_BYTES = 8, 20
"""Of a pixel while its file is decoded, turned upright and resized: 7 were measured for colour
JPEG and PNG; 18 for WebP, for transparency and for 16-bit grey."""
RESIZING_BYTES = 16
"""Of a pixel of the resized image."""
SHOWING_BYTES = 12
"""Of a number that is not of 8 bits, while pixels are brought to 8 bits for the eye: 12."""
KEPT_BYTES = 10
"""Of a pixel of the image as sent, while the explanation runs: 3 are its own, and allocators keep
some of what decoding took; 7 were measured, and once 9."""
DRAWING_BYTES = {
    Encoding.FLOAT32: 18,
    Encoding.FLOAT16: 18,
    Encoding.PNG_GREY: 18,
    Encoding.PNG_OVERLAY: 34,
    Encoding.PNG_MASKED: 34,
}
"""Of a pixel of a map put on its grid, scaled, drawn and encoded: 16.4 and 32.4 measured."""
BOX_BYTES = 16
"""Of a pixel of the original, in which the box of a map of any geometry is looked for: 13."""
ENCODED_BYTES = {
    Encoding.FLOAT32: 5,
    Encoding.FLOAT16: 3,
    Encoding.PNG_GREY: 2,
    Encoding.PNG_OVERLAY: 4,
    Encoding.PNG_MASKED: 4,
}
"""Of a pixel of a map that is kept, with what says where the model saw; of a PNG, where nothing
of it could be compressed."""
WAY_BYTES = 24
"""Of a number of the matrices that take a map to the original: made as doubles, then copied."""


@dataclass(frozen=True)
class ImageFootprint:
    """What an image and the maps on it take.

    Attributes:
        image: as sent. contract: what the model takes. format: that of the maps.
        limits: what an image may be. boxed: whether maps have boxes, which lie in the original.
    """

    image: ImageInput
    contract: InputContract
    format: MapFormat
    limits: ImageLimits
    boxed: bool = False

    @property
    def bytes(self) -> int:
        """Held at a time: an image is decoded before a map is drawn on it, and maps one by one."""
        drawing = DRAWING_BYTES[self.format.encoding] * self._grid
        if self.format.geometry is Geometry.ORIGINAL:
            drawing += self._ways
        boxing = self.map_bytes + BOX_BYTES * self._pixels + self._ways if self.boxed else 0
        shown = KEPT_BYTES * self._pixels + max(drawing, boxing)
        return sent_bytes(self.image) + max(self._decoding, shown)

    @property
    def map_bytes(self) -> int:
        """Of one map as it is sent."""
        return ENCODED_BYTES[self.format.encoding] * self._grid

    @cached_property
    def _header(self) -> Header:
        match self.image:
            case EncodedImage(data=data):
                return header_of(data, self.limits)
            case PixelImage(pixels=pixels, full_scale=full_scale) if pixels.ndim in (2, 3):
                height, width = pixels.shape[:2]
                return Header(height, width, is_eight_bit(pixels, full_scale))
            case PreparedImage():
                return Header(self.contract.height, self.contract.width, plain=True)
        return Header(0, 0, plain=True)  # It will be refused.

    @property
    def _pixels(self) -> int:
        return self._header.height * self._header.width

    @property
    def _decoding(self) -> int:
        """Until it is the model's input."""
        if isinstance(self.image, PreparedImage) or not self._pixels:
            return 0
        plan = fit(self._header.height, self._header.width, self.contract)
        resizing = RESIZING_BYTES * min(plan.height * plan.width, self.limits.max_pixels)
        if isinstance(self.image, PixelImage) and not self._header.plain:
            return SHOWING_BYTES * self.image.pixels.size + resizing
        # A JPEG is decoded from a copy, see `open_ended`.
        copied = len(self.image.data) if isinstance(self.image, EncodedImage) else 0
        decoding = PLAIN_BYTES if self._header.plain else DECODING_BYTES
        return copied + decoding * self._pixels + resizing

    @property
    def _grid(self) -> int:
        """Pixels of a map as it is sent; one on its tap's grid has hardly more than the input."""
        if self.format.geometry is Geometry.ORIGINAL:
            return self._pixels
        return self.contract.height * self.contract.width

    @property
    def _ways(self) -> int:
        """Matrices that take a map to the original, by rows and by columns."""
        sides = self._header.height + self._header.width
        return WAY_BYTES * max(self.contract.height, self.contract.width) * sides


def sent_bytes(image: ImageInput) -> int:
    """What an image takes as sent, with the message it came in."""
    match image:
        case EncodedImage(data=data) | DicomImage(data=data):
            return SENT_TWICE * len(data)
        case PixelImage(pixels=values) | PreparedImage(tensor=values):
            return SENT_TWICE * values.nbytes
