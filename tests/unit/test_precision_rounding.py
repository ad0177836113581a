"""Graphs that round as TF32 and float16 do: bit for bit what NumPy rounds apart."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from salience_export.precision.rounding import in_float16, in_tf32

F32 = NDArray[np.float32]
DRAWN = np.random.default_rng(0)
IMAGES = DRAWN.normal(size=(2, 4, 9, 9)).astype(np.float32)
KERNEL = (0.3 * DRAWN.normal(size=(6, 4, 3, 3))).astype(np.float32)
MATRIX = (0.3 * DRAWN.normal(size=(6, 5))).astype(np.float32)
BIAS = DRAWN.normal(size=6).astype(np.float32)


def tf32(numbers: F32) -> F32:
    """To the nearest number of 10 bits of mantissa, by their bits; none here lies between two."""
    bits = numbers.view(np.uint32)
    assert not ((bits & 0x1FFF) == 0x1000).any()
    return ((bits + 0x1000) & ~np.uint32(0x1FFF)).view(np.float32)


def half(numbers: F32) -> F32:
    return numbers.astype(np.float16).astype(np.float32)


def network(images: F32 = IMAGES) -> onnx.ModelProto:
    """Conv with bias, global mean, MatMul; `features` put out on the way."""
    nodes = [
        helper.make_node("Conv", ["images", "kernel", "bias"], ["features"]),
        helper.make_node("ReduceMean", ["features"], ["pooled"], axes=[2, 3], keepdims=0),
        helper.make_node("MatMul", ["pooled", "matrix"], ["logits"]),
    ]
    weights = {"kernel": KERNEL, "bias": BIAS, "matrix": MATRIX}
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("images", 1, ["N", *images.shape[1:]])],
        [
            helper.make_tensor_value_info("features", 1, ["N", 6, 7, 7]),
            helper.make_tensor_value_info("logits", 1, ["N", 5]),
        ],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def run(model: onnx.ModelProto, outputs: list[str], **feeds: F32) -> list[F32]:
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    own = {value.name for value in model.graph.output}
    onnx.checker.check_model(model)
    shown.graph.output.extend(onnx.ValueInfoProto(name=n) for n in outputs if n not in own)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    found: list[F32] = ort.InferenceSession(shown.SerializeToString(), options).run(outputs, feeds)
    return found


def test_operands_in_tf32_are_those_that_numpy_rounds() -> None:
    twins = ["rounded/images", "rounded/kernel", "rounded/pooled", "rounded/matrix", "pooled"]
    images, kernel, pooled, matrix, own = run(in_tf32(network()), twins, images=IMAGES)
    np.testing.assert_array_equal(images, tf32(IMAGES))
    np.testing.assert_array_equal(kernel, tf32(KERNEL))
    np.testing.assert_array_equal(pooled, tf32(own))
    np.testing.assert_array_equal(matrix, tf32(MATRIX))


def test_a_convolution_in_tf32_is_the_one_of_rounded_operands_summed_in_float32() -> None:
    (found,) = run(in_tf32(network()), ["features"], images=IMAGES)
    apart = network()
    apart.graph.initializer[0].CopyFrom(numpy_helper.from_array(tf32(KERNEL), "kernel"))
    (expected,) = run(apart, ["features"], images=tf32(IMAGES))
    np.testing.assert_array_equal(found, expected)


def test_sums_and_what_is_no_product_stay_in_float32_under_tf32() -> None:
    features, pooled = run(in_tf32(network()), ["features", "pooled"], images=IMAGES)
    assert (features != tf32(features.copy())).any()
    np.testing.assert_allclose(pooled, features.mean((2, 3)), rtol=1e-5)


@pytest.mark.parametrize("size", [2.0**-100, 2.0**-10, 1.0, 2.0**17, 2.0**100])
def test_tf32_keeps_the_range_of_float32(size: float) -> None:
    images = (IMAGES * size).astype(np.float32)
    (found,) = run(in_tf32(network()), ["rounded/images"], images=images)
    np.testing.assert_array_equal(found, tf32(images))


def test_every_number_of_a_network_in_float16_is_one() -> None:
    names = ["rounded/images", "rounded/bias", "rounded/pooled", "features", "logits"]
    images, bias, pooled, features, logits = run(in_float16(network()), names, images=IMAGES)
    np.testing.assert_array_equal(images, half(IMAGES))
    np.testing.assert_array_equal(bias, half(BIAS))
    for numbers in (pooled, features, logits):
        np.testing.assert_array_equal(numbers, half(numbers))


def test_float16_keeps_its_rounding_where_the_runtime_optimises() -> None:
    model = in_float16(network()).SerializeToString()
    found = ort.InferenceSession(model).run(["features"], {"images": IMAGES})[0]
    np.testing.assert_array_equal(found, half(found))


def test_float16_overflows_where_float16_does() -> None:
    (found,) = run(in_float16(network()), ["rounded/images"], images=IMAGES * 1e5)
    assert np.isinf(found).any()


def test_what_composes_the_images_stays_in_float32_under_float16() -> None:
    model = network()
    model.graph.node.insert(0, helper.make_node("Mul", ["source", "mask"], ["images"]))
    model.graph.input[0].name = "source"
    model.graph.input.append(helper.make_tensor_value_info("mask", 1, ["N", 1, 9, 9]))
    mask = DRAWN.uniform(size=(2, 1, 9, 9)).astype(np.float32)
    images, rounded = run(in_float16(model), ["images", "rounded/images"], source=IMAGES, mask=mask)
    np.testing.assert_array_equal(images, IMAGES * mask)
    np.testing.assert_array_equal(rounded, half(IMAGES * mask))


def test_the_model_itself_is_left_as_it_is() -> None:
    model = network()
    before = model.SerializeToString(deterministic=True)
    in_tf32(model)
    in_float16(model)
    assert model.SerializeToString(deterministic=True) == before


def test_what_comes_of_a_group_normalization_is_rounded_too() -> None:
    nodes = [
        helper.make_node("GroupNormalization", ["images", "scale", "shift"], ["n"], num_groups=2),
        helper.make_node("Relu", ["n"], ["positive"]),
        helper.make_node("Conv", ["positive", "kernel"], ["features"]),
    ]
    weights = {"scale": BIAS[:4], "shift": BIAS[2:], "kernel": KERNEL}
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("images", 1, ["N", *IMAGES.shape[1:]])],
        [helper.make_tensor_value_info("features", 1, ["N", 6, 7, 7])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    opset = [helper.make_opsetid("", 21)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=10)
    own, rounded = run(in_tf32(model), ["positive", "rounded/positive"], images=IMAGES)
    np.testing.assert_array_equal(rounded, tf32(own))
