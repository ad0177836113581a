"""Insertion, deletion and boxes through the whole engine, against torch and the papers' loop."""

import asyncio
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from salience_client import (
    Absent,
    AsyncClient,
    Client,
    Event,
    Explanation,
    InvalidRequest,
    NotPossible,
    Preprocessed,
    Progress,
    Rectangle,
    SaliencyMap,
    TopK,
    explain_request,
)
from salience_client import Scores as ClientScores
from salience_service.bundle.manifest import GraphRole
from salience_service.interpolation import upsample
from tests.conftest import BundleOf
from tests.oracle import insertion_deletion as oracle
from tests.oracle.box import largest_box
from tests.oracle.targets import softmax_probability
from tests.support import networks
from tests.support.bundles import without
from tests.support.engines import client_over, engine_over
from tests.support.serving import serving

CURVES = ("insertion", "deletion", "insertion-deletion")
SIDE = 32


@pytest.fixture(scope="module")
def client(bundle_of: BundleOf, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    softmax = bundle_of("softmax")
    twin = tmp_path_factory.mktemp("twins") / "plain"
    plain = without(softmax, twin, GraphRole.PIXEL_MASKED, name="plain")
    with client_over(softmax, bundle_of("sigmoid"), bundle_of("regression"), plain) as made:
        yield made


def picture(channels: int = 3, seed: int = 1) -> NDArray[np.float32]:
    """Far beyond what a photograph comes to: a network of random weights hardly heeds less."""
    noise = 200 * np.random.default_rng(seed).normal(size=(channels, 8, 8))
    return upsample(noise.astype(np.float32), SIDE, SIDE)


def explained(client: Client, model: str = "softmax", **changes: object) -> Explanation:
    asked: dict = {
        "methods": "score-cam", "scores": CURVES, "geometry": "feature", "scale": "raw",
    }  # fmt: skip
    image = Preprocessed(picture(1 if model == "sigmoid" else 3))
    return client.explain(image, model=model, **asked | changes)


def by_the_papers(found: SaliencyMap, network: torch.nn.Module, probability, protocol: str) -> dict:
    saliency = upsample(found.array, SIDE, SIDE)
    image = torch.from_numpy(picture(3)).double()
    return oracle.curves(network.double(), image, saliency, probability, protocol)


@pytest.mark.parametrize("protocol", ["rise", "polycam"])
def test_curves_and_areas_are_those_of_the_papers_loop_over_torch(
    client: Client, protocol: str
) -> None:
    (found,) = explained(client, curve_protocol=protocol).maps
    wanted = by_the_papers(
        found,
        networks.residual_net(),
        lambda logits: softmax_probability(logits, found.target.index),
        protocol,
    )
    assert found.scores is not None
    assert found.scores.curve_protocol == protocol
    assert set(found.scores.curves) == {"insertion", "deletion"}
    for name, curve in found.scores.curves.items():
        assert np.ptp(wanted[name]) > 0.05
        np.testing.assert_allclose(curve.probabilities, wanted[name], atol=1e-4)
        np.testing.assert_allclose(curve.shares, np.arange(SIDE + 1) / SIDE)
        assert found.scores[name] == pytest.approx(oracle.area(wanted[name], protocol), abs=1e-4)
    difference = found.scores["insertion"] - found.scores["deletion"]
    assert found.scores["insertion-deletion"] == pytest.approx(difference)


def test_the_protocols_differ_and_the_plain_one_is_rise(client: Client) -> None:
    (rise,) = explained(client, curve_protocol="rise").scores
    (plain,) = explained(client).scores
    (polycam,) = explained(client, curve_protocol="polycam").scores
    assert plain.values == rise.values
    assert plain.curve_protocol == "rise"
    for name in ("insertion", "deletion"):
        assert abs(rise[name] - polycam[name]) > 1e-3


def test_curves_begin_and_end_at_the_clean_image(client: Client) -> None:
    (scores,) = explained(client).scores
    clean = scores.clean_probability
    assert scores.curves["insertion"].probabilities[-1] == pytest.approx(clean, abs=1e-4)
    assert scores.curves["deletion"].probabilities[0] == pytest.approx(clean, abs=1e-4)


def test_the_fill_of_the_scores_is_not_that_of_the_curves(client: Client) -> None:
    (mean,) = explained(client, scores=("ad", *CURVES)).scores
    (black,) = explained(client, scores=("ad", *CURVES), score_fill="black").scores
    assert mean["ad"] != black["ad"]
    assert [mean[name] for name in CURVES] == [black[name] for name in CURVES]


def test_scores_come_in_the_order_asked_for_and_no_others(client: Client) -> None:
    (scores,) = explained(client, scores=("deletion", "ag")).scores
    assert list(scores.values) == ["deletion", "ag"]
    assert list(scores.curves) == ["deletion"]
    (plain,) = explained(client, scores=("ag",)).scores
    assert (plain.curves, plain.curve_protocol) == ({}, None)


@pytest.mark.parametrize(("scores", "rows"), [(("ad",), 1), (("insertion",), 34), (CURVES, 67)])
def test_the_rows_of_the_curves_are_expected_and_counted(
    client: Client, scores: tuple[str, ...], rows: int
) -> None:
    def asked(**scored: object) -> list[Event]:
        return list(
            client.stream(
                Preprocessed(picture()),
                model="softmax",
                methods="score-cam",
                targets=TopK(3),
                **scored,
            )
        )

    shared = Explanation.of(asked()).finished.rows  # The clean run, and a row a channel.
    events = asked(scores=scores)
    progress = [event for event in events if isinstance(event, Progress)]
    assert {event.rows_expected for event in progress} == {shared + 3 * rows}
    assert progress[-1].rows_done == shared + 3 * rows
    finished = Explanation.of(events).finished
    assert finished.rows == shared + 3 * rows
    # The three maps were ready together: each stands for the rows that made it, and its scores'.
    assert finished.map_rows == (shared - 1 + rows,) * 3


def test_maps_that_are_the_same_are_masked_once(client: Client) -> None:
    """Fake-CAM's map is the same for every class."""
    asked = {"model": "softmax", "methods": "fake-cam", "targets": TopK(3), "scores": ["ad"]}
    explanation = client.explain(Preprocessed(picture()), **asked)
    assert explanation.finished.rows == 2
    assert explanation.finished.rows_spared == 2
    assert explanation.finished.map_rows == (1, 1, 1)
    assert len({each.scores.values["ad"] for each in explanation.maps if each.scores}) > 1


def test_a_masked_row_that_an_earlier_method_had_answered_counts_for_that_one_alone(
    client: Client,
) -> None:
    asked = {"model": "softmax", "targets": TopK(3), "scores": ["ad"]}
    explanation = client.explain(Preprocessed(picture()), methods=["fake-cam"] * 2, **asked)
    assert explanation.finished.rows == 2
    assert explanation.finished.map_rows == (1, 1, 1, 0, 0, 0)


def test_each_of_several_targets_has_the_curves_of_its_own_map_and_class(client: Client) -> None:
    several = explained(client, targets=[2, Absent(5), 7])
    for place, target in enumerate((2, Absent(5), 7)):
        (alone,) = explained(client, targets=target).scores
        together = several.scores[place]
        for name, curve in alone.curves.items():
            np.testing.assert_array_equal(together.curves[name].probabilities, curve.probabilities)
    assert several.scores[0]["insertion"] != several.scores[2]["insertion"]


def test_a_sigmoid_has_curves_too(client: Client) -> None:
    for scores in explained(client, "sigmoid", targets=["mass", "not:mass"]).scores:
        assert all(0 < scores[name] < 1 for name in ("insertion", "deletion"))
    one, other = explained(client, "sigmoid", targets=["mass", "not:mass"]).scores
    assert one.clean_probability == pytest.approx(1 - other.clean_probability)


def test_a_flat_map_has_curves_and_no_box(client: Client) -> None:
    flat = Preprocessed(np.zeros((3, SIDE, SIDE), np.float32))
    (found,) = client.explain(
        flat, model="softmax", methods="input-x-gradient", scores=CURVES, box="mean"
    ).maps
    assert found.is_degenerate
    assert found.box is None
    assert found.scores is not None
    assert all(np.isfinite(found.scores[name]) for name in CURVES)


def test_a_regression_is_refused(client: Client) -> None:
    with pytest.raises(InvalidRequest, match="insertion need a probability"):
        explained(client, "regression", scores=("insertion",))
    assert client.describe("regression").scores == ()


def test_a_bundle_without_the_pixel_graph_says_so_and_scores_the_rest(client: Client) -> None:
    with pytest.raises(NotPossible, match=r"deletion need the pixel_masked graph.*again"):
        explained(client, "plain", scores=("ad", "deletion"))
    (scores,) = explained(client, "plain", scores=("ad", "ai", "ag")).scores
    assert set(scores.values) == {"ad", "ai", "ag"}
    assert client.describe("plain").scores == ("ad", "ai", "ag")
    assert client.describe("softmax").scores == ("ad", "ai", "ag", *CURVES)


def test_no_maps_provenance_names_the_graphs_of_its_scores(client: Client) -> None:
    explanation = explained(client, methods="grad-cam", targets=TopK(2), scores=("ad", *CURVES))
    for found in explanation.maps:
        roles = [graph.role for graph in found.provenance.graphs]
        assert roles == ["forward", "tail-gradient"]


# Boxes


def photograph(orientation: int = 1) -> bytes:
    """A smooth photograph of 90 × 61 pixels, turned as EXIF says."""
    coarse = np.random.default_rng(3).uniform(0, 255, (3, 6, 8)).astype(np.float32)
    pixels = upsample(coarse, 61, 90).transpose(1, 2, 0).astype(np.uint8)
    file, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(file, "PNG", exif=exif)
    return file.getvalue()


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("box", ["mean", 0.75])
def test_a_box_is_in_pixels_of_the_upright_photograph(
    client: Client, orientation: int, box: object
) -> None:
    explanation = client.explain(
        photograph(orientation), model="softmax", methods=["score-cam", "grad-cam"], box=box,
        geometry="feature", scale="raw",
    )  # fmt: skip
    size = (explanation.prediction.image_height, explanation.prediction.image_width)
    assert size == ((61, 90) if orientation == 1 else (90, 61))
    for found in explanation.maps:
        axes = [(length, SIDE, SIDE, 0) for length in size]
        wanted = largest_box(found.array, *axes, None if box == "mean" else box)
        assert found.box == Rectangle(*map(float, wanted))


def test_no_box_is_given_that_was_not_asked_for(client: Client) -> None:
    assert explained(client).maps[0].box is None


@pytest.mark.parametrize("box", [-0.1, 1.0, float("nan")])
def test_a_threshold_out_of_range_is_refused_before_any_work(client: Client, box: float) -> None:
    stream = client.stream(Preprocessed(picture()), model="softmax", methods="rise", box=box)
    with pytest.raises(InvalidRequest, match="from 0 to less than 1"):
        next(stream)


# Over the wire


def test_the_wire_and_both_clients_carry_what_the_engine_says(
    bundle_of: BundleOf, tmp_path: Path
) -> None:
    asked: dict = {
        "model": "softmax", "methods": ["score-cam", "fake-cam"], "targets": TopK(2),
        "scores": ("ad", *CURVES), "curve_protocol": "polycam", "box": 0.5,
    }  # fmt: skip
    image = Preprocessed(picture())

    async def answered(address: str) -> Explanation:
        async with AsyncClient(address) as client:
            return await client.explain(image, **asked)

    with engine_over(bundle_of("softmax")) as engine, serving(engine) as server:
        with Client(server.address) as client:
            here = client.explain(image, **asked)
            requests = [(tag, explain_request(image, **asked)) for tag in ("a", "b")]
            events = list(client.explain_many(requests))
        there = asyncio.run(answered(server.address))
    many = [Explanation.of(event for tag, event in events if tag == each) for each in ("a", "b")]
    for other in (there, *many):
        for one, same in zip(here.maps, other.maps, strict=True):
            assert one.box == same.box
            assert one.box is not None or one.is_degenerate
            assert_same(one.scores, same.scores)


def assert_same(one: ClientScores | None, other: ClientScores | None) -> None:
    assert one is not None
    assert other is not None
    assert one.values == other.values
    assert one.curve_protocol == other.curve_protocol == "polycam"
    for name, curve in one.curves.items():
        np.testing.assert_array_equal(curve.probabilities, other.curves[name].probabilities)
