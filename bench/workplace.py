"""Where a benchmark runs: its model, its photographs, and how much it is asked to do."""

import csv
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from bench.apart import in_a_fresh_process
from bench.networks import LITE0, NETWORKS, Network, export_network
from bench.report import Skipped
from salience_service.bundle.manifest import Manifest
from salience_service.bundle.reader import open_bundle

MODEL = LITE0.name
LAST_TAP = "_swish#1"
"""1280×7×7, behind ReLU6: Score-CAM's and Opti-CAM's default."""
LINEAR_TAP = LITE0.score_tap
"""320×7×7, linear."""
SHARED_PHOTOGRAPHS = Path("../shared/data/imagenet")


@dataclass(frozen=True)
class Workplace:
    """What a part is given.

    Attributes:
        root: holds a models directory for each network that was exported, by its name.
        pairs: interleaved pairs to take.
        quick: whether a rough figure will do.
        networks: those that parts of several networks are measured on.
        provider: as in the server's configuration; parts that say so run on it.
    """

    root: Path
    pairs: int
    quick: bool
    networks: tuple[str, ...] = tuple(NETWORKS)
    provider: str = "cpu"

    @property
    def models(self) -> Path:
        """The models directory that holds EfficientNet-Lite0 alone."""
        return self.root / MODEL

    @property
    def manifest(self) -> Manifest:
        """The manifest of EfficientNet-Lite0."""
        return open_bundle(self.models / MODEL / "1").manifest

    def models_of(self, network: Network) -> Path:
        """The models directory that holds one network alone; exported if it has to be.

        Raises:
            Skipped: the file that the network comes from is not here.
        """
        in_a_fresh_process(export_network, self.root, network.name)
        return self.root / network.name


@dataclass(frozen=True)
class Photograph:
    """A photograph whose true class is known: the file's bytes, and the class's index."""

    name: str
    data: bytes
    true_class: int


def quick_photographs(count: int) -> list[Photograph]:
    """The first `count` photographs marked `quick`, in the order of labels.csv.

    Raises:
        Skipped: the shared photographs are not here.
    """
    labels = SHARED_PHOTOGRAPHS / "labels.csv"
    if not labels.is_file():
        raise Skipped(f"the shared photographs are not here: {labels} is missing")
    with labels.open(newline="") as lines:
        chosen = [row for row in csv.DictReader(lines) if row["quick"] == "1"][:count]
    return [
        Photograph(
            row["file"],
            (SHARED_PHOTOGRAPHS / row["file"]).read_bytes(),
            int(row["class_index"]),
        )
        for row in chosen
    ]


def cat() -> bytes:
    """Chelsea the cat, 451×300, as a PNG file (scikit-image's own photograph)."""
    from skimage.data import chelsea

    return encoded(chelsea(), "PNG")


def small_cat() -> bytes:
    """The cat at 224×224, as a PNG file."""
    from skimage.data import chelsea

    small = Image.fromarray(chelsea()).resize((224, 224), Image.Resampling.BICUBIC)
    return encoded(np.asarray(small), "PNG")


def megapixel_cat(file_format: str) -> bytes:
    """The cat at 1,200×800, 0.96 megapixels, as a file of a format of Pillow's."""
    from skimage.data import chelsea

    large = Image.fromarray(chelsea()).resize((1200, 800), Image.Resampling.BICUBIC)
    return encoded(np.asarray(large), file_format)


def encoded(pixels: np.ndarray, file_format: str) -> bytes:
    """Pixels uint8 [H, W, 3] as a file."""
    file = BytesIO()
    Image.fromarray(pixels).save(file, file_format)
    return file.getvalue()
