"""Which taps a method reads, and how many rows it says it will ask for."""

from dataclasses import replace

import pytest
from torch import nn

from salience_service.bundle.manifest import (
    ColourOrder,
    Golden,
    Head,
    InputContract,
    Interpolation,
    Manifest,
    OutputKind,
    Resize,
    ResizeRule,
    Source,
    Tap,
    TokenLayout,
)
from salience_service.errors import InvalidRequest, NotPossible
from salience_service.methods import METHODS, taps_for
from salience_service.methods.method import Extent
from tests.support.answering import Scene, class_target, hear, pyramid

TAPS = (
    Tap("stem", 16, 56, 56, "a"),
    Tap("block1", 24, 28, 28, "b"),
    Tap("block2", 24, 28, 28, "c"),
    Tap("tokens", 192, 14, 14, "d", TokenLayout.TOKENS),
    Tap("block3", 320, 7, 7, "e"),
    Tap("head", 1280, 7, 7, "f"),
)
MANIFEST = Manifest(
    name="model",
    version="1",
    input=InputContract(
        3, 224, 224, ColourOrder.RGB, 1, (0, 0, 0), (1, 1, 1),
        Resize(ResizeRule.STRETCH, Interpolation.BILINEAR),
    ),
    head=Head(OutputKind.SOFTMAX, 10),
    taps=TAPS,
    graphs=(),
    files=(),
    golden=Golden("golden.npz", 1e-4),
    source=Source("onnx", "0", 0.0),
)  # fmt: skip


def names(method: str, *named: str, manifest: Manifest = MANIFEST) -> list[str]:
    return [tap.name for tap in taps_for(METHODS[method], manifest, named)]


def test_a_method_of_one_tap_reads_the_last_by_default() -> None:
    assert names("score-cam") == names("opti-cam") == ["head"]
    assert names("score-cam", manifest=replace(MANIFEST, taps=TAPS[:4])) == ["tokens"]


def test_a_method_of_many_taps_reads_the_last_of_each_resolution_coarse_to_fine() -> None:
    assert names("poly-cam") == ["head", "tokens", "block2", "stem"]


def test_named_taps_are_put_from_coarse_to_fine_whatever_their_order() -> None:
    assert names("poly-cam", "stem", "block3", "block1") == ["block3", "block1", "stem"]
    assert names("poly-cam", "block3", "head") == ["head", "block3"]
    assert names("score-cam", "block1") == ["block1"]


def test_a_method_of_no_tap_reads_none() -> None:
    assert names("fake-cam") == []
    assert names("fake-cam", manifest=replace(MANIFEST, taps=())) == []


@pytest.mark.parametrize(
    ("method", "named", "words"),
    [
        ("score-cam", ["block9"], "unknown tap 'block9': the taps of model are stem, block1"),
        ("score-cam", ["stem", "head"], "score-cam reads one tap, 2 named"),
        ("poly-cam", ["stem", "stem"], "named twice"),
        ("fake-cam", ["stem"], "fake-cam reads no tap, 1 named"),
    ],
)
def test_unfit_taps_are_refused_by_name(method: str, named: list[str], words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        taps_for(METHODS[method], MANIFEST, named)


def test_a_model_without_taps_is_told_how_to_get_one() -> None:
    with pytest.raises(NotPossible, match="export it again with --tap"):
        names("poly-cam", manifest=replace(MANIFEST, taps=()))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("fake-cam", {}),
        ("score-cam", {}),
        ("poly-cam", {"weights": "plus"}),
        ("poly-cam", {"weights": "minus"}),
        ("poly-cam", {"weights": "plus-minus"}),
        ("opti-cam", {"iterations": 6}),
    ],
)
def test_a_method_asks_for_as_many_rows_as_it_said(name: str, options: dict[str, str]) -> None:
    method = METHODS[name]
    every = ["coarse", "middle", "fine"]
    taps = {"NONE": [], "ONE": every[:1], "FUSED": every[:1], "MANY": every}[method.taps.name]
    scene, target = Scene.of(pyramid(nn.Softplus())), class_target(1)
    base = scene.base(target, *taps)
    resolved = method.options(**options)
    heard = hear(method.run(base, resolved), scene, target)
    channels = tuple(len(features) for features in base.features.values())
    extent = Extent(channels, base.height, base.width)
    assert heard.rows + heard.gradients == method.rows(extent, resolved)
    assert (heard.gradients > 0) is method.needs_gradient
