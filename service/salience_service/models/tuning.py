"""A tuning: threads, and rows of a device call by graph and map shape, chosen by measuring."""

from collections.abc import Mapping
from dataclasses import dataclass, field

LARGEST_BATCH = 1024
MOST_THREADS = 1024


@dataclass(frozen=True)
class Tuning:
    """How the graphs of a model run on a device. What it does not name is as configured.

    Attributes:
        threads: CPU threads of a run of rows; 0 = as configured.
        masked: rows of a call of the masked graph, by the shape [h, w] of its maps.
        pixel_masked: rows of a call of the pixel-masked graph; 0 = as configured.
        tails: rows of a call of a tail, by its tap.
        digest: SHA-256 of the tune file in hex; empty where there was none.
    """

    threads: int = 0
    masked: Mapping[tuple[int, ...], int] = field(default_factory=dict)
    pixel_masked: int = 0
    tails: Mapping[str, int] = field(default_factory=dict)
    digest: str = ""


UNTUNED = Tuning()
"""All as configured."""
