"""Half precision: the network's numbers are float16; masks, inputs and outputs stay float32."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from salience_service.bundle.graph_bytes import GraphBytes, graph_bytes
from salience_service.bundle.manifest import GraphRole
from salience_service.bundle.reader import Bundle
from salience_service.drift import relative_difference
from salience_service.errors import BundleRefused
from salience_service.runtime.session import Device, Execution, Session

ROLES = (GraphRole.FORWARD, GraphRole.MASKED, GraphRole.PIXEL_MASKED)
HALF = Device(threads=1, precision="float16")


def path_of(bundle: Bundle, role: GraphRole) -> Path:
    graph = bundle.manifest.graph(role)
    assert graph is not None
    return bundle.path(graph.path)


def graph_of(bundle: Bundle, role: GraphRole) -> GraphBytes:
    return graph_bytes(path_of(bundle, role), bundle.weights())


def read(graph: GraphBytes) -> onnx.GraphProto:
    assert isinstance(graph.model, bytes)
    return onnx.ModelProto.FromString(graph.model).graph


@pytest.mark.parametrize("role", ROLES)
def test_weights_are_halved_and_what_goes_in_and_out_is_not(
    tiny_bundle: Bundle, role: GraphRole
) -> None:
    before, half = graph_of(tiny_bundle, role), read(graph_of(tiny_bundle, role).half())
    whole = read(before.whole())
    kernels = {t.name: t for t in whole.initializer if len(t.dims) == 4}
    assert kernels
    halved = {t.name: t for t in half.initializer if len(t.dims) == 4}
    assert {t.data_type for t in halved.values()} == {TensorProto.FLOAT16}
    assert {n: 2 * len(t.raw_data) for n, t in halved.items()} == {
        n: len(t.raw_data) for n, t in kernels.items()
    }
    assert [*half.input] == [*whole.input]
    assert [v.name for v in half.output] == [v.name for v in whole.output]
    assert {v.type.tensor_type.elem_type for v in half.output} == {TensorProto.FLOAT}


def test_masks_are_made_and_laid_over_images_in_float32(tiny_bundle: Bundle) -> None:
    half = read(graph_of(tiny_bundle, GraphRole.MASKED).half())
    casts = [node for node in half.node if node.op_type == "Cast"]
    before_images = {"images"}
    for node in reversed(half.node):
        if not before_images.isdisjoint(node.output):
            before_images.update(node.input)
    assert not [node for node in casts if not before_images.isdisjoint(node.output)]
    constants = {t.name: t.data_type for t in half.initializer if t.name in before_images}
    assert constants["flat"] == TensorProto.FLOAT
    assert casts


def test_a_session_in_half_precision_answers_nearly_as_one_in_float32(tiny_bundle: Bundle) -> None:
    path, weights = path_of(tiny_bundle, GraphRole.FORWARD), tiny_bundle.weights()
    images = np.random.default_rng(0).normal(size=(2, 3, 32, 32)).astype(np.float32)
    answers = [
        Session(path, device, weights).run({"images": images}, ["logits"], Execution())[0]
        for device in (replace(HALF, precision="float32"), HALF)
    ]
    drift = relative_difference(answers[1], answers[0])
    assert answers[1].dtype == np.float32
    # Rounded to 11 bits, 5e-4 each; bits would be equal had nothing been rounded.
    assert 1e-5 < drift < 1e-2


def test_weights_inside_change_nothing(tiny_bundle: Bundle, tmp_path: Path) -> None:
    whole = graph_of(tiny_bundle, GraphRole.FORWARD).whole()
    assert not whole.weights
    assert isinstance(whole.model, bytes)
    (tmp_path / "alone.onnx").write_bytes(whole.model)
    images = np.random.default_rng(0).normal(size=(1, 3, 32, 32)).astype(np.float32)
    beside = Session(path_of(tiny_bundle, GraphRole.FORWARD), Device(threads=1))
    found = [
        session.run({"images": images}, ["logits"], Execution())[0]
        for session in (Session(tmp_path / "alone.onnx", Device(threads=1)), beside)
    ]
    np.testing.assert_array_equal(*found)


def test_weights_given_as_bytes_go_before_the_file_and_are_in_the_digest(
    tiny_bundle: Bundle,
) -> None:
    graph = graph_of(tiny_bundle, GraphRole.FORWARD)
    (name, data), *_ = graph.weights.items()
    zeros = replace(graph, weights={name: bytes(len(data))}).whole()
    large = [t.raw_data for t in read(zeros).initializer if len(t.raw_data) >= 1024]
    assert large  # Smaller ones lie in the graph itself.
    assert not any(map(any, large))
    assert zeros.digest() != graph.whole().digest() == graph.whole().digest()


@pytest.mark.parametrize("length", [0, 5000])
def test_weights_that_are_cut_short_are_refused(tiny_bundle: Bundle, length: int) -> None:
    graph = graph_of(tiny_bundle, GraphRole.FORWARD)
    (name, data), *_ = graph.weights.items()
    with pytest.raises(BundleRefused, match="too short for the weights of"):
        replace(graph, weights={name: data[:length]}).half()


def test_weights_that_are_nowhere_are_refused_without_their_path(
    tiny_bundle: Bundle, tmp_path: Path
) -> None:
    graph = replace(graph_of(tiny_bundle, GraphRole.FORWARD), weights={}, directory=tmp_path)
    with pytest.raises(BundleRefused, match=r"'weights.bin' cannot be read: No such file") as told:
        graph.whole()
    assert str(tmp_path) not in str(told.value)
