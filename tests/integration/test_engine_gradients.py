"""Gradient methods on real gradient graphs: oracles, torch's side, neighbours, provenance."""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from salience_client import Client, Method, NotPossible, Preprocessed
from salience_service.bundle.manifest import GraphRole
from salience_service.bundle.reader import Bundle
from salience_service.control import Control
from salience_service.engine import Engine
from salience_service.errors import Cancelled
from salience_service.events import (
    Event,
    Finished,
    FinishedMap,
    GradientSide,
    MapScores,
    PartialMap,
    Progress,
)
from salience_service.interpolation import unit_range, upsample
from salience_service.methods import METHODS as TABLE
from salience_service.methods.channels import weighted_sum
from salience_service.request import (
    ExplainOrder,
    Geometry,
    GradientChoice,
    MapFormat,
    MethodCall,
    PreparedImage,
    Scale,
    ScoreKind,
)
from salience_service.runtime.session import Execution
from tests.conftest import BundleOf
from tests.oracle.grad_cam import grad_cam
from tests.oracle.hires_cam import hires_cam
from tests.oracle.integrated_gradients import integrated_gradients
from tests.support import networks
from tests.support.bundles import without
from tests.support.engines import client_over, engine_over
from tests.support.pictures import picture
from tests.support.waiting import until

KINDS = ("softmax", "sigmoid", "binary", "regression", "grey", "vgg", "smooth")
GREY = ("grey", "sigmoid")
METHODS = ("opti-cam", "grad-cam", "hires-cam", "integrated-gradients")
RAW = MapFormat(geometry=Geometry.FEATURE, scale=Scale.RAW)


@pytest.fixture(scope="module")
def client(bundle_of: BundleOf) -> Iterator[Client]:
    with client_over(*map(bundle_of, KINDS)) as made:
        yield made


@pytest.fixture
def engine(tiny_bundle: Bundle) -> Iterator[Engine]:
    with engine_over(tiny_bundle) as made:
        yield made


def image_for(kind: str) -> Preprocessed:
    return Preprocessed(picture(channels=1 if kind in GREY else 3))


def raw_map(client: Client, method: str | Method, **options: object) -> NDArray[np.float32]:
    """The map of class 3 of the residual net, as the method made it."""
    asked = {"model": "softmax", "targets": 3, "geometry": "feature", "scale": "raw", **options}
    answer = client.explain(Preprocessed(picture()), methods=method, **asked)  # type: ignore[arg-type]
    return np.asarray(answer.maps[0].array, np.float32)


def layer3(network: torch.nn.Module) -> torch.Tensor:
    """A of the residual net's last tap, [K, 4, 4]."""
    with torch.no_grad():
        return network.features(torch.from_numpy(picture())[None])[0]  # type: ignore[operator]


def from_layer3(network: torch.nn.Module):
    return lambda features: network.head(features.mean((2, 3)))


@pytest.mark.parametrize("side", ["onnx", "torch"])
def test_grad_cam_and_hires_cam_equal_their_oracles(client: Client, side: str) -> None:
    network = networks.residual_net()
    features, tail = layer3(network), from_layer3(network)
    pairs = {
        "grad-cam": grad_cam(tail, features, lambda y: y[3]),
        "hires-cam": hires_cam(tail, features, lambda y: y[3]),
    }
    for name, expected in pairs.items():
        found = raw_map(client, Method(name, ["layer3"]), gradient_side=side)
        np.testing.assert_allclose(
            unit_range(found), unit_range(expected.numpy()), rtol=0, atol=1e-4
        )


@pytest.mark.parametrize("side", ["onnx", "torch"])
def test_integrated_gradients_equal_their_oracle(client: Client, side: str) -> None:
    """Both follow the integral: ours in 400 places, the paper's sum in 4,000."""
    image = torch.from_numpy(picture())
    expected = integrated_gradients(
        networks.smooth_net(), image, torch.zeros_like(image), lambda y: y[3], 4000
    ).sum(0)
    found = raw_map(
        client, Method("integrated-gradients", steps=400), model="smooth", gradient_side=side
    )
    np.testing.assert_allclose(unit_range(found), unit_range(expected.numpy()), rtol=0, atol=1e-4)


def test_the_attributions_sum_to_what_the_image_adds_to_its_fill(client: Client) -> None:
    """To 2 %, for the class that gains or loses most: ReLU kinks, at 50 steps."""
    image = torch.from_numpy(picture())
    with torch.no_grad():
        own, empty = networks.residual_net()(torch.stack([image, torch.zeros_like(image)]))
    index = int((own - empty).abs().argmax())
    change = float(own[index] - empty[index])
    found = raw_map(client, "integrated-gradients", targets=index)
    assert abs(change) > 100 * np.finfo(np.float32).eps * np.abs(found).sum()
    assert float(found.sum(dtype=np.float64)) == pytest.approx(change, rel=0.02)


def test_cam_grad_cam_and_hires_cam_are_one_on_pooling_and_a_linear_layer(client: Client) -> None:
    network = networks.residual_net()
    weights = network.head.weight[3].detach()  # type: ignore[union-attr, index]
    cam = (weights[:, None, None] * layer3(network)).sum(0).numpy()
    for method in (Method("grad-cam", ["layer3"], relu=False), Method("hires-cam", ["layer3"])):
        found = raw_map(client, method) * cam.size
        np.testing.assert_allclose(found, cam, rtol=0, atol=1e-5 * np.abs(cam).max())


@pytest.mark.parametrize("kind", KINDS)
def test_both_sides_give_the_same_maps_of_every_head(client: Client, kind: str) -> None:
    """To 1e-4 after min–max; Opti-CAM at one step: float rounding grows as Adam climbs."""
    methods = [Method("opti-cam", iterations=1), *METHODS[1:3]]
    methods.append(Method("integrated-gradients", steps=20))
    onnx, torchs = (
        client.explain(image_for(kind), model=kind, methods=methods, gradient_side=side)  # type: ignore[arg-type]
        for side in ("onnx", "torch")
    )
    for ours, theirs in zip(onnx.maps, torchs.maps, strict=True):
        assert (ours.provenance.gradient_side, theirs.provenance.gradient_side) == ("onnx", "torch")
        np.testing.assert_allclose(ours.array, theirs.array, rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_opti_cams_first_objective_is_the_same_on_both_sides(
    bundle_of: BundleOf, kind: str
) -> None:
    """The value of the map that it starts from, uniform weights, to 1e-5 of the largest logit."""
    with engine_over(bundle_of(kind)) as engine:
        (model,) = engine.models()
        image = picture(channels=1 if kind in GREY else 3)
        tap = model.manifest.taps[-1]
        features = model.forward(image, [tap], Execution()).features[tap.name]
        uniform = np.full(len(features), 1 / len(features))
        start = weighted_sum(uniform, features).astype(np.float32)
        cotangent = np.eye(model.manifest.head.classes, dtype=np.float32)[0]
        logits, gradients = zip(
            *(
                model.gradients.open(side)
                .result()
                .masked_gradient(image, np.zeros_like(image), start, cotangent, Execution())
                for side in (GradientSide.ONNX, GradientSide.TORCH)
            ),
            strict=True,
        )
    np.testing.assert_allclose(*logits, rtol=0, atol=1e-5 * np.abs(logits[1]).max())
    assert np.linalg.norm(gradients[0] - gradients[1]) <= 1e-4 * np.linalg.norm(gradients[1])


@pytest.mark.parametrize("side", [GradientSide.ONNX, GradientSide.TORCH])
def test_a_flat_map_has_a_gradient_of_zeros_on_either_side(
    engine: Engine, side: GradientSide
) -> None:
    (model,) = engine.models()
    image, flat = picture(), np.full((4, 4), 0.7, np.float32)
    cotangent = np.eye(10, dtype=np.float32)[3]
    opened = model.gradients.open(side).result()
    _, gradient = opened.masked_gradient(image, np.zeros_like(image), flat, cotangent, Execution())
    np.testing.assert_array_equal(gradient, np.zeros((4, 4)))


def order(seed: int = 0, methods: Sequence[str] = METHODS, **changes: object) -> ExplainOrder:
    calls = tuple(MethodCall(name) for name in methods)
    asked = ExplainOrder("softmax", PreparedImage(picture(seed)), calls, format=RAW)
    return replace(asked, **changes)  # type: ignore[arg-type]


def explained(engine: Engine, asked: ExplainOrder) -> list[Event]:
    return list(engine.explain(asked, Control()))


def bytes_of(events: Sequence[Event]) -> list[bytes]:
    return [event.encoded.data for event in events if isinstance(event, FinishedMap)]


def test_the_same_request_gives_the_same_bits_alone_and_beside_eight_others(
    engine: Engine,
) -> None:
    asked = order(scores=tuple(ScoreKind), gradient_side=GradientChoice.ONNX)
    alone = explained(engine, asked)
    crowd: list[list[Event]] = [[] for _ in range(9)]
    others = [order(seed, ("opti-cam", "score-cam", "grad-cam")) for seed in range(1, 9)]
    orders = [asked, *others]
    threads = [
        threading.Thread(target=lambda i=i: crowd[i].extend(explained(engine, orders[i])))
        for i in range(9)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(bytes_of(alone)) == len(METHODS)
    assert bytes_of(alone) == bytes_of(crowd[0])
    lone = [event for event in alone if isinstance(event, MapScores)]
    assert lone == [event for event in crowd[0] if isinstance(event, MapScores)]


def test_provenance_tells_the_side_and_the_graphs_that_ran(engine: Engine) -> None:
    events = explained(engine, order(methods=[*METHODS, "fake-cam"]))
    made = {e.provenance.method: e.provenance for e in events if isinstance(e, FinishedMap)}
    graphs = {
        name: [(use.role, use.batch_size, use.map_height, use.map_width) for use in each.graphs]
        for name, each in made.items()
    }
    forward, gradient = (GraphRole.FORWARD, 1, 0, 0), (GraphRole.GRADIENT, 1, 0, 0)
    tail = (GraphRole.TAIL_GRADIENT, 1, 0, 0)
    assert graphs["opti-cam"] == [forward, (GraphRole.MASKED_GRADIENT, 1, 4, 4)]
    for name in METHODS[1:]:
        assert graphs[name] == [forward, gradient if name == "integrated-gradients" else tail]
        assert made[name].gradient_side is GradientSide.ONNX
    assert graphs["fake-cam"] == [forward]
    assert made["fake-cam"].gradient_side is GradientSide.NONE
    manifest = engine.models()[0].manifest
    digests = {file.path: file.sha256 for file in manifest.files}
    graph = manifest.graph(GraphRole.TAIL_GRADIENT, manifest.taps[-1].name)
    assert graph is not None
    used = made["grad-cam"].graphs[1]
    assert (used.digest, used.tap) == (digests[graph.path], graph.tap)


def test_on_the_torch_side_no_gradient_graph_is_told(engine: Engine) -> None:
    events = explained(engine, order(methods=METHODS[:2], gradient_side=GradientChoice.TORCH))
    for made in (e.provenance for e in events if isinstance(e, FinishedMap)):
        assert made.gradient_side is GradientSide.TORCH
        assert [use.role for use in made.graphs] == [GraphRole.FORWARD]


def test_every_gradient_is_a_row_of_progress_and_partial_maps_come_on_the_way(
    engine: Engine,
) -> None:
    events = explained(engine, order(methods=METHODS[1:]))
    done = [event.rows_done for event in events if isinstance(event, Progress)]
    assert done == sorted(done)
    finished = events[-1]
    assert isinstance(finished, Finished)
    # Both CAMs are made of one gradient.
    assert finished.rows == done[-1] == 1 + 1 + 50
    assert finished.rows_spared == 1
    assert finished.map_rows == (1, 0, 50)
    partials = [event for event in events if isinstance(event, PartialMap)]
    assert [partial.fraction for partial in partials] == [n / 10 for n in range(1, 10)]
    assert {(partial.tap, partial.map.shape) for partial in partials} == {("", (32, 32))}


def test_cancelling_ends_the_work_between_two_gradients(engine: Engine) -> None:
    control = Control()
    long = order(methods=())
    long = replace(long, methods=(MethodCall("integrated-gradients", {"steps": 1000}),))
    answer = engine.explain(long, control)
    rows = 0
    with pytest.raises(Cancelled):  # noqa: PT012 - it is raised by the loop, after its break
        for event in answer:
            if isinstance(event, Progress):
                rows = event.rows_done
            if rows > 20 and not control.dead:
                control.cancel()
    assert rows < 40


def test_what_another_waits_for_goes_between_two_gradients(engine: Engine) -> None:
    """Thousands of gradients do not bar the device: a short request passes."""
    many = tuple(MethodCall("integrated-gradients", {"steps": 1000 - n}) for n in range(20))
    control, ended = Control(), threading.Event()

    def explain_long() -> None:
        with pytest.raises(Cancelled):
            list(engine.explain(replace(order(methods=()), methods=many), control))
        ended.set()

    thread = threading.Thread(target=explain_long)
    thread.start()
    until(lambda: engine.workload.calls > 3)
    explained(engine, order(1, METHODS[1:2]))
    assert not ended.is_set()
    control.cancel()
    thread.join()
    assert ended.is_set()


def test_signed_maps_keep_zero_at_zero_and_are_scored_by_their_positive_part(
    client: Client,
) -> None:
    methods = ["hires-cam", "integrated-gradients"]
    asked = {"model": "softmax", "methods": methods, "targets": 3, "scores": ["ad", "ai", "ag"]}
    asked["geometry"] = "feature"
    unit = client.explain(Preprocessed(picture()), **asked)  # type: ignore[arg-type]
    raw = client.explain(Preprocessed(picture()), scale="raw", **asked)  # type: ignore[arg-type]
    for scaled, plain in zip(unit.maps, raw.maps, strict=True):
        assert scaled.is_signed
        assert plain.array.min() < 0 < plain.array.max()
        greatest = np.abs(plain.array).max()
        np.testing.assert_allclose(scaled.array, plain.array / greatest, atol=1e-6)
        assert scaled.scores is not None
        shown = upsample(np.maximum(plain.array, 0), 32, 32)
        mask = (shown - shown.min()) / (shown.max() - shown.min())
        with torch.no_grad():
            logits = networks.residual_net()(torch.from_numpy(mask * picture())[None])[0]
        assert scaled.scores.masked_probability == pytest.approx(
            float(logits.softmax(0)[3]), rel=1e-3
        )


@pytest.mark.parametrize("encoding", ["png-grey", "png-overlay", "png-masked", "float16"])
@pytest.mark.parametrize("geometry", ["input", "original"])
def test_a_map_of_pixels_is_drawn_as_any_other(
    client: Client, encoding: str, geometry: str
) -> None:
    answer = client.explain(
        Preprocessed(picture()),
        model="softmax",
        methods=Method("integrated-gradients", steps=2),
        encoding=encoding,  # type: ignore[arg-type]
        geometry=geometry,  # type: ignore[arg-type]
    )
    (found,) = answer.maps
    assert (found.height, found.width) == (32, 32)
    assert found.data


GRADIENTS = (GraphRole.GRADIENT, GraphRole.MASKED_GRADIENT)


def test_auto_is_torch_where_the_bundle_has_no_gradient_graphs(
    tiny_bundle: Bundle, tmp_path: Path
) -> None:
    bundle = without(tiny_bundle, tmp_path / "1", *GRADIENTS)
    with client_over(bundle) as client:
        assert client.describe("softmax").gradient_sides == ("torch",)
        answer = client.explain(image_for("softmax"), model="softmax", methods="grad-cam")
        assert answer.maps[0].provenance.gradient_side == "torch"
        with pytest.raises(NotPossible, match="no gradient graphs: export it again"):
            client.explain(
                image_for("softmax"), model="softmax", methods="grad-cam", gradient_side="onnx"
            )


def test_the_torch_side_is_refused_where_there_is_no_program(
    tiny_bundle: Bundle, tmp_path: Path
) -> None:
    bundle = without(tiny_bundle, tmp_path / "1", program=False)
    with client_over(bundle) as client:
        assert client.describe("softmax").gradient_sides == ("onnx",)
        with pytest.raises(NotPossible, match="without a torch program: export it from a torch"):
            client.explain(
                image_for("softmax"), model="softmax", methods="opti-cam", gradient_side="torch"
            )
        answer = client.explain(
            image_for("softmax"), model="softmax", methods="fake-cam", gradient_side="torch"
        )
        assert answer.maps[0].provenance.gradient_side == "none"


def test_without_any_side_both_remedies_are_told(tiny_bundle: Bundle, tmp_path: Path) -> None:
    bundle = without(tiny_bundle, tmp_path / "1", *GRADIENTS, program=False)
    with client_over(bundle) as client:
        described = client.describe("softmax")
        assert described.gradient_sides == ()
        lost = {method.name for method in described.methods if not method.available}
        assert lost == {name for name, method in TABLE.items() if method.needs_gradient}
        for method in METHODS:
            with pytest.raises(NotPossible, match=r"export it again.*; or: .*a torch module"):
                client.explain(image_for("softmax"), model="softmax", methods=method)
