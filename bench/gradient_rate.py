"""Milliseconds of forward and backward in ONNX Runtime beside those of the forward alone.

EfficientNet-Lite0, one image a call, the service's own sessions: the bundle's `gradient` graph,
cut to logits and the gradient to the image, beside its `forward` graph cut to the logits. One
run is ten calls; `control` is the forward against itself. Taken in one process, since each
call is too short for two.
"""

from collections.abc import Callable

import numpy as np

from bench.bare import cut_session
from bench.pairs import COLUMNS, CONTROL, in_pairs, judged
from bench.report import Figure, Part, Table
from bench.workplace import MODEL, Workplace, cat
from salience_service.bundle.manifest import GraphRole
from salience_service.bundle.reader import open_bundle
from salience_service.image.pixels import ImageLimits
from salience_service.image.prepare import prepare
from salience_service.request import EncodedImage

MOST = 3.0
CALLS = 10


def measure(place: Workplace) -> Part:
    """The ratio, with the control."""
    bundle = open_bundle(place.models / MODEL / "1")
    image = prepare(EncodedImage(cat()), bundle.manifest.input, ImageLimits()).tensor[None]
    cotangent = np.zeros((1, bundle.manifest.head.classes), np.float32)
    cotangent[0, 282] = 1
    feeds = {"images": image}

    def calls(
        role: GraphRole, outputs: list[str], feeds: dict[str, np.ndarray]
    ) -> Callable[[], None]:
        graph = bundle.manifest.graph(role)
        assert graph is not None
        session = cut_session(bundle.path(graph.path), outputs, 1)

        def run() -> None:
            for _ in range(CALLS):
                session.run(outputs, feeds)

        return run

    forward = calls(GraphRole.FORWARD, ["logits"], feeds)
    both = calls(GraphRole.GRADIENT, ["logits", "d_images"], {**feeds, "cotangent": cotangent})
    taken = in_pairs({"forward and backward": both}, forward, place.pairs)
    cost, room = taken["forward and backward"].cost.median, taken[CONTROL].cost.half_spread
    return Part(
        "gradient_rate",
        __doc__ or "",
        (
            Figure(
                "forward and backward ÷ forward", cost, "×", f"≤ {MOST}", judged(MOST - cost, room)
            ),
            Figure("control: forward ÷ forward", taken[CONTROL].cost.median, "×"),
            Figure("forward", 1e3 * float(np.median(taken[CONTROL].baseline)) / CALLS, "ms"),
        ),
        (Table(f"Pairs of {CALLS} calls", COLUMNS, tuple(p.row(n) for n, p in taken.items())),),
    )
