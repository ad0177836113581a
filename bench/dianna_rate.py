"""Whole RISEs of EfficientNet-Lite0 on ONNX Runtime: dianna's and ours, 300 masks.

The same forward graph, masks of 8×8 cells with p = 0.1, scored by the logit; each draws its own
masks, and maps of so few differ, so that they are not compared. Each library runs in a process of
its own (bench/peer_process.py) on the same prepared image and class, from the image to the finished
map; only one is busy at a time. Tuned: the allocator as in `peers`, the model a function on one
open session, the best batch size of a sweep, progress bars off. As it comes: the model a path,
whose session dianna opens for each batch, of 100; p is given, which it would else look for with 900
more rows.
"""

import importlib.util
from dataclasses import replace

from bench.beside_peer import CORRELATION, Beside
from bench.report import Part, Skipped
from bench.workplace import Workplace

COMPARED = Beside("dianna, RISE", "dianna, RISE of a path", "salience, RISE", (4, 8, 16, 32, 64))


def measure(place: Workplace) -> Part:
    """The one method."""
    for module in ("dianna", "xarray"):
        if not importlib.util.find_spec(module):
            raise Skipped(f"{module} is not installed; see requirements-no-deps.txt, extra `peers`")
    found = COMPARED.measured(place)
    figures = tuple(each for each in found.figures if not each.name.startswith(CORRELATION))
    return replace(found, name="dianna_rate", about=__doc__ or "", figures=figures)
