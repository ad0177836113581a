"""ONNX files as sources: what is changed on the way, and that it still is the file."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from salience_export.contract import Layout
from salience_export.graphs.batch import free_batch
from salience_export.graphs.build import GradientGraphs, build_graphs
from salience_export.source import SourceModel
from salience_export.sources.onnx_file import open_onnx
from salience_service.bundle.manifest import OutputKind
from tests.support.contracts import image_contract
from tests.support.onnx_networks import Drawing, evaluate, fire_net, images, mobile_net, run

Import = Callable[..., SourceModel]


@pytest.fixture
def imported(tmp_path: Path) -> Import:
    """Saves a model and opens it."""

    def imported(
        model: onnx.ModelProto,
        declared: OutputKind = OutputKind.SOFTMAX,
        taps: tuple[str, ...] = (),
        layout: Layout = Layout.NCHW,
    ) -> SourceModel:
        onnx.save(model, tmp_path / "model.onnx")
        return open_onnx(tmp_path / "model.onnx", image_contract(), declared, taps, layout)

    return imported


def logits_of(source: SourceModel, count: int = 3) -> np.ndarray:
    """Our logits, once they are proved equal to the source's own word, features too."""
    found = run(source.model, images=images(count))["logits"]
    reference = source.reference(images(count))
    np.testing.assert_allclose(found, reference.logits, rtol=1e-4, atol=1e-4)
    assert set(reference.features) == {tap.name for tap in source.taps}
    for tap in source.taps:
        assert reference.features[tap.name].shape == (count, tap.channels, tap.height, tap.width)
    return found


def after_softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def old_fire_net() -> onnx.ModelProto:
    """Batch fixed to 1, opset 7, class scores as maps and a softmax [1, K, 1, 1]."""
    drawing, pooled = fire_net()
    drawing.op("Softmax", pooled, to="probabilities", axis=1)
    model = drawing.model("probabilities", (1, 3, 32, 32), opset=7)
    model.graph.input[0].name = model.graph.node[0].input[0] = "data_0"
    return model


def test_a_plain_file_is_taken_as_it_is(imported: Import) -> None:
    source = imported(mobile_net())
    assert source.changes == ()
    assert (source.kind, source.output) == ("onnx", OutputKind.SOFTMAX)
    assert [tap.name for tap in source.taps] == ["block0", "block3", "head"]
    (expected,) = evaluate(mobile_net(), images(3), "logits")
    np.testing.assert_allclose(logits_of(source), expected, rtol=1e-4, atol=1e-4)


def test_an_old_file_with_fixed_batch_and_softmax_is_brought_into_form(imported: Import) -> None:
    source = imported(old_fire_net())
    assert source.changes == (
        "input 'data_0' is called 'images'",
        "the batch, fixed to 1, was made free",
        "opset 7 was raised to 17",
        "the Softmax at the end was cut off",
        "output 'probabilities' is called 'logits'",
    )
    assert source.model.opset_import[0].version == 17
    assert [tap.name for tap in source.taps] == ["conv1", "fire"]
    probabilities = evaluate(old_fire_net(), images(3), "probabilities")[0].reshape(3, 10)
    np.testing.assert_allclose(after_softmax(logits_of(source)), probabilities, atol=1e-5)


def test_every_step_of_a_batch_stated_in_reshapes_is_freed(imported: Import) -> None:
    d = Drawing()
    x = d.op("Relu", d.conv("images", (3, 8), stride=2), to="relu")
    x = d.op("Reshape", x, d.ints(1, 2, 4, 16, 16), to="grouped")
    x = d.op("Transpose", x, perm=[0, 2, 1, 3, 4])
    x = d.op("Reshape", x, d.ints(1, 8, 16, 16), to="shuffled")
    x = d.op("Reshape", d.op("GlobalAveragePool", x), d.ints(1, -1), to="flat")
    d.dense(x, (8, 5), to="logits")
    source = imported(d.model("logits", (1, 3, 32, 32)))
    assert source.changes == (
        "the batch, fixed to 1, was made free",
        "target shapes without the batch: Reshape of grouped, shuffled, flat",
    )
    logits_of(source)


def test_a_fixed_batch_of_four_is_freed_too(imported: Import) -> None:
    d = Drawing()
    x = d.op("Relu", d.conv("images", (3, 8), stride=2), to="relu")
    x = d.op("Reshape", d.op("GlobalAveragePool", x), d.ints(4, 8))
    d.dense(x, (8, 5), to="logits")
    logits_of(imported(d.model("logits", (4, 3, 32, 32))), count=5)


def windowed() -> onnx.ModelProto:
    """A map cut into windows and put together again, at a stated batch of one."""
    d = Drawing()
    x = d.op("Transpose", d.op("Relu", d.conv("images", (3, 8), stride=2)), perm=[0, 2, 3, 1])
    x = d.op("Transpose", d.op("Reshape", x, d.ints(1, 2, 8, 2, 8, 8)), perm=[0, 1, 3, 2, 4, 5])
    x = d.op("Reshape", x, d.ints(4, 8, 8, -1), to="windows")
    x = d.op("Reshape", d.op("Neg", x), d.ints(1, 2, 2, 8, 8, -1), to="together")
    x = d.op("Transpose", x, perm=[0, 5, 1, 3, 2, 4])
    x = d.op("Reshape", x, d.ints(1, 8, 16, 16), to="maps")
    d.dense(d.op("Flatten", d.op("GlobalAveragePool", x)), (8, 5), to="logits")
    return d.model("logits", (1, 3, 32, 32))


def test_the_windows_of_a_batch_of_one_are_put_together_again(imported: Import) -> None:
    source = imported(windowed())
    assert any("windows, together, maps" in change for change in source.changes)
    logits_of(source)


def test_inner_shapes_that_a_file_states_for_another_batch_are_left_aside() -> None:
    model = windowed()
    stated = onnx.helper.make_tensor_value_info("windows", onnx.TensorProto.FLOAT, [5, 8, 8, 8])
    model.graph.value_info.append(stated)
    (found, changed), (expected, _) = free_batch(model, 1), free_batch(windowed(), 1)
    assert changed[-3:] == ("windows", "together", "maps")
    assert list(found.graph.initializer) == list(expected.graph.initializer)


def test_sizes_below_one_are_free(imported: Import) -> None:
    source = imported(mobile_net_of(-1, 3, -1, -1))
    assert source.changes == ()
    logits_of(source)


def mobile_net_of(*sizes: int) -> onnx.ModelProto:
    model = mobile_net()
    for stated, size in zip(model.graph.input[0].type.tensor_type.shape.dim, sizes, strict=True):
        stated.dim_value = size
    return model


def old_opset(opset: int) -> onnx.ModelProto:
    """A ReLU6 whose limits are attributes, or axes that are one."""
    d = Drawing()
    x = d.conv("images", (3, 8), stride=2)
    x = d.op("Clip", x, min=0.0, max=6.0) if opset < 11 else d.relu6(x)
    d.dense(d.op("ReduceSum", x, axes=[2, 3], keepdims=0), (8, 5), to="logits")
    return d.model("logits", opset=opset)


@pytest.mark.parametrize("opset", [9, 12])
def test_what_a_raised_opset_makes_inputs_of_has_gradients(imported: Import, opset: int) -> None:
    source = imported(old_opset(opset))
    assert isinstance(build_graphs(source.model, source.taps).gradients, GradientGraphs)
    (expected,) = evaluate(old_opset(opset), images(3), "logits")
    np.testing.assert_allclose(logits_of(source), expected, rtol=1e-4, atol=1e-4)


def later_opset(opset: int, middle: Callable[[Drawing, str], str]) -> onnx.ModelProto:
    """Maxima of windows, and something between them and the dense layer."""
    d = Drawing()
    x = d.op("Elu", d.conv("images", (3, 8), stride=2))
    x = middle(d, d.op("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2], to="pooled"))
    d.dense(d.op("Flatten", d.op("GlobalMaxPool", x)), (8, 5), to="logits")
    return d.model("logits", opset=opset)


def normalised(d: Drawing, x: str) -> str:
    ones = [d.weight(name, np.ones(8, np.float32)) for name in ("scale", "shift")]
    return d.op("GroupNormalization", x, *ones, num_groups=2)


@pytest.mark.parametrize("opset", [22, 24])
def test_a_later_opset_is_lowered_to_one_that_gpus_run(imported: Import, opset: int) -> None:
    lowered, same = (imported(later_opset(each, normalised)) for each in (opset, 21))
    assert lowered.changes == (f"opset {opset} was lowered to 21",)
    assert same.changes == ()
    assert lowered.model == same.model
    assert isinstance(build_graphs(lowered.model, lowered.taps).gradients, GradientGraphs)
    logits_of(lowered)


def swished(d: Drawing, x: str) -> str:
    return d.op("Swish", x)


def sparsely_pooled(d: Drawing, x: str) -> str:
    """Its last windows would begin behind the image: shape inference counts them at opset 21."""
    more = {"kernel_shape": [2, 2], "strides": [6, 6], "pads": [1] * 4, "ceil_mode": 1}
    twice = d.weight("twice", np.array([1, 1, 2, 2], np.float32))
    return d.op("MaxPool", d.op("Resize", x, "", twice), **more)


@pytest.mark.parametrize("middle", [swished, sparsely_pooled])
def test_what_an_earlier_opset_would_not_say_keeps_its_own(
    imported: Import, middle: Callable[[Drawing, str], str]
) -> None:
    source = imported(later_opset(24, middle))
    assert source.changes == ()
    logits_of(source)


def test_nhwc_files_get_a_transpose_in_front(imported: Import) -> None:
    d = Drawing()
    x = d.op("Transpose", "images", perm=[0, 3, 1, 2], to="turned")
    x = d.op("Relu", d.conv(x, (3, 8), stride=2), to="relu")
    d.dense(d.op("Flatten", d.op("GlobalAveragePool", x)), (8, 5), to="logits")
    model = d.model("logits", ("N", 32, 32, 3))
    source = imported(model, layout=Layout.NHWC)
    assert source.changes == ("a Transpose turns [N, C, H, W] into the file's [N, H, W, C]",)
    (expected,) = evaluate(model, images(3).transpose(0, 2, 3, 1), "logits")
    np.testing.assert_allclose(logits_of(source), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("end", ["Identity", "Flatten", "Squeeze", "Reshape"])
def test_a_softmax_behind_a_change_of_shape_is_cut(imported: Import, end: str) -> None:
    drawing, pooled = fire_net()
    x = drawing.op("Softmax", pooled, axis=1)
    shapes = {"Squeeze": (2, 3), "Reshape": (-1, 10)}
    given = [drawing.ints(*shapes[end])] if end in shapes else []
    drawing.op(end, x, *given, to="probabilities")
    source = imported(drawing.model("probabilities"))
    assert "the Softmax at the end was cut off" in source.changes
    assert source.model.graph.output[0].type.tensor_type.shape.dim[1].dim_value == 10
    logits_of(source)


@pytest.mark.parametrize(
    ("operator", "declared", "meaning"),
    [
        ("Softmax", OutputKind.SOFTMAX, OutputKind.SOFTMAX),
        ("LogSoftmax", OutputKind.SOFTMAX, OutputKind.SOFTMAX),
        ("LogSoftmax", OutputKind.LOG_PROBABILITY, OutputKind.SOFTMAX),
        ("Sigmoid", OutputKind.SIGMOID, OutputKind.SIGMOID),
    ],
)
def test_the_head_is_cut_to_logits(
    imported: Import, operator: str, declared: OutputKind, meaning: OutputKind
) -> None:
    model = mobile_net()
    model.graph.node.append(onnx.helper.make_node(operator, ["logits"], ["out"]))
    model.graph.output[0].name = "out"
    source = imported(model, declared)
    assert source.output is meaning
    (expected,) = evaluate(model, images(3), "logits")
    np.testing.assert_allclose(logits_of(source), expected, rtol=1e-4, atol=1e-4)


def turned(d: Drawing, x: str) -> str:
    return d.op("Transpose", d.op("Transpose", x, perm=[1, 0]), perm=[1, 0])


def quantised(d: Drawing, x: str) -> str:
    scale = d.weight("scale", np.array(1 / 16, np.float32))
    zero = d.weight("zero", np.array(255, np.uint8))
    return d.op("DequantizeLinear", d.op("QuantizeLinear", x, scale, zero), scale, zero)


@pytest.mark.parametrize("carried", [turned, quantised])
def test_a_log_softmax_that_is_carried_on_whole_is_logits(
    imported: Import, carried: Callable[[Drawing, str], str]
) -> None:
    d = Drawing()
    x = d.op("Relu", d.conv("images", (3, 8), stride=2), to="relu")
    x = d.dense(d.op("Flatten", d.op("GlobalAveragePool", x)), (8, 5))
    end = carried(d, d.op("LogSoftmax", x, to="log_p"))
    source = imported(d.model(end, opset=21))
    assert source.output is OutputKind.SOFTMAX
    (expected,) = evaluate(d.model(end, opset=21), images(3), "log_p")
    np.testing.assert_allclose(logits_of(source), expected, atol=0.04)  # eight bits: 1/32


@pytest.mark.parametrize("declared", [OutputKind.SOFTMAX, OutputKind.SIGMOID])
def test_an_output_called_logits_that_are_probabilities_is_cut(
    imported: Import, declared: OutputKind
) -> None:
    d = Drawing()
    x = d.op("Relu", d.conv("images", (3, 8), stride=2), to="relu")
    x = d.dense(d.op("Flatten", d.op("GlobalAveragePool", x)), (8, 5), to="before")
    d.op(declared.value.capitalize(), x, to="logits")
    (expected,) = evaluate(d.model("logits"), images(3), "before")
    found = logits_of(imported(d.model("logits"), declared))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_a_regression_keeps_the_sigmoid_that_is_part_of_it(imported: Import) -> None:
    model = mobile_net(classes=2)
    model.graph.node.append(onnx.helper.make_node("Sigmoid", ["logits"], ["out"]))
    model.graph.output[0].name = "out"
    source = imported(model, OutputKind.REGRESSION)
    assert source.output is OutputKind.REGRESSION
    (expected,) = evaluate(model, images(3), "out")
    np.testing.assert_allclose(logits_of(source), expected, rtol=1e-4, atol=1e-4)


def decomposed_softmax(scale: float = 1.0) -> onnx.ModelProto:
    d = Drawing()
    x = d.op("Relu", d.conv("images", (3, 8), stride=2), to="relu")
    x = d.dense(d.op("Flatten", d.op("GlobalAveragePool", x)), (8, 5), to="before")
    x = d.op("Mul", x, d.weight("scale", np.array(scale, np.float32)))
    powers = d.op("Exp", d.op("Sub", x, d.op("ReduceMax", x, axes=[1])))
    d.op("Div", powers, d.op("ReduceSum", powers, d.ints(1)), to="probabilities")
    return d.model("probabilities")


def test_a_softmax_written_in_other_operators_gives_log_probabilities(imported: Import) -> None:
    source = imported(decomposed_softmax())
    assert source.output is OutputKind.LOG_PROBABILITY
    assert "log p is put out, since no Softmax could be found to cut off" in source.changes
    (probabilities,) = evaluate(decomposed_softmax(), images(3), "probabilities")
    np.testing.assert_allclose(np.exp(logits_of(source)), probabilities, rtol=1e-4)


def test_a_probability_of_zero_becomes_a_finite_logarithm(imported: Import) -> None:
    found = logits_of(imported(decomposed_softmax(scale=500)))
    assert np.isfinite(found).all()
    assert found.min() == pytest.approx(np.log(np.finfo(np.float32).tiny))


def test_the_only_output_that_fits_is_taken(imported: Import) -> None:
    model = mobile_net()
    model.graph.output.append(onnx.ValueInfoProto(name="head"))
    model.graph.output[-1].type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    source = imported(model)
    assert [output.name for output in source.model.graph.output] == ["logits"]
    logits_of(source)


def test_named_tensors_become_the_taps(imported: Import) -> None:
    source = imported(mobile_net(), taps=("inside2", "stem"))
    assert [tap.name for tap in source.taps] == ["stem", "inside2"]
    features = source.reference(images(2)).features
    for name, expected in zip(
        ("inside2", "stem"), evaluate(mobile_net(), images(2), "inside2", "stem"), strict=True
    ):
        np.testing.assert_allclose(features[name], expected, rtol=1e-4, atol=1e-4)


def test_constants_written_as_nodes_and_weights_listed_as_inputs_are_held(
    imported: Import,
) -> None:
    model = mobile_net()
    held = model.graph.initializer.pop()
    model.graph.node.insert(0, onnx.helper.make_node("Constant", [], [held.name], value=held))
    model.graph.input.extend(
        onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        for tensor in model.graph.initializer
    )
    model.ir_version = 3
    source = imported(model)
    assert [value.name for value in source.model.graph.input] == ["images"]
    assert held.name in {tensor.name for tensor in source.model.graph.initializer}
    logits_of(source)


def test_constants_in_each_of_their_forms_are_held(imported: Import) -> None:
    d = Drawing()
    d.nodes = [
        onnx.helper.make_node("Constant", [], [name], **{form: value})
        for name, form, value in (
            ("low", "value_float", 0.0),
            ("high", "value_float", 6.0),
            ("target", "value_ints", [-1, 8]),
            ("scales", "value_floats", [0.5] * 8),
            ("column", "value_int", 0),
        )
    ]
    x = d.op("Clip", d.conv("images", (3, 8), stride=2), "low", "high")
    x = d.op("Gather", d.op("GlobalAveragePool", x), "column", axis=3)
    d.dense(d.op("Mul", d.op("Reshape", x, "target"), "scales"), (8, 5), to="logits")
    source = imported(d.model("logits"))
    assert {node.op_type for node in source.model.graph.node}.isdisjoint({"Constant"})
    assert isinstance(build_graphs(source.model, source.taps).gradients, GradientGraphs)
    logits_of(source)


def test_weights_that_are_stated_sparsely_are_held(imported: Import) -> None:
    model, expected = mobile_net(), mobile_net()
    for graph, sparsely in ((model.graph, True), (expected.graph, False)):
        weight = graph.initializer.pop(-2)
        values = onnx.numpy_helper.to_array(weight).copy()
        values[::2] = 0
        if sparsely:
            graph.sparse_initializer.append(sparse(values, weight.name))
        else:
            graph.initializer.append(onnx.numpy_helper.from_array(values, weight.name))
    (logits,) = evaluate(expected, images(3), "logits")
    np.testing.assert_allclose(logits_of(imported(model)), logits, rtol=1e-4, atol=1e-4)


def sparse(values: np.ndarray, name: str) -> onnx.SparseTensorProto:
    places = np.flatnonzero(values)
    return onnx.helper.make_sparse_tensor(
        onnx.numpy_helper.from_array(values.ravel()[places], name),
        onnx.numpy_helper.from_array(places, f"{name}/places"),
        values.shape,
    )


def test_a_softmax_within_a_function_of_the_file_is_cut(imported: Import) -> None:
    model = mobile_net()
    opset = [onnx.helper.make_opsetid("", 17)]
    body = [
        onnx.helper.make_node("Neg", ["a"], ["c"]),
        onnx.helper.make_node("Softmax", ["c"], ["b"]),
    ]
    model.functions.append(onnx.helper.make_function("own", "Head", ["a"], ["b"], body, opset))
    model.opset_import.append(onnx.helper.make_opsetid("own", 1))
    model.graph.node.append(onnx.helper.make_node("Head", ["logits"], ["out"], domain="own"))
    model.graph.output[0].name = "out"
    source = imported(model)
    assert "the Softmax at the end was cut off" in source.changes
    (expected,) = evaluate(mobile_net(), images(3), "logits")
    np.testing.assert_allclose(logits_of(source), -expected, rtol=1e-4, atol=1e-4)


def test_functions_of_the_file_are_written_out(imported: Import) -> None:
    model = mobile_net()
    opset = [onnx.helper.make_opsetid("", 17)]
    double = [onnx.helper.make_node("Add", ["a", "a"], ["b"])]
    model.functions.append(onnx.helper.make_function("own", "Double", ["a"], ["b"], double, opset))
    model.opset_import.append(onnx.helper.make_opsetid("own", 1))
    model.graph.node.append(onnx.helper.make_node("Double", ["logits"], ["out"], domain="own"))
    model.graph.output[0].name = "out"
    source = imported(model)
    assert not source.model.functions
    (expected,) = evaluate(mobile_net(), images(3), "logits")
    np.testing.assert_allclose(logits_of(source), 2 * expected, rtol=1e-4, atol=1e-4)


def test_a_quantised_file_that_takes_float32_and_runs_is_taken(imported: Import) -> None:
    d = Drawing()
    scale = d.weight("scale", np.array(0.05, np.float32))
    zero = d.weight("zero", np.array(128, np.uint8))
    x = d.op("Relu", d.conv("images", (3, 8), stride=2))
    x = d.op("DequantizeLinear", d.op("QuantizeLinear", x, scale, zero), scale, zero, to="relu")
    d.dense(d.op("Flatten", d.op("GlobalAveragePool", x)), (8, 5), to="logits")
    logits_of(imported(d.model("logits")))


def test_external_weights_beside_the_file_are_read_and_digested(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(mobile_net(), path, save_as_external_data=True, location="w.bin", size_threshold=0)
    source = open_onnx(path, image_contract(), OutputKind.SOFTMAX)
    (expected,) = evaluate(mobile_net(), images(3), "logits")
    np.testing.assert_allclose(logits_of(source), expected, rtol=1e-4, atol=1e-4)
    weights = bytearray((tmp_path / "w.bin").read_bytes())
    weights[0] ^= 1
    (tmp_path / "w.bin").write_bytes(weights)
    other = open_onnx(path, image_contract(), OutputKind.SOFTMAX)
    assert other.digest != source.digest


def test_external_weights_within_nodes_are_digested_too(tmp_path: Path) -> None:
    network = mobile_net()
    bias = onnx.numpy_helper.from_array(np.zeros(1, np.float32), "zero")
    network.graph.node.append(onnx.helper.make_node("Constant", [], ["unused"], value=bias))
    path = tmp_path / "model.onnx"
    onnx.save(
        network,
        path,
        save_as_external_data=True,
        all_tensors_to_one_file=False,
        size_threshold=0,
        convert_attribute=True,
    )
    within = next(tmp_path.glob("zero*"))
    first = open_onnx(path, image_contract(), OutputKind.SOFTMAX).digest
    within.write_bytes(np.ones(1, np.float32).tobytes())
    assert open_onnx(path, image_contract(), OutputKind.SOFTMAX).digest != first
