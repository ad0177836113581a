"""The shapes at which a model's graphs run: those that methods send, at the sizes of batches."""

import pytest

from salience_service.bundle.graph_bytes import graph_bytes
from salience_service.bundle.manifest import GraphRole
from salience_service.bundle.reader import Bundle
from salience_service.models.fixed_shapes import FixedShapes, map_shapes, tail_shapes
from salience_service.models.tuning import Tuning
from salience_service.runtime.graph_shape import GraphShape
from salience_service.runtime.providers import engine_profile

SIDES = (4, 8, 16, 32)
TUNING = Tuning(masked={(8, 8): 16}, pixel_masked=2)


def inputs(bundle: Bundle, role: GraphRole, tap: str = "") -> dict[str, tuple[str | int, ...]]:
    graph = bundle.manifest.graph(role, tap)
    assert graph is not None
    return graph_bytes(bundle.path(graph.path), {}).inputs()


def test_maps_are_as_large_as_taps_or_as_the_image(tiny_bundle: Bundle) -> None:
    assert map_shapes(tiny_bundle.manifest) == [(side, side) for side in SIDES]


def test_every_shape_of_maps_has_its_own_batch(tiny_bundle: Bundle) -> None:
    shapes = FixedShapes(tiny_bundle.manifest, 4, TUNING)
    rows = [16 if side == 8 else 4 for side in SIDES]
    assert shapes.masked() == [
        GraphShape({"N": n, "h": side, "w": side}, {"R": (1, n), "S": (1, n)})
        for n, side in zip(rows, SIDES, strict=True)
    ]
    assert shapes.pixel_masked() == [GraphShape({"N": 2}, {"R": (1, 2), "S": (1, 2)})]
    assert tail_shapes(32) == [GraphShape({"N": 32}, {"R": (1, 32), "S": (1, 32)})]


@pytest.mark.parametrize("role", [GraphRole.FORWARD, GraphRole.MASKED, GraphRole.PIXEL_MASKED])
def test_the_graphs_of_a_bundle_leave_no_size_open(tiny_bundle: Bundle, role: GraphRole) -> None:
    # TensorRT would build when it first meets a shape: while somebody waits.
    shapes = FixedShapes(tiny_bundle.manifest, 4, TUNING)
    known = {
        GraphRole.FORWARD: shapes.forward(),
        GraphRole.MASKED: shapes.masked(),
        GraphRole.PIXEL_MASKED: shapes.pixel_masked(),
    }
    for shape in known[role]:
        profile = engine_profile(inputs(tiny_bundle, role), shape)
        assert ("image_of:" in profile.get("trt_profile_max_shapes", "")) == bool(shape.ranges)


def test_the_tails_of_a_bundle_leave_nothing_open_but_their_sources(tiny_bundle: Bundle) -> None:
    for tap in tiny_bundle.manifest.taps:
        (shape,) = tail_shapes(32)
        profile = engine_profile(inputs(tiny_bundle, GraphRole.TAIL, tap.name), shape)
        least, most = (profile[f"trt_profile_{end}_shapes"].split(",") for end in ("min", "max"))
        assert {each.partition(":")[2].partition("x")[0] for each in least} == {"1"}
        assert {each.partition(":")[2].partition("x")[0] for each in most} == {"32"}


def test_a_shape_says_its_sizes_in_one_order() -> None:
    one = GraphShape({"w": 7, "N": 8}, {"R": (1, 8)})
    other = GraphShape({"N": 8, "w": 7}, {"R": (1, 8)})
    assert str(one) == str(other) == "N=8 R=1..8 w=7"
