"""Seconds of Opti-CAM: by the torch fallback beside a plain tuned torch loop, by ONNX beside both.

One run is a whole Opti-CAM of EfficientNet-Lite0 at tap 320×7×7 with `stop=none`, the same
number of gradients on every side. `torch` and `onnx` iterate `Engine.explain` on the model's own
input with that gradient side: clean run, partial maps, finished map and scores included. The
plain loop (bench/plain_opti_cam.py) runs torch's eager module, its features taken beforehand.
`eight` is eight Opti-CAMs by ONNX asked for at once, beside eight in turn. Each lives in a
process of its own, loaded and warmed before, and only one is busy at a time. `control` is the
baseline against itself.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.apart import apart
from bench.pairs import COLUMNS, CONTROL, Pairs, in_pairs, judged
from bench.plain_opti_cam import clean_run, climb, tuned
from bench.report import Figure, Part, Table
from bench.workplace import LINEAR_TAP, MODEL, Workplace, cat
from salience_service.config import ServeConfig
from salience_service.config.bundles import UNSIGNED_ALLOWED
from salience_service.control import Control
from salience_service.engine import Engine
from salience_service.events import Finished, FinishedMap
from salience_service.image.pixels import ImageLimits
from salience_service.image.prepare import prepare
from salience_service.request import (
    ClassRef,
    EncodedImage,
    ExplainOrder,
    GradientChoice,
    MethodCall,
    PreparedImage,
    PresentTarget,
)
from salience_service.scores.faithfulness import MASKED

MOST_OF_PLAIN, LEAST_OF_TORCH, MOST_OF_EIGHT = 1.1, 1.7, 1.02
TIGER_CAT = 282
EIGHT = 8


def measure(place: Workplace) -> Part:
    """The fallback by the plain loop, ONNX by the fallback, eight at once by eight in turn."""
    steps = 10 if place.quick else 30
    with (
        apart(_plain, steps) as plain,
        apart(_engine, place.models, GradientChoice.TORCH, steps) as torch_side,
        apart(_engine, place.models, GradientChoice.ONNX, steps) as onnx_side,
        apart(_eight, place.models, steps // 3, EIGHT) as at_once,
        apart(_eight, place.models, steps // 3, 1) as in_turn,
    ):
        plain_pairs = in_pairs({"torch": torch_side}, plain, place.pairs)
        torch_pairs = in_pairs({"onnx": onnx_side}, torch_side, place.pairs)
        eight_pairs = in_pairs({"eight": at_once}, in_turn, place.pairs)
    rows = [
        pairs.row(name)
        for each in (plain_pairs, torch_pairs, eight_pairs)
        for name, pairs in each.items()
    ]
    title = f"Pairs, {steps + 1} gradients an explanation ({steps // 3 + 1} for `eight`)"
    return Part(
        "opti_cam_rate",
        __doc__ or "",
        (
            _at_most(
                "Opti-CAM, torch fallback ÷ plain torch loop, seconds",
                plain_pairs,
                "torch",
                MOST_OF_PLAIN,
            ),
            _at_least(
                "Opti-CAM, ONNX side ÷ torch fallback, speed",
                torch_pairs,
                "onnx",
                LEAST_OF_TORCH,
            ),
            _at_most(
                "eight Opti-CAMs at once ÷ in turn, seconds",
                eight_pairs,
                "eight",
                MOST_OF_EIGHT,
            ),
        ),
        (Table(title, COLUMNS, tuple(rows)),),
    )


def _at_most(name: str, pairs: dict[str, Pairs], subject: str, most: float) -> Figure:
    """The subject's seconds ÷ the baseline's, beside the limit."""
    cost, room = pairs[subject].cost.median, pairs[CONTROL].cost.half_spread
    return Figure(name, cost, "", f"≤ {most}", judged(most - cost, room))


def _at_least(name: str, pairs: dict[str, Pairs], subject: str, least: float) -> Figure:
    """The subject's speed ÷ the baseline's, beside the target."""
    speed, room = pairs[subject].speed.median, pairs[CONTROL].speed.half_spread
    return Figure(name, speed, "×", f"≥ {least}", judged(speed - least, room))


def _plain(steps: int) -> Callable[[], object]:
    import torch

    from salience_export.zoo import efficientnet_lite0

    network, contract = efficientnet_lite0()
    network = tuned(network)
    image = prepare(EncodedImage(cat()), contract.input, ImageLimits()).tensor
    tensor, fill = torch.tensor(image), torch.zeros(3, 1, 1)
    layer = network.get_submodule(LINEAR_TAP)
    features = clean_run(network, tensor, {LINEAR_TAP: layer})[LINEAR_TAP]
    return lambda: climb(network, tensor, features, TIGER_CAT, fill, steps)


def _config(side: GradientChoice) -> ServeConfig:
    early = side is GradientChoice.TORCH
    return ServeConfig(load_torch_at_start=early, bundles=UNSIGNED_ALLOWED)


def _engine(models: Path, side: GradientChoice, steps: int) -> Callable[[], object]:
    engine = Engine.open(models, _config(side))
    order = _order(engine, side, steps)
    return lambda: _explain(engine, order, steps)


def _eight(models: Path, steps: int, at_a_time: int) -> Callable[[], object]:
    """Eight explanations by ONNX, some at a time."""
    engine = Engine.open(models, _config(GradientChoice.ONNX))
    order = _order(engine, GradientChoice.ONNX, steps)
    threads = ThreadPoolExecutor(at_a_time)

    def run() -> None:
        for done in [threads.submit(_explain, engine, order, steps) for _ in range(EIGHT)]:
            done.result()

    return run


def _order(engine: Engine, side: GradientChoice, steps: int) -> ExplainOrder:
    contract = engine.model(MODEL).manifest.input
    return ExplainOrder(
        MODEL,
        PreparedImage(prepare(EncodedImage(cat()), contract, ImageLimits()).tensor),
        (MethodCall("opti-cam", {"iterations": steps, "stop": "none"}, (LINEAR_TAP,)),),
        targets=(PresentTarget(ClassRef(TIGER_CAT)),),
        scores=MASKED,
        gradient_side=side,
    )


def _explain(engine: Engine, order: ExplainOrder, steps: int) -> None:
    events = list(engine.explain(order, Control()))
    assert isinstance(events[-1], Finished)
    done = [event.iterations for event in events if isinstance(event, FinishedMap)]
    assert done == [steps], done
