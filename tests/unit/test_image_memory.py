"""A server short of memory says so, and does not call a good image damaged."""

import io

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from salience_service.errors import Overloaded
from salience_service.image.decode import decode
from salience_service.image.pixels import ImageLimits


def test_an_image_for_which_there_is_no_memory_is_not_called_damaged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = io.BytesIO()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(file, "PNG")

    def load(_: PngImageFile) -> None:
        raise MemoryError

    monkeypatch.setattr(PngImageFile, "load", load)
    with pytest.raises(Overloaded, match="no memory"):
        decode(file.getvalue(), ImageLimits())
