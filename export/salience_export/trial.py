"""The graphs of a bundle in the making, run on ONNX Runtime's CPU."""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from salience_export.source import FloatArray
from salience_export.specimens import MaskRows
from salience_service.bundle.manifest import FROM_A_TAP, Graph, GraphRole, Tap
from salience_service.bundle.tensors import (
    COLUMNS,
    COTANGENT,
    DIFFERENCES,
    FILLS,
    IMAGE_OF,
    IMAGES,
    KEEP,
    LOGITS,
    MAPS,
    MASKS,
    NORMALISE,
    ROWS,
    SCALE,
    SHIFT,
    TAP,
    gradient_of,
)
from salience_service.interpolation import interpolation_matrix
from salience_service.runtime.session import Device, Execution, Session


class Trial:
    """The written graphs, each session opened when first needed; from taps, closed after use."""

    def __init__(self, directory: Path, taps: Sequence[Tap], graphs: Sequence[Graph]) -> None:
        self.taps = tuple(taps)
        self.tails = tuple(g for g in graphs if g.role is GraphRole.TAIL)
        self.tail_gradients = tuple(g for g in graphs if g.role is GraphRole.TAIL_GRADIENT)
        self._directory = directory
        self._paths = {g.role: g.path for g in graphs if g.role not in FROM_A_TAP}
        self._forward = self._open(self._paths[GraphRole.FORWARD])
        self._masked = self._open(self._paths[GraphRole.MASKED])
        self._pixel_masked = self._open(self._paths[GraphRole.PIXEL_MASKED])

    @property
    def has_gradients(self) -> bool:
        """Whether the source could be differentiated."""
        return GraphRole.GRADIENT in self._paths

    def forward(self, images: FloatArray, outputs: Sequence[str] = ()) -> dict[str, FloatArray]:
        """`logits` and each tap's output, and any further outputs, of images [N, C, H, W]."""
        names = list(dict.fromkeys([LOGITS, *(tap.output for tap in self.taps), *outputs]))
        return dict(
            zip(names, self._forward.run({IMAGES: images}, names, Execution()), strict=True)
        )

    def masked(self, image: FloatArray, rows: MaskRows) -> FloatArray:
        """Logits [n, K] of the rows of an image [1, C, H, W], filled with zeros."""
        return self._masked.run(_row_feeds(image, rows), [LOGITS], Execution())[0]

    def pixel_masked(self, image: FloatArray, masks: FloatArray) -> FloatArray:
        """Logits [n, K] of an image [1, C, H, W] under masks [n, H, W], filled with zeros."""
        feeds: dict[str, NDArray[np.generic]] = {
            **_one_image(image, len(masks)),
            MASKS: masks,
        }
        return self._pixel_masked.run(feeds, [LOGITS], Execution())[0]

    def gradient(self, images: FloatArray, cotangents: FloatArray) -> dict[str, FloatArray]:
        """Gradients by tensor: `images` [N, C, H, W], and each tap by its output's name."""
        names = list(dict.fromkeys([IMAGES, *(tap.output for tap in self.taps)]))
        feeds = {IMAGES: images, COTANGENT: cotangents}
        found = self._gradient.run(feeds, [gradient_of(name) for name in names], Execution())
        return dict(zip(names, found, strict=True))

    def masked_gradient(
        self, image: FloatArray, rows: MaskRows, cotangents: FloatArray
    ) -> FloatArray:
        """`d_maps` [n, h, w] of the rows of an image [1, C, H, W], filled with zeros."""
        feeds = {**_row_feeds(image, rows), COTANGENT: cotangents}
        return self._masked_gradient.run(feeds, [gradient_of(MAPS)], Execution())[0]

    def tap_of(self, graph: Graph) -> Tap:
        """The tap where a graph begins."""
        return next(tap for tap in self.taps if tap.name == graph.tap)

    def tapped(self, graph: Graph, images: FloatArray) -> dict[str, FloatArray]:
        """What a graph that begins at a tap takes of images: `tap` [N, …], and what goes around."""
        clean = self.forward(images, graph.live)
        return {
            TAP: clean[self.tap_of(graph).output],
            **{name: clean[name] for name in graph.live},
        }

    def tail(self, graph: Graph) -> Callable[[Mapping[str, FloatArray]], FloatArray]:
        """The tail, its session open: of what is tapped, every channel kept, logits [N, K]."""
        session, channels = self._open(graph.path), self.tap_of(graph).channels

        def run(tapped: Mapping[str, FloatArray]) -> FloatArray:
            rows = len(tapped[TAP])
            feeds: dict[str, NDArray[np.generic]] = {
                **tapped,
                IMAGE_OF: np.arange(rows),
                KEEP: np.ones((rows, channels), np.float32),
            }
            return session.run(feeds, [LOGITS], Execution())[0]

        return run

    def tail_gradient(
        self, graph: Graph, tapped: Mapping[str, FloatArray], cotangents: FloatArray
    ) -> FloatArray:
        """The gradients to the tap where the graph begins, [N, …], of what is tapped."""
        feeds = {**tapped, COTANGENT: cotangents}
        return self._open(graph.path).run(feeds, [gradient_of(TAP)], Execution())[0]

    @cached_property
    def _gradient(self) -> Session:
        return self._open(self._paths[GraphRole.GRADIENT])

    @cached_property
    def _masked_gradient(self) -> Session:
        return self._open(self._paths[GraphRole.MASKED_GRADIENT])

    def _open(self, name: str) -> Session:
        return Session(self._directory / name, Device())


def _row_feeds(image: FloatArray, rows: MaskRows) -> dict[str, NDArray[np.generic]]:
    """What the masked graphs take for rows of one image, filled with zeros."""
    return {
        **_one_image(image, len(rows.maps)),
        MAPS: rows.maps,
        ROWS: interpolation_matrix(image.shape[2], rows.maps.shape[1]),
        COLUMNS: interpolation_matrix(image.shape[3], rows.maps.shape[2]),
        NORMALISE: rows.normalise,
        SCALE: rows.scale,
        SHIFT: rows.shift,
    }


def _one_image(image: FloatArray, rows: int) -> dict[str, NDArray[np.generic]]:
    """What says that all rows are of one image."""
    return {
        DIFFERENCES: image,
        FILLS: np.zeros_like(image),
        IMAGE_OF: np.zeros(rows, np.int64),
    }
