"""AD, AI and AG of Opti-CAM, Score-CAM and Fake-CAM over real photographs, and a torch loop's.

The first 20 `quick` photographs of the shared ImageNet folder, true class, EfficientNet-Lite0,
taps 320×7×7 (`_blocks.15._bn2`) and 1280×7×7 (`_swish#1`), fills mean and black. Maps come
from the engine with each method's own options; scores with the fill of the map are the
engine's. `other fill` scores the same maps with the other fill (cross-fill), which shows how
much of a gain is the fill's: the same graph and formula on the raw map; the same path over the
map's own fill must give the engine's scores, or the part fails.

The torch loop (bench/plain_opti_cam.py, independent of the service, eager module) does the
100 steps of the paper at tap 320×7×7 with fill mean, scored by torch; ours beside it, by either
gradient side, has `stop=none`. A hundred steps amplify last bits: two runs of one loop on
images a millionth apart differ by points on single photographs. So each photograph comes in
copies with that much noise, the same for all, and `spread` tells how far means of one copy
lie apart. Means over photographs, in percent; AD ↓, AI ↑, AG ↑.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from bench.plain_opti_cam import clean_run, climb, mask_of, tuned
from bench.report import Figure, Part, Table
from bench.workplace import (
    LAST_TAP,
    LINEAR_TAP,
    MODEL,
    Photograph,
    Workplace,
    quick_photographs,
)
from salience_service.bundle.manifest import InputContract
from salience_service.config import ServeConfig
from salience_service.config.bundles import UNSIGNED_ALLOWED
from salience_service.control import Control
from salience_service.engine import Engine
from salience_service.events import Finished, FinishedMap, MapScores
from salience_service.image.fill import fill_tensor
from salience_service.image.pixels import ImageLimits
from salience_service.image.prepare import prepare
from salience_service.request import (
    BlackFill,
    ClassRef,
    EncodedImage,
    ExplainOrder,
    Fill,
    Geometry,
    GradientChoice,
    MapFormat,
    MeanFill,
    MethodCall,
    PreparedImage,
    PresentTarget,
    Scale,
    ScoreKind,
)
from salience_service.row_graphs.sources import MaskedImage
from salience_service.runtime.session import Execution
from salience_service.scheduling.row_graph import RowSpan
from salience_service.scores.faithfulness import MASKED, faithfulness
from salience_service.targets.target import Target, TargetKind

Triple = tuple[float, float, float]
"""AD, AI, AG of one map."""
KINDS = MASKED
FILLS: Mapping[str, Fill] = {"mean": MeanFill(), "black": BlackFill()}
TAPS = {LINEAR_TAP: "320×7×7", LAST_TAP: "1280×7×7"}
METHODS = (
    MethodCall("fake-cam"),
    *(MethodCall(name, taps=(tap,)) for name in ("score-cam", "opti-cam") for tap in TAPS),
)
EXACT = (MethodCall("opti-cam", {"iterations": 100, "stop": "none"}, (LINEAR_TAP,)),)
SIDES = {
    "opti-cam, 100 steps, torch side": GradientChoice.TORCH,
    "opti-cam, 100 steps, onnx side": GradientChoice.ONNX,
}
SUBJECT = ("opti-cam", "320×7×7", "mean")
PHOTOGRAPHS, STEPS, COPIES = 20, 100, 6
LOOP = "torch loop, 100 steps, best map"
NOISE = 1e-6
"""Added to the model's own numbers, which lie around ±2."""


@dataclass
class Scored:
    """Scores of one method's maps, photograph by photograph, by own and by other fill."""

    own: list[Triple] = field(default_factory=list)
    other: list[Triple] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


def measure(place: Workplace) -> Part:
    """The table of all methods, the comparison with the torch loop, and the targets."""
    photographs = quick_photographs(2 if place.quick else PHOTOGRAPHS)
    copies = 1 if place.quick else COPIES
    engine = Engine.open(
        place.models, ServeConfig(load_torch_at_start=True, bundles=UNSIGNED_ALLOWED)
    )
    found: dict[tuple[str, str, str], Scored] = {}
    try:
        for photograph in photographs:
            for fill in FILLS:
                _explain(engine, photograph, fill, found)
        ours = _by_engine(engine, photographs, copies)
    finally:
        engine.close()
    loop = ours | _loop(place.manifest.input, photographs, copies)
    rows = [_row(*name, scored) for name, scored in found.items()]
    columns = (
        "method",
        "tap",
        "fill",
        *(f"{word}, {fill} fill" for fill in ("own", "other") for word in ("AD", "AI", "AG")),
        "s/photograph",
    )
    title = f"Means over {len(photographs)} photographs, true class"
    return Part(
        "opti_cam_quality",
        __doc__ or "",
        tuple(_figures(found, loop)),
        (Table(title, columns, tuple(rows)), _copies_table(loop, copies)),
    )


def _explain(
    engine: Engine,
    photograph: Photograph,
    fill: str,
    found: dict[tuple[str, str, str], Scored],
) -> None:
    """Explains one photograph with one fill, and adds the scores to what was found."""
    order = ExplainOrder(
        MODEL,
        EncodedImage(photograph.data),
        METHODS,
        targets=(PresentTarget(ClassRef(photograph.true_class)),),
        fill=FILLS[fill],
        scores=KINDS,
        format=MapFormat(geometry=Geometry.FEATURE, scale=Scale.RAW),
        partial_maps=False,
    )
    events = list(engine.explain(order, Control()))
    maps = [event for event in events if isinstance(event, FinishedMap)]
    scores = [_triple(event.scores) for event in events if isinstance(event, MapScores)]
    (other,) = FILLS.keys() - {fill}
    again = _scored(engine, photograph, maps, fill)
    if not np.allclose(again, scores, atol=1e-3):
        raise RuntimeError(f"scored again, {photograph.name} differs: {again} from {scores}")
    crossed = _scored(engine, photograph, maps, other)
    finished = events[-1]
    assert isinstance(finished, Finished)
    for map_, own, cross, seconds in zip(maps, scores, crossed, finished.map_seconds, strict=True):
        tap = TAPS[map_.provenance.taps[0]] if map_.provenance.taps else ""
        scored = found.setdefault((map_.provenance.method, tap, fill), Scored())
        scored.own.append(own)
        scored.other.append(cross)
        scored.seconds.append(seconds)


def _scored(
    engine: Engine, photograph: Photograph, maps: Sequence[FinishedMap], fill: str
) -> list[Triple]:
    """Scores of raw maps over a photograph with a fill, on the engine's masked graph."""
    model = engine.model(MODEL)
    contract, head = model.manifest.input, model.manifest.head
    image = _prepared(photograph, contract)
    behind = fill_tensor(FILLS[fill], image, contract)
    masked = MaskedImage(image - behind, behind)
    clean = model.forward(image, (), Execution()).logits
    target = Target("", TargetKind.CLASS, photograph.true_class, head.kind)
    found = []
    for map_ in maps:
        encoded = map_.encoded
        raw = np.frombuffer(encoded.data, "<f4").reshape(1, encoded.height, encoded.width)
        logits = model.masked.score([RowSpan(masked, raw)], Execution())[0]
        found.append(_triple(faithfulness(KINDS, target, clean, logits).scores))
    return found


def _by_engine(engine: Engine, photographs: Sequence[Photograph], copies: int) -> dict[str, Scored]:
    """A hundred steps by either gradient side of the engine."""
    contract = engine.model(MODEL).manifest.input
    found = {name: Scored() for name in SIDES}
    for photograph, image in _copied(contract, photographs, copies):
        for name, side in SIDES.items():
            order = ExplainOrder(
                MODEL,
                PreparedImage(image),
                EXACT,
                targets=(PresentTarget(ClassRef(photograph.true_class)),),
                scores=KINDS,
                partial_maps=False,
                gradient_side=side,
            )
            events = engine.explain(order, Control())
            (scores,) = [event.scores for event in events if isinstance(event, MapScores)]
            found[name].own.append(_triple(scores))
    return found


def _loop(
    contract: InputContract, photographs: Sequence[Photograph], copies: int
) -> dict[str, Scored]:
    """The independent loop: maps by `climb`, scores by torch in float64."""
    from salience_export.zoo import efficientnet_lite0

    network = tuned(efficientnet_lite0()[0])
    layer = {LINEAR_TAP: network.get_submodule(LINEAR_TAP)}
    fill = torch.zeros(contract.channels, 1, 1)
    rules = {LOOP: "best", "torch loop, 100 steps, last map": "last"}
    found = {name: Scored() for name in rules}
    for photograph, values in _copied(contract, photographs, copies):
        image = torch.tensor(values)
        features = clean_run(network, image, layer)[LINEAR_TAP]
        climbed = climb(network, image, features, photograph.true_class, fill, STEPS)
        for name, which in rules.items():
            masked = image * mask_of(getattr(climbed, which), image.shape[1:])
            found[name].own.append(_by_torch(network, image, masked, photograph.true_class))
    return found


def _copied(
    contract: InputContract, photographs: Sequence[Photograph], copies: int
) -> Iterator[tuple[Photograph, np.ndarray]]:
    """Every photograph in every copy: all photographs of a copy, then the next copy's."""
    for copy in range(copies):
        random = np.random.default_rng(copy)
        for photograph in photographs:
            image = _prepared(photograph, contract)
            noise = random.normal(0, NOISE, image.shape).astype(np.float32)
            yield photograph, image + noise


def _by_torch(
    network: torch.nn.Module, image: torch.Tensor, masked: torch.Tensor, target: int
) -> Triple:
    """AD, AI, AG from the definitions."""
    with torch.no_grad():
        p, o = torch.softmax(network(torch.stack((image, masked))).double(), 1)[:, target].tolist()
    return 100 * max(0.0, p - o) / p, 100.0 * (o > p), 100 * max(0.0, o - p) / (1 - p)


def _prepared(photograph: Photograph, contract: InputContract) -> np.ndarray:
    return prepare(EncodedImage(photograph.data), contract, ImageLimits(2**22, 10**7)).tensor


def _triple(scores: Mapping[ScoreKind, float]) -> Triple:
    drop, increase, gain = (
        scores[kind]
        for kind in (ScoreKind.AVERAGE_DROP, ScoreKind.AVERAGE_INCREASE, ScoreKind.AVERAGE_GAIN)
    )
    return drop, increase, gain


def _mean(triples: Sequence[Triple]) -> Triple:
    drop, increase, gain = np.mean(triples, axis=0)
    return float(drop), float(increase), float(gain)


def _row(method: str, tap: str, fill: str, scored: Scored) -> tuple[str, ...]:
    own = [f"{value:.2f}" for value in _mean(scored.own)]
    other = [f"{value:.2f}" for value in _mean(scored.other)] if scored.other else ["", "", ""]
    seconds = f"{np.mean(scored.seconds):.2f}" if scored.seconds else ""
    return (method, tap, fill, *own, *other, seconds)


def _copies_table(loop: Mapping[str, Scored], copies: int) -> Table:
    """Means over all copies, and the standard deviation of AG's mean from copy to copy."""
    rows = []
    for name, scored in loop.items():
        gains = np.array(scored.own)[:, 2].reshape(copies, -1).mean(1)
        rows.append((name, *(f"{value:.2f}" for value in _mean(scored.own)), f"{gains.std():.2f}"))
    title = f"A hundred steps, 320×7×7, fill mean, {copies} copies of each photograph"
    return Table(title, ("loop", "AD", "AI", "AG", "AG's spread"), tuple(rows))


def _figures(
    found: Mapping[tuple[str, str, str], Scored], loop: Mapping[str, Scored]
) -> list[Figure]:
    drop, increase, gain = _mean(found[SUBJECT].own)
    what = "Opti-CAM, 320×7×7, mean fill"
    score_cam = _mean(found["score-cam", *SUBJECT[1:]].own)[2]
    whole = len(found[SUBJECT].own) == PHOTOGRAPHS
    return [
        Figure(f"AD of {what}", drop, "%", "≤ 1", drop <= 1),
        Figure(f"AI of {what}", increase, "%", "≥ 95", increase >= 95),
        Figure(f"AG of {what}", gain, "%", "≥ 50", gain >= 50),
        Figure("AG of Score-CAM, same tap and fill", score_cam, "%"),
        *(_apart(loop, name, LOOP, whole=whole) for name in SIDES),
        _apart(loop, *SIDES, whole=whole),
    ]


def _apart(loop: Mapping[str, Scored], one: str, other: str, *, whole: bool) -> Figure:
    """How far the means of two loops lie apart; no verdict over fewer photographs."""
    pairs = zip(_mean(loop[one].own), _mean(loop[other].own), strict=True)
    widest = max(abs(mine - theirs) for mine, theirs in pairs)
    name = f"widest of AD, AI, AG: {one} from {other}"
    return Figure(name, widest, "points", f"≤ 1 over {PHOTOGRAPHS}", widest <= 1 if whole else None)
