"""Every form of a target through the whole engine: value, probability and map by the oracles."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import grpc
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from salience_client import (
    AboveThreshold,
    Absent,
    Client,
    Difference,
    Explanation,
    NoFinding,
    Prediction,
    Preprocessed,
    Present,
    SaliencyMap,
    TopK,
)
from salience_client.target import Target
from salience_service.interpolation import unit_range, upsample
from tests.conftest import BundleOf
from tests.oracle.score_cam import score_cam
from tests.oracle.targets import pair_probability, sigmoid_probability, softmax_probability
from tests.support import networks
from tests.support.engines import client_over

Value = Callable[[torch.Tensor], torch.Tensor]
FINDINGS = ("effusion", "nodule", "mass", "edema", "hernia", "fibrosis")
THRESHOLDS = np.array((0.5, 0.4, 0.3, 0.6, 0.2, 0.5))


@pytest.fixture(scope="module")
def client(bundle_of: BundleOf) -> Iterator[Client]:
    kinds = ("softmax", "sigmoid", "binary", "regression")
    with client_over(*(bundle_of(kind) for kind in kinds)) as made:
        yield made


def picture(channels: int, seed: int = 1) -> NDArray[np.float32]:
    """A smooth random input [channels, 32, 32], normalised."""
    noise = np.random.default_rng(seed).normal(size=(channels, 8, 8))
    return upsample(noise.astype(np.float32), 32, 32)


def explained(
    client: Client, model: str, image: NDArray[np.float32], *targets: Target
) -> Explanation:
    return client.explain(
        Preprocessed(image),
        model=model,
        methods="score-cam",
        targets=targets,
        geometry="feature",
        scale="raw",
    )


def logits_by_torch(network: torch.nn.Module, image: NDArray[np.float32]) -> torch.Tensor:
    with torch.no_grad():
        return network(torch.from_numpy(image)[None])[0].double()


@torch.no_grad()
def assert_map(
    found: SaliencyMap, network: torch.nn.Module, image: NDArray[np.float32], value: Value
) -> None:
    """The map equals Score-CAM's oracle for this value of the logits, after min–max."""
    tensor = torch.from_numpy(image)
    features = network.features(tensor[None])[0]
    expected = score_cam(network, tensor, features, value, torch.zeros_like(tensor))
    np.testing.assert_allclose(
        unit_range(found.array), unit_range(expected.numpy()), rtol=0, atol=1e-4
    )


PRESENT: tuple[Target, ...] = (3, "3", "class 3", "CLASS 3", Present(3), Present("class 3"))
ABSENT: tuple[Target, ...] = ("not:class 3", "not:3", Absent(3), Absent("class 3"))
DIFFERENCE: tuple[Target, ...] = ("class 7-class 2", "7-2", Difference(7, "class 2"))


@pytest.mark.parametrize("target", PRESENT)
def test_a_class_is_its_logit_however_it_is_named(client: Client, target: Target) -> None:
    network, image = networks.residual_net(), picture(3)
    (found,) = explained(client, "softmax", image, target).maps
    logits = logits_by_torch(network, image)
    assert (found.target.name, found.target.kind, found.target.index) == ("class 3", "class", 3)
    assert found.target.value == pytest.approx(float(logits[3]), rel=1e-4)
    assert found.target.probability == pytest.approx(
        float(softmax_probability(logits, 3)), rel=1e-4
    )
    assert_map(found, network, image, lambda y: y[3])


@pytest.mark.parametrize("target", ABSENT)
def test_an_absence_is_minus_the_logit_with_one_less_p(client: Client, target: Target) -> None:
    network, image = networks.residual_net(), picture(3)
    (found,) = explained(client, "softmax", image, target).maps
    logits = logits_by_torch(network, image)
    assert (found.target.name, found.target.kind) == ("not:class 3", "absent")
    assert found.target.value == pytest.approx(-float(logits[3]), rel=1e-4)
    assert found.target.probability == pytest.approx(
        1 - float(softmax_probability(logits, 3)), rel=1e-4
    )
    assert_map(found, network, image, lambda y: -y[3])


@pytest.mark.parametrize("target", DIFFERENCE)
def test_a_difference_is_that_of_two_logits(client: Client, target: Target) -> None:
    network, image = networks.residual_net(), picture(3)
    (found,) = explained(client, "softmax", image, target).maps
    logits = logits_by_torch(network, image)
    assert (found.target.name, found.target.kind) == ("class 7-class 2", "difference")
    assert (found.target.index, found.target.against) == (7, 2)
    assert found.target.value == pytest.approx(float(logits[7] - logits[2]), rel=1e-4)
    assert found.target.probability == pytest.approx(
        float(pair_probability(logits, 7, 2)), rel=1e-4
    )
    assert_map(found, network, image, lambda y: y[7] - y[2])


@pytest.mark.parametrize("target", ["top:3", TopK(3)])
def test_the_top_of_the_prediction_is_torchs_top(client: Client, target: Target) -> None:
    network, image = networks.residual_net(), picture(3)
    explanation = explained(client, "softmax", image, target)
    best = [int(index) for index in logits_by_torch(network, image).topk(3).indices]
    assert [found.target.index for found in explanation.maps] == best
    assert [score.index for score in explanation.prediction.top][:3] == best
    for found, index in zip(explanation.maps, best, strict=True):
        assert_map(found, network, image, lambda y, index=index: y[index])


@pytest.mark.parametrize("target", ["above-threshold", AboveThreshold()])
def test_findings_above_the_manifests_own_thresholds_are_explained(
    client: Client, target: Target
) -> None:
    network = networks.residual_net(classes=6, channels=1)
    image, probabilities = picture_with_telling_thresholds(network)
    explanation = explained(client, "sigmoid", image, target)
    above = [
        index for index in np.argsort(-probabilities) if probabilities[index] > THRESHOLDS[index]
    ]
    assert [found.target.index for found in explanation.maps] == above
    assert [found.target.name for found in explanation.maps] == [FINDINGS[i] for i in above]
    for found, index in zip(explanation.maps, above, strict=True):
        assert found.target.probability == pytest.approx(probabilities[index], rel=1e-4)
        assert_map(found, network, image, lambda y, index=index: y[index])


def test_an_image_without_a_finding_is_told_its_prediction_and_then_that_there_is_none(
    bundle_of: BundleOf,
) -> None:
    bundle, image = bundle_of("sigmoid"), picture(1)
    head = replace(bundle.manifest.head, thresholds=(0.9,) * 6)
    sure = replace(bundle, manifest=replace(bundle.manifest, head=head))
    with client_over(sure) as client:
        events = client.stream(
            Preprocessed(image), model="sigmoid", methods="score-cam", targets=AboveThreshold()
        )
        prediction = next(event for event in events if isinstance(event, Prediction))
        with pytest.raises(NoFinding, match=r"no class is above its .*of 0\.9.*top:1") as ended:
            next(events)
        (best,) = explained(client, "sigmoid", image, AboveThreshold(), TopK(1)).maps
    assert prediction.targets == ()
    assert len(prediction.top) == 5
    assert (ended.value.code, ended.value.field) == (grpc.StatusCode.FAILED_PRECONDITION, "")
    assert best.target.index == prediction.top[0].index


def picture_with_telling_thresholds(
    network: torch.nn.Module,
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """An image, and p by class, for which thresholds of one half would choose otherwise."""
    for seed in range(200):
        image = 2 * picture(1, seed)
        logits = logits_by_torch(network, image)
        each = np.array([float(sigmoid_probability(logits, index)) for index in range(6)])
        chosen = set(np.flatnonzero(each > THRESHOLDS))
        if chosen and chosen != set(np.flatnonzero(each > 0.5)) and len(chosen) < 6:
            return image, each
    raise AssertionError("no image tells the manifest's thresholds from one half")


def test_an_absent_finding_has_one_less_its_sigmoid(client: Client) -> None:
    network, image = networks.residual_net(classes=6, channels=1), picture(1)
    (found,) = explained(client, "sigmoid", image, "not:nodule").maps
    logits = logits_by_torch(network, image)
    assert found.target.value == pytest.approx(-float(logits[1]), rel=1e-4)
    assert found.target.probability == pytest.approx(
        1 - float(sigmoid_probability(logits, 1)), rel=1e-4
    )
    assert_map(found, network, image, lambda y: -y[1])


def test_a_single_finding_can_be_present_and_absent(client: Client) -> None:
    network, image = networks.residual_net(classes=1), picture(3)
    there, absent = explained(client, "binary", image, "pneumonia", "not:pneumonia").maps
    logits = logits_by_torch(network, image)
    p = float(sigmoid_probability(logits, 0))
    assert (there.target.probability, absent.target.probability) == (
        pytest.approx(p, rel=1e-4),
        pytest.approx(1 - p, rel=1e-4),
    )
    assert_map(there, network, image, lambda y: y[0])
    assert_map(absent, network, image, lambda y: -y[0])


def test_an_output_of_a_regression_is_its_value_without_a_probability(client: Client) -> None:
    network, image = networks.residual_net(classes=2), picture(3)
    (found,) = explained(client, "regression", image, "dose").maps
    assert found.target.value == pytest.approx(float(logits_by_torch(network, image)[1]), rel=1e-4)
    assert found.target.probability is None
    assert_map(found, network, image, lambda y: y[1])
