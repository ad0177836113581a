"""Precisions below float32: measured at export, allowed for at warm-up, refused where unknown."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from salience_export import Destination, ExportReport, ModelContract, export_torch
from salience_export.precision.costs import LARGEST, MARGIN, MeasuredPrecision, costs
from salience_export.report import as_json, as_text
from salience_service.bundle.manifest import GraphRole, Manifest, OutputKind, PrecisionCost
from salience_service.bundle.reader import Bundle, open_bundle, read_golden
from salience_service.drift import relative_difference
from salience_service.errors import BundleRefused
from salience_service.events import GradientSide
from salience_service.models.model import ServedModel
from salience_service.models.warm_up import warm_up
from salience_service.runtime.session import Device, Execution
from tests.support import networks
from tests.support.contracts import image_contract

HALF = Device(threads=1, precision="float16")


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> ExportReport:
    contract = ModelContract(image_contract(), OutputKind.SOFTMAX)
    place = Destination(tmp_path_factory.mktemp("models"), "smooth")
    return export_torch(networks.smooth_net(), contract, place)


@pytest.fixture
def bundle(report: ExportReport) -> Bundle:
    return open_bundle(report.directory)


def stating(bundle: Bundle, *precisions: PrecisionCost) -> Bundle:
    return replace(bundle, manifest=replace(bundle.manifest, precisions=precisions))


def test_an_export_says_what_each_precision_costs(report: ExportReport) -> None:
    manifest: Manifest = open_bundle(report.directory).manifest
    assert [cost.precision for cost in manifest.precisions] == ["tf32", "float16"]
    for cost, measured in zip(manifest.precisions, report.precisions, strict=True):
        # 11 bits are 2.4e-4 to 4.9e-4 a number; a small smooth network adds little to that.
        assert 1e-5 < measured.golden <= cost.parity < 1e-2
        assert cost.tolerance == max(1e-3, MARGIN * measured.golden)


def test_the_report_shows_both_numbers(report: ExportReport) -> None:
    told = as_text(report)
    for each in report.precisions:
        assert f"{each.precision}: moves numbers by up to {each.parity:.1e}" in told
    assert [each["precision"] for each in json.loads(as_json(report))["precisions"]] == [
        "tf32",
        "float16",
    ]


def test_a_precision_that_costs_too_much_is_told_and_not_offered(report: ExportReport) -> None:
    dear = MeasuredPrecision("float16", 0.5, 1.01 * LARGEST / MARGIN)
    lost = MeasuredPrecision("tf32", math.inf, math.inf)
    assert costs([dear, lost]) == ()
    told = replace(report, precisions=(dear, lost))
    assert "float16: moves numbers by up to 5.0e-01" in as_text(told)
    assert "too much to be told from a wrong graph" in as_text(told)
    assert "tf32: the model does not bear it" in as_text(told)
    assert json.loads(as_json(told))["precisions"][1]["parity"] is None


def test_a_model_in_float16_meets_its_golden_example_within_what_was_measured(
    bundle: Bundle,
) -> None:
    model = ServedModel(bundle, HALF, batch_size=2)
    drift = warm_up(model)
    # More than float32's on another machine, so that it was float16 that ran.
    assert 1e-5 < drift <= bundle.manifest.tolerance("float16")
    assert model.precision == "float16"


def test_a_bundle_that_does_not_say_what_a_precision_costs_is_refused(bundle: Bundle) -> None:
    model = ServedModel(stating(bundle), HALF, batch_size=2)
    with pytest.raises(BundleRefused, match=r"does not say what float16 costs: export it again"):
        warm_up(model)
    assert warm_up(ServedModel(stating(bundle), Device(threads=1), batch_size=2)) < 1e-4


def test_a_model_that_drifts_beyond_its_precision_is_refused(bundle: Bundle) -> None:
    tight = stating(bundle, PrecisionCost("float16", 1e-7, 1e-7))
    with pytest.raises(BundleRefused, match=r"in float16: .* relative, allowed 1.00e-07"):
        warm_up(ServedModel(tight, HALF, batch_size=2))


def test_a_tail_is_held_to_the_precision_it_runs_in(bundle: Bundle) -> None:
    tap = bundle.manifest.taps[-1]
    assert bundle.manifest.graph(GraphRole.TAIL, tap.name)
    ServedModel(bundle, HALF, batch_size=2).tails.open(tap).result()
    tight = stating(bundle, PrecisionCost("float16", 1e-7, 1e-7))
    with pytest.raises(BundleRefused, match=r"tail of tap .* allowed 1.00e-07"):
        ServedModel(tight, HALF, batch_size=2).tails.open(tap).result()


def test_gradients_of_a_model_in_float16_are_those_of_float32(bundle: Bundle) -> None:
    golden = read_golden(bundle)
    assert golden.gradient is not None
    asked = golden.image[0], golden.gradient.cotangent[0], ["images"], Execution()
    found = []
    for device in (HALF, Device(threads=1)):
        side = ServedModel(bundle, device, batch_size=2).gradients.open(GradientSide.ONNX)
        found.append(side.result().gradient(*asked)[1]["images"])
    np.testing.assert_array_equal(*found)


def test_taps_in_float16_are_rounded_and_within_what_was_measured(bundle: Bundle) -> None:
    exact, half = (
        ServedModel(bundle, device, batch_size=2).forward(
            read_golden(bundle).image[0], bundle.manifest.taps, Execution()
        )
        for device in (Device(threads=1), HALF)
    )
    assert relative_difference(half.logits, exact.logits) > 1e-5
    for tap in bundle.manifest.taps:
        difference = relative_difference(half.features[tap.name], exact.features[tap.name])
        assert difference <= bundle.manifest.tolerance("float16")
