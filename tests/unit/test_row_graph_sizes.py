"""Row graphs at their batch sizes: every call has the rows of its shape's size, padded."""

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from salience_service.bundle.tensors import KEEP, MASKS
from salience_service.row_graphs.masked import MaskedGraph
from salience_service.row_graphs.plain import PlainGraph
from salience_service.row_graphs.sources import MaskedImage, TappedImage
from salience_service.runtime.session import Execution
from salience_service.scheduling.row_graph import RowSpan
from tests.support.serving import MANIFEST

BY_ROW = ("maps", "normalise", "scale", "shift", "masks", "keep")
UNTUNED, SMALL, LARGE = 4, (2, 2), (8, 8)
TUNED = {SMALL: 16, LARGE: 1}


class CountingSession:
    """A session that answers each row with the sum of what it was given, and counts rows."""

    keeps_sources = False

    def __init__(self) -> None:
        self.rows: list[int] = []

    def run(
        self, feeds: Mapping[str, np.ndarray], outputs: Sequence[str], execution: Execution
    ) -> list[np.ndarray]:
        lengths = {len(feeds[name]) for name in BY_ROW if name in feeds}
        (rows,) = lengths
        assert len(feeds["image_of"]) in (1, rows)
        self.rows.append(rows)
        given = next(feeds[name] for name in ("maps", "masks", "keep") if name in feeds)
        return [given.reshape(rows, -1).sum(axis=1, keepdims=True)]


def masked(session: CountingSession) -> MaskedGraph:
    return MaskedGraph(session, MANIFEST.input, UNTUNED, TUNED)  # type: ignore[arg-type]


def image() -> MaskedImage:
    return MaskedImage(np.ones((3, 8, 8), np.float32), np.zeros((3, 8, 8), np.float32))


def maps(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).random(shape, np.float32)


@pytest.mark.parametrize(("shape", "size"), [(SMALL, 16), (LARGE, 1), ((4, 4), UNTUNED)])
def test_maps_of_a_shape_run_at_its_size(shape: tuple[int, int], size: int) -> None:
    session = CountingSession()
    graph = masked(session)
    assert graph.batch_size(shape) == size
    graph.score([RowSpan(image(), maps(1, *shape))], Execution())
    assert session.rows == [size]


@pytest.mark.parametrize("shape", [SMALL, LARGE, (4, 4)])
def test_every_number_of_rows_up_to_the_size_is_padded_and_answered(shape: tuple[int, int]) -> None:
    session = CountingSession()
    graph = masked(session)
    size = graph.batch_size(shape)
    for rows in range(1, size + 1):
        given = maps(rows, *shape)
        sources = [image() for _ in range(rows)]
        spans = [RowSpan(source, given[n : n + 1]) for n, source in enumerate(sources)]
        logits = graph.score(spans, Execution())
        np.testing.assert_allclose(logits[:, 0], given.sum(axis=(1, 2)), rtol=1e-6)
    assert session.rows == [size] * size


def test_sizes_taken_in_turn_leave_each_other_alone() -> None:
    session = CountingSession()
    graph, sources = masked(session), [image(), image()]
    for shape in (SMALL, (4, 4), SMALL, LARGE, SMALL):
        spans = [RowSpan(source, maps(1, *shape)) for source in sources][: graph.batch_size(shape)]
        assert len(graph.score(spans, Execution())) == len(spans)
    assert session.rows == [16, 4, 16, 1, 16]


@pytest.mark.parametrize("size", [1, 3, 64])
def test_the_pixel_graph_and_tails_run_at_their_one_size(size: int) -> None:
    pixels, tail = CountingSession(), CountingSession()
    tapped = TappedImage(np.ones((4, 2, 2), np.float32), {})
    PlainGraph(pixels, size, MASKS).score([RowSpan(image(), maps(1, 8, 8))], Execution())  # type: ignore[arg-type]
    PlainGraph(tail, size, KEEP).score([RowSpan(tapped, maps(1, 4))], Execution())  # type: ignore[arg-type]
    assert (pixels.rows, tail.rows) == ([size], [size])


def test_a_graph_at_another_size_runs_on_the_same_session() -> None:
    session = CountingSession()
    graph = masked(session)
    graph.at(5).score([RowSpan(image(), maps(2, *SMALL))], Execution())
    plain = PlainGraph(session, 2, MASKS)  # type: ignore[arg-type]
    plain.at(7).score([RowSpan(image(), maps(2, 8, 8))], Execution())
    assert session.rows == [5, 7]
    assert (graph.batch_size(SMALL), plain.batch_size((8, 8))) == (16, 2)
