"""Seconds per iteration of Opti-CAM by the torch fallback, beside a plain tuned torch loop.

One run is a whole Opti-CAM of EfficientNet-Lite0 at tap 320×7×7 with `stop=none`, the same
number of gradients on both sides. `engine` iterates `Engine.explain` in this process on the
model's own input, torch loaded before: clean run, partial maps, finished map and scores
included. The plain loop (bench/plain_opti_cam.py) runs torch's eager module in the same
process, with the same threads, its features taken beforehand. Only one of the two is busy at a
time. Seconds are the subject's ÷ the plain loop's; `control` is the plain loop against itself.
"""

import torch

from bench.pairs import COLUMNS, CONTROL, in_pairs, judged
from bench.plain_opti_cam import clean_run, climb, tuned
from bench.report import Figure, Part, Table
from bench.workplace import LINEAR_TAP, MODEL, Workplace, cat
from salience_export.zoo import efficientnet_lite0
from salience_service.config import ServeConfig
from salience_service.control import Control
from salience_service.engine import Engine
from salience_service.events import Finished, FinishedMap
from salience_service.image.pixels import ImageLimits
from salience_service.image.prepare import prepare
from salience_service.request import (
    ClassRef,
    EncodedImage,
    ExplainOrder,
    MethodCall,
    PreparedImage,
    PresentTarget,
    ScoreKind,
)

MOST = 1.1
TIGER_CAT = 282


def measure(place: Workplace) -> Part:
    """The fallback's seconds beside the plain loop's, with the control."""
    iterations = 10 if place.quick else 30
    network, contract = efficientnet_lite0()
    network = tuned(network)
    image = prepare(EncodedImage(cat()), contract.input, ImageLimits(2**20, 10**6)).tensor
    order = ExplainOrder(
        MODEL,
        PreparedImage(image),
        (MethodCall("opti-cam", {"iterations": iterations, "stop": "none"}, (LINEAR_TAP,)),),
        targets=(PresentTarget(ClassRef(TIGER_CAT)),),
        scores=tuple(ScoreKind),
    )
    tensor, fill = torch.tensor(image), torch.zeros(3, 1, 1)
    layer = network.get_submodule(LINEAR_TAP)
    features = clean_run(network, tensor, {LINEAR_TAP: layer})[LINEAR_TAP]
    engine = Engine.open(place.models, ServeConfig(load_torch_at_start=True))
    try:
        taken = in_pairs(
            {"engine": lambda: _through_engine(engine, order, iterations)},
            lambda: climb(network, tensor, features, TIGER_CAT, fill, iterations),
            place.pairs,
        )
    finally:
        engine.close()
    cost, room = taken["engine"].cost.median, taken[CONTROL].cost.half_spread
    figures = (
        Figure(
            "Opti-CAM's fallback ÷ plain torch loop, seconds per iteration",
            cost,
            "",
            f"≤ {MOST}",
            judged(cost <= MOST, room),
        ),
        Figure("control: plain ÷ plain", taken[CONTROL].cost.median, ""),
        Figure(
            "plain loop",
            1e3 * sorted(taken[CONTROL].baseline)[place.pairs // 2] / (iterations + 1),
            "ms/iteration",
        ),
    )
    title = f"Pairs of {iterations + 1} gradients, {torch.get_num_threads()} threads of torch"
    rows = tuple(pairs.row(name) for name, pairs in taken.items())
    return Part("opti_cam_rate", __doc__ or "", figures, (Table(title, COLUMNS, rows),))


def _through_engine(engine: Engine, order: ExplainOrder, iterations: int) -> None:
    events = list(engine.explain(order, Control()))
    assert isinstance(events[-1], Finished)
    done = [event.iterations for event in events if isinstance(event, FinishedMap)]
    assert done == [iterations], done
