"""DescribeModel on real bundles of every head: what a caller needs to know before asking."""

from collections.abc import Iterator

import numpy as np
import pytest

from salience_client import Client, Method, Option, Preprocessed
from salience_service.methods import METHODS, TapRule
from tests.conftest import BundleOf
from tests.support.engines import client_over
from tests.support.small import SMALL, small

KINDS = ("softmax", "sigmoid", "binary", "regression")
ALL_SCORES = ("ad", "ai", "ag", "insertion", "deletion", "insertion-deletion")
FINDINGS = ("effusion", "nodule", "mass", "edema", "hernia", "fibrosis")


@pytest.fixture(scope="module")
def client(bundle_of: BundleOf) -> Iterator[Client]:
    with client_over(*map(bundle_of, KINDS)) as made:
        yield made


@pytest.mark.parametrize(
    ("kind", "output", "labels", "scores"),
    [
        ("softmax", "softmax", tuple(f"class {n}" for n in range(10)), ALL_SCORES),
        ("sigmoid", "sigmoid", FINDINGS, ALL_SCORES),
        ("binary", "sigmoid", ("pneumonia",), ALL_SCORES),
        ("regression", "regression", ("age", "dose"), ()),
    ],
)
def test_output_kind_class_space_and_scores_are_told(
    client: Client, kind: str, output: str, labels: tuple[str, ...], scores: tuple[str, ...]
) -> None:
    told = client.describe(kind)
    assert (told.output, told.classes, told.labels) == (output, len(labels), labels)
    assert sorted(told.scores) == sorted(scores)
    assert told.gradient_sides == ("onnx", "torch")
    assert told.batch_size == 4


def test_thresholds_are_told_where_the_manifest_has_them(client: Client) -> None:
    assert client.describe("sigmoid").thresholds == pytest.approx((0.5, 0.4, 0.3, 0.6, 0.2, 0.5))
    assert client.describe("binary").thresholds == ()


def test_the_input_is_told(client: Client) -> None:
    colour, grey = client.describe("softmax").input, client.describe("sigmoid").input
    assert (colour.channels, colour.height, colour.width, colour.colour_order) == (3, 32, 32, "rgb")
    assert (grey.channels, grey.colour_order, grey.resize) == (1, "grey", "stretch")


@pytest.mark.parametrize("kind", KINDS)
def test_every_method_is_told_with_sources_taps_options_defaults_and_limits(
    client: Client, kind: str
) -> None:
    told = client.describe(kind)
    assert {method.name for method in told.methods} == set(METHODS)
    for method in told.methods:
        assert method.available
        assert method.summary
        assert method.source
        assert set(method.default_taps) <= {tap.name for tap in told.taps}
        assert bool(method.default_taps) == (METHODS[method.name].taps is not TapRule.NONE)
        for option in method.options:
            assert_whole(option)


def assert_whole(option: Option) -> None:
    """It has a summary, and a default that lies within what is allowed."""
    assert option.summary
    if option.type == "choice":
        assert option.default in option.choices
    elif option.type == "flag":
        assert option.default in (True, False)
    elif option.type == "text":
        assert isinstance(option.default, str)
    else:
        assert option.minimum is not None
        assert option.maximum is not None
        assert option.minimum <= option.default <= option.maximum  # type: ignore[operator]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_told_can_be_asked_for_and_is_what_holds_unsaid(client: Client, kind: str) -> None:
    told = client.describe(kind)
    image = Preprocessed(np.ones((told.input.channels, 32, 32), np.float32))
    defaults = {
        m.name: {**{o.name: o.default for o in m.options}, **SMALL.get(m.name, {})}
        for m in told.methods
    }
    stated = [Method(m.name, m.default_taps, **defaults[m.name]) for m in told.methods]
    unsaid = [small(method.name) for method in told.methods]
    for methods in (stated, unsaid):
        for found in client.explain(image, model=kind, methods=methods).maps:
            (method,) = (m for m in told.methods if m.name == found.method)
            assert dict(found.provenance.options) == defaults[found.method]
            assert set(found.provenance.taps) == set(method.default_taps)


def test_score_cam_has_the_options_of_its_peers_and_of_the_authors_code(client: Client) -> None:
    """pytorch-grad-cam and torch-cam weigh by a softmax; the authors' code by raw probabilities;
    Poly-CAM's tables of single layers by changes of the confidence."""
    (method,) = (m for m in client.describe("softmax").methods if m.name == "score-cam")
    choices = {option.name: set(option.choices) for option in method.options}
    weights = {"softmax", "raw", "cic", "cdc", "cvc"}
    assert choices == {"score": {"logit", "probability"}, "weights": weights}


def test_a_models_newest_version_is_the_default(client: Client) -> None:
    assert all(summary.is_default for summary in client.models())
    assert {summary.name for summary in client.models()} == set(KINDS)
