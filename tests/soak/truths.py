"""What is asked of the server, with the answer of an engine that is alone."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from salience_client import Client, Explanation, Method
from salience_client.in_process import open_in_process

MODEL = "softmax"
METHODS = ("score-cam", "fake-cam", "grad-cam", "integrated-gradients", "opti-cam", "hires-cam")
IMAGES = 6


@dataclass(frozen=True)
class Truth:
    """A request, and its answer: the bytes of the map and the scores by kind."""

    image: bytes
    method: Method
    map_bytes: bytes
    scores: tuple[tuple[str, float], ...]

    def is_told_by(self, explanation: Explanation) -> bool:
        """Whether an answer is this one, to the last bit."""
        return _told(explanation) == (self.map_bytes, self.scores)


def truths(models: Path) -> Sequence[Truth]:
    """Every method on every image, asked one after the other."""
    random = np.random.default_rng(0)
    found = []
    with Client(open_in_process(models)) as client:
        available = {each.name for each in client.describe(MODEL).methods if each.available}
        for _ in range(IMAGES):
            image = _picture(random)
            for name in METHODS:
                if name in available:
                    method = _short(name)
                    found.append(Truth(image, method, *_told(asked(client, image, method))))
    return found


def asked(client: Client, image: bytes, method: Method, **more: float) -> Explanation:
    """The request as everybody makes it."""
    timeout = more.get("timeout", 120.0)
    return client.explain(
        image, model=MODEL, methods=method, scores=("ad", "ai", "ag"), timeout=timeout
    )


def _short(name: str) -> Method:
    return Method(name, iterations=12, stop="none") if name == "opti-cam" else Method(name)


def _told(explanation: Explanation) -> tuple[bytes, tuple[tuple[str, float], ...]]:
    (found,) = explanation.maps
    scores = found.scores
    assert scores is not None
    return found.array.tobytes(), tuple(sorted(scores.values.items()))


def _picture(random: np.random.Generator) -> bytes:
    file = io.BytesIO()
    Image.fromarray(random.integers(0, 256, (40, 30, 3), dtype=np.uint8)).save(file, "PNG")
    return file.getvalue()
