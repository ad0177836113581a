"""Fake-CAM against its oracle."""

import numpy as np
import pytest

from salience_service.methods import METHODS
from salience_service.methods.probe import Base
from tests.oracle.fake_cam import fake_cam
from tests.support.answering import class_target


@pytest.mark.parametrize(("height", "width"), [(4, 7), (224, 224)])
def test_fake_cam_equals_its_oracle_and_asks_nothing(height: int, width: int) -> None:
    method = METHODS["fake-cam"]
    image = np.zeros((3, height, width), np.float32)
    base = Base({}, np.zeros(3, np.float32), class_target(1), image, image)
    with pytest.raises(StopIteration) as end:
        next(method.run(base, method.options()))
    image_map = end.value.value.map
    assert image_map.dtype == np.float32
    assert np.array_equal(image_map, fake_cam(height, width))
