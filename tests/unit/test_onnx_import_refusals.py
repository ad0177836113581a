"""ONNX files that cannot be exported: each is told what it is and what would help."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnxruntime.quantization import CalibrationDataReader, quantize_static

from salience_export.contract import Layout
from salience_export.errors import ExportError
from salience_export.graphs.normal import raise_opset
from salience_export.sources.onnx_file import open_onnx
from salience_service.bundle.manifest import OutputKind
from tests.support.contracts import image_contract
from tests.support.onnx_networks import Drawing, images, mobile_net

Carrying = Callable[[Drawing, str], str]


def refuse(
    directory: Path,
    model: onnx.ModelProto,
    reason: str,
    declared: OutputKind = OutputKind.SOFTMAX,
    taps: Sequence[str] = (),
    layout: Layout = Layout.NCHW,
) -> None:
    """Saves the model and expects the refusal to hold these words, and no path."""
    onnx.save(model, directory / "model.onnx")
    with pytest.raises(ExportError, match=re.escape(reason)) as refusal:
        open_onnx(directory / "model.onnx", image_contract(), declared, taps, layout)
    assert str(directory) not in str(refusal.value)


def pooled_dense(d: Drawing, x: str) -> onnx.ModelProto:
    d.dense(d.op("Flatten", d.op("GlobalAveragePool", x)), (8, 5), to="logits")
    return d.model("logits")


def ending_in(operator: str, **attributes: int) -> onnx.ModelProto:
    model = mobile_net()
    model.graph.node.append(onnx.helper.make_node(operator, ["logits"], ["out"], **attributes))
    model.graph.output[0].name = "out"
    return model


def test_several_inputs_are_refused_by_name(tmp_path: Path) -> None:
    model = mobile_net()
    model.graph.input.append(onnx.helper.make_tensor_value_info("prior", 1, ["N", 3, 32, 32]))
    refuse(tmp_path, model, "takes 2 inputs ('images', 'prior'); only models of one image")


def test_no_input_is_refused(tmp_path: Path) -> None:
    model = mobile_net()
    del model.graph.input[:]
    refuse(tmp_path, model, "takes 0 inputs")


@pytest.mark.parametrize("shape", [("N", 1, 8, 32, 32), (3, 32, 32), ("N", 3)], ids=str)
def test_volumes_and_other_ranks_are_refused_by_name(
    tmp_path: Path, shape: tuple[int | str, ...]
) -> None:
    d = Drawing()
    d.op("Relu", "images", to="logits")
    refuse(tmp_path, d.model("logits", shape), f"input 'images' has shape {list(shape)}")


@pytest.mark.parametrize(("element", "word"), [(2, "uint8"), (3, "int8"), (10, "float16")])
def test_inputs_that_are_not_float32_are_refused_by_name(
    tmp_path: Path, element: int, word: str
) -> None:
    d = Drawing()
    model = d.model(d.op("Identity", "images"), element=element)
    model.graph.output[0].type.tensor_type.elem_type = element
    refuse(tmp_path, model, f"input 'images' is {word}: export the model with a float32 input")


def test_a_size_that_the_contract_does_not_say_is_refused(tmp_path: Path) -> None:
    d = Drawing()
    d.op("Flatten", d.op("GlobalAveragePool", "images"), to="logits")
    model = d.model("logits", ("N", 3, 64, 32))
    refuse(tmp_path, model, "is ['N', 3, 64, 32], but the contract says ['N', 3, 32, 32]")


def test_another_layout_than_the_contracts_is_refused(tmp_path: Path) -> None:
    refuse(tmp_path, mobile_net(), "correct channels, height, width or layout", layout=Layout.NHWC)


def test_outputs_that_leave_a_choice_are_refused_by_name(tmp_path: Path) -> None:
    model = mobile_net()
    model.graph.node.append(onnx.helper.make_node("Neg", ["logits"], ["other"]))
    model.graph.output.append(onnx.ValueInfoProto(name="other"))
    model.graph.output[-1].type.tensor_type.elem_type = 1
    refuse(tmp_path, model, "outputs 'logits', 'other', and not exactly one is [N, K]")


def test_an_output_that_is_no_row_of_numbers_is_refused(tmp_path: Path) -> None:
    model = mobile_net()
    model.graph.output[0].name = "head"
    refuse(tmp_path, model, "output 'head' has shape ['N', 24, 8, 8], not [N, K] with a free N")


@pytest.mark.parametrize(
    ("operator", "declared"),
    [
        ("Sigmoid", OutputKind.SOFTMAX),
        ("Softmax", OutputKind.SIGMOID),
        ("Sigmoid", OutputKind.LOG_PROBABILITY),
    ],
)
def test_an_end_that_contradicts_the_declaration_is_refused(
    tmp_path: Path, operator: str, declared: OutputKind
) -> None:
    reason = f"ends in {operator}, but its output is declared {declared.value}"
    refuse(tmp_path, ending_in(operator), reason, declared)


def test_a_sigmoid_written_in_other_operators_is_refused(tmp_path: Path) -> None:
    d = Drawing()
    x = d.op("Relu", d.conv("images", (3, 8), stride=2))
    x = d.dense(d.op("Flatten", d.op("GlobalAveragePool", x)), (8, 5))
    one = d.weight("one", np.ones((), np.float32))
    d.op("Reciprocal", d.op("Add", d.op("Exp", d.op("Neg", x)), one), to="p")
    refuse(tmp_path, d.model("p"), "no Sigmoid stands at the end", OutputKind.SIGMOID)


def number(d: Drawing, value: float) -> str:
    return d.weight(f"number_{len(d.weights)}", np.array(value, np.float32))


def averaged(d: Drawing) -> str:
    return d.op("Mul", d.op("Add", *heads(d, "Sigmoid", 2)), number(d, 0.5))


def in_percent(d: Drawing) -> str:
    return d.op("Mul", *heads(d, "Sigmoid", 1), number(d, 100))


def stacked(d: Drawing) -> str:
    rows = [d.op("Unsqueeze", head, d.ints(0)) for head in heads(d, "Sigmoid", 2)]
    return d.op("ReduceMean", d.op("Concat", *rows, axis=0), axes=[0], keepdims=0)


def by_tangent(d: Drawing) -> str:
    turned = d.op("Tanh", d.op("Mul", dense_net(d), number(d, 0.5)))
    return d.op("Add", d.op("Mul", turned, number(d, 0.5)), number(d, 0.5))


def by_exponentials(d: Drawing) -> str:
    powers = d.op("Exp", dense_net(d))
    return d.op("Div", powers, d.op("Add", powers, number(d, 1)))


def clipped(d: Drawing) -> str:
    return d.op("Clip", *heads(d, "Sigmoid", 1), number(d, 1e-6), number(d, 1 - 1e-6))


def heads(d: Drawing, operator: str, count: int) -> list[str]:
    return [d.op(operator, dense_net(d)) for _ in range(count)]


@pytest.mark.parametrize(
    "drawn",
    [
        averaged,
        in_percent,
        stacked,
        by_tangent,
        by_exponentials,
        clipped,
        lambda d: d.op("Mean", *heads(d, "Sigmoid", 3)),
        lambda d: d.op("Max", *heads(d, "Sigmoid", 2)),
        lambda d: d.op("Mean", *heads(d, "Softmax", 3)),
    ],
)
def test_probabilities_that_were_computed_on_are_no_logits_of_sigmoids(
    tmp_path: Path, drawn: Callable[[Drawing], str]
) -> None:
    d = Drawing()
    refuse(tmp_path, d.model(drawn(d)), "no Sigmoid stands at the end", OutputKind.SIGMOID)


def gated(d: Drawing) -> str:
    x = features(d)
    return d.op("Mul", d.dense(x, (8, 5)), d.op("Sigmoid", d.dense(x, (8, 5))))


def mixed(d: Drawing) -> str:
    """Two experts' logits, each weighed by a softmax."""
    x = features(d)
    share = d.op("Split", d.op("Softmax", d.dense(x, (8, 2))), axis=1)
    d.nodes[-1].output.append("other")
    return d.op("Add", *[d.op("Mul", d.dense(x, (8, 5)), each) for each in (share, "other")])


def capped(d: Drawing) -> str:
    return d.op("Mul", d.op("Tanh", dense_net(d)), number(d, 30))


def small(d: Drawing) -> str:
    """Logits that lie in [0, 1] for every image of noise, divided by a temperature."""
    x = d.op("Mul", dense_net(d), number(d, 1e-3))
    return d.op("Div", d.op("Add", x, number(d, 0.5)), number(d, 2))


def rectified(d: Drawing) -> str:
    return d.op("Relu", dense_net(d))


@pytest.mark.parametrize("drawn", [gated, mixed, capped, small, rectified])
def test_what_only_looks_like_probabilities_is_logits_of_sigmoids(
    tmp_path: Path, drawn: Callable[[Drawing], str]
) -> None:
    d = Drawing()
    onnx.save(d.model(drawn(d)), tmp_path / "model.onnx")
    source = open_onnx(tmp_path / "model.onnx", image_contract(), OutputKind.SIGMOID)
    assert source.output is OutputKind.SIGMOID


def dense_net(d: Drawing, classes: int = 5) -> str:
    return d.dense(features(d), (8, classes))


def features(d: Drawing) -> str:
    x = d.op("Relu", d.conv("images", (3, 8), stride=2))
    return d.op("Flatten", d.op("GlobalAveragePool", x))


def quantised(d: Drawing, x: str) -> str:
    scale = d.weight("scale", np.array(1 / 256, np.float32))
    zero = d.weight("zero", np.array(0, np.uint8))
    return d.op("DequantizeLinear", d.op("QuantizeLinear", x, scale, zero), scale, zero)


def cast(d: Drawing, x: str) -> str:
    d.nodes.append(onnx.helper.make_node("Cast", [x], ["cast"], to=onnx.TensorProto.FLOAT))
    return "cast"


def joined(d: Drawing, x: str) -> str:
    return d.op("Concat", x, d.op("Identity", x), axis=1)


def picked(d: Drawing, x: str) -> str:
    return d.op("Gather", x, d.ints(4, 2), axis=1)


@pytest.mark.parametrize(
    ("operator", "declared", "carried"),
    [
        ("Sigmoid", OutputKind.SIGMOID, quantised),
        ("Sigmoid", OutputKind.SIGMOID, cast),
        ("Sigmoid", OutputKind.SIGMOID, joined),
        ("Softmax", OutputKind.SOFTMAX, quantised),
        ("Softmax", OutputKind.SOFTMAX, joined),
        ("LogSoftmax", OutputKind.SOFTMAX, picked),
        ("Softmax", OutputKind.LOG_PROBABILITY, picked),
    ],
)
def test_probabilities_that_are_carried_on_are_refused(
    tmp_path: Path, operator: str, declared: OutputKind, carried: Carrying
) -> None:
    d = Drawing()
    model = d.model(carried(d, d.op(operator, dense_net(d))))
    refuse(tmp_path, model, "export the model with its logits as output", declared)


@pytest.mark.parametrize("carried", [joined, picked])
def test_log_probabilities_that_are_picked_or_joined_are_refused_as_such(
    tmp_path: Path, carried: Carrying
) -> None:
    d = Drawing()
    model = d.model(carried(d, d.op("LogSoftmax", dense_net(d))))
    refuse(tmp_path, model, "seems to be log-probabilities, picked or joined, but no LogSoftmax")


def test_a_softmax_that_is_carried_on_contradicts_findings(tmp_path: Path) -> None:
    d = Drawing()
    model = d.model(picked(d, d.op("Softmax", dense_net(d))))
    reason = "ends in Softmax, but its output is declared sigmoid"
    refuse(tmp_path, model, reason, OutputKind.SIGMOID)


def test_a_quantised_softmax_written_in_other_operators_is_refused(tmp_path: Path) -> None:
    d = Drawing()
    powers = d.op("Exp", dense_net(d))
    model = d.model(quantised(d, d.op("Div", powers, d.op("ReduceSum", powers, d.ints(1)))))
    refuse(tmp_path, model, "no Softmax stands at the end")


def test_a_softmax_over_another_axis_than_the_classes_is_refused(tmp_path: Path) -> None:
    refuse(tmp_path, ending_in("Softmax", axis=0), "does not run over the classes")


def test_images_that_influence_each_other_are_refused(tmp_path: Path) -> None:
    d = Drawing()
    x = d.op("Relu", d.conv("images", (3, 8), stride=2))
    x = d.op("Sub", x, d.op("ReduceMean", x, axes=[0]))
    reason = "mixes the images of a batch: two images at once give other numbers than one by one"
    refuse(tmp_path, pooled_dense(d, x), reason)


def test_what_draws_at_random_is_refused(tmp_path: Path) -> None:
    d = Drawing()
    x = d.op("Relu", d.conv("images", (3, 8), stride=2))
    model = pooled_dense(d, d.op("Add", x, d.op("RandomNormalLike", x)))
    refuse(tmp_path, model, "gives an image other numbers the second time: it draws at random")


class Calibration(CalibrationDataReader):  # type: ignore[misc]
    """A few images to quantise by."""

    def __init__(self) -> None:
        self._left = [{"images": image[None]} for image in images(4)]

    def get_next(self) -> dict[str, np.ndarray] | None:
        return self._left.pop() if self._left else None


def test_a_quantised_network_that_is_computed_otherwise_with_taps_is_named_so(
    tmp_path: Path,
) -> None:
    d = Drawing()
    x = d.op("Relu", d.conv("images", (3, 8), stride=2))
    x = d.op("Relu", d.conv(x, (8, 8), stride=2))
    onnx.save(pooled_dense(d, x), tmp_path / "float.onnx")
    quantize_static(tmp_path / "float.onnx", tmp_path / "int8.onnx", Calibration())
    reason = "the model is quantised: "
    refuse(tmp_path, onnx.load(tmp_path / "int8.onnx"), reason)


def test_a_quantised_model_is_refused_as_such(tmp_path: Path) -> None:
    d = Drawing()
    scale, zero = number(d, 1 / 64), d.weight("zero", np.array(0, np.uint8))
    x = d.op("QuantizeLinear", "images", scale, zero)
    w = d.weight("w", d.random.integers(0, 9, (5, 3, 8, 8), np.uint8))
    x = d.op("QLinearConv", x, scale, zero, w, scale, zero, scale, zero)
    x = d.op("DequantizeLinear", x, scale, zero)
    model = d.model(d.op("Flatten", d.op("GlobalAveragePool", x)))
    reason = "is quantised (QLinearConv compute in eight bits): export the float32 model"
    refuse(tmp_path, model, reason)


def test_an_operator_that_hides_its_shape_is_named(tmp_path: Path) -> None:
    d = Drawing()
    x = d.conv("images", (3, 8), stride=2)
    d.nodes.append(onnx.helper.make_node("Gelu", [x], ["bent"], domain="com.microsoft"))
    model = pooled_dense(d, "bent")
    model.opset_import.append(onnx.helper.make_opsetid("com.microsoft", 1))
    reason = "since that of 'bent', which a Gelu makes, is unknown; export the model without Gelu"
    refuse(tmp_path, model, reason)


def test_where_the_file_alone_knows_a_shape_behind_it_the_end_is_found(tmp_path: Path) -> None:
    d = Drawing()
    x = dense_net(d)
    d.nodes.append(onnx.helper.make_node("Gelu", [x], ["logits"], domain="com.microsoft"))
    model = d.model("logits")
    model.opset_import.append(onnx.helper.make_opsetid("com.microsoft", 1))
    model.graph.output[0].CopyFrom(onnx.helper.make_tensor_value_info("logits", 1, ["N", 5]))
    onnx.save(model, tmp_path / "model.onnx")
    assert open_onnx(tmp_path / "model.onnx", image_contract(), OutputKind.SOFTMAX).classes == 5


def test_a_class_token_at_a_fixed_batch_asks_for_a_free_one(tmp_path: Path) -> None:
    d = Drawing()
    x = d.conv("images", (3, 8), kernel=1)
    x = d.op("Transpose", d.op("Reshape", x, d.ints(1, 8, 1024)), perm=[0, 2, 1])
    x = d.op("Concat", d.weight("class", np.ones((1, 1, 8), np.float32)), x, axis=1)
    d.dense(d.op("ReduceMean", x, axes=[1], keepdims=0), (8, 5), to="logits")
    model = d.model("logits", (1, 3, 32, 32))
    refuse(tmp_path, model, "which a Concat makes, is unknown; export the model with a free batch")


def test_a_batch_stated_where_it_cannot_be_freed_is_refused(tmp_path: Path) -> None:
    d = Drawing()
    x = d.op("Relu", d.conv("images", (3, 8), stride=2))
    x = d.op("Resize", x, "", "", d.ints(1, 8, 8, 8), mode="nearest")
    d.dense(d.op("Flatten", d.op("GlobalAveragePool", x)), (8, 5), to="logits")
    model = d.model("logits", (1, 3, 32, 32))
    refuse(tmp_path, model, "output 'logits' has shape [1, 5], not [N, K] with a free N")


def test_operators_that_the_runtime_lacks_are_named(tmp_path: Path) -> None:
    model = mobile_net()
    model.graph.node.append(
        onnx.helper.make_node("SecretSauce", ["logits"], ["out"], domain="acme")
    )
    model.opset_import.append(onnx.helper.make_opsetid("acme", 1))
    model.graph.output[0].name = "out"
    refuse(tmp_path, model, "SecretSauce")


def test_an_opset_that_cannot_be_raised_is_refused() -> None:
    d = Drawing()
    tiles = [d.weight(name, np.ones((), np.float32)) for name in ("tiles", "axis")]
    d.op("Tile", "images", *tiles, to="logits")
    with pytest.raises(ExportError, match="opset 5 cannot be raised to 17"):
        raise_opset(d.model("logits", opset=5))


def test_a_tap_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    refuse(tmp_path, mobile_net(), "computes no tensor 'nowhere'", taps=["nowhere"])


def test_an_empty_file_is_refused_as_such(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"")
    with pytest.raises(ExportError, match=r"^model\.onnx is empty$"):
        open_onnx(tmp_path / "model.onnx", image_contract(), OutputKind.SOFTMAX)


def test_an_input_without_a_shape_is_refused_as_such(tmp_path: Path) -> None:
    model = mobile_net()
    model.graph.input[0].type.tensor_type.ClearField("shape")
    refuse(
        tmp_path, model, "input 'images' states no shape: export the model with ['N', 3, 32, 32]"
    )


@pytest.mark.parametrize("content", [b"no model", b"\x08\x08\x12\xff\xff"], ids=repr)
def test_what_is_no_onnx_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.onnx").write_bytes(content)
    with pytest.raises(ExportError, match="no ONNX file"):
        open_onnx(tmp_path / "model.onnx", image_contract(), OutputKind.SOFTMAX)


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    content = mobile_net().SerializeToString()
    (tmp_path / "model.onnx").write_bytes(content[: len(content) // 2])
    with pytest.raises(ExportError, match="no ONNX file"):
        open_onnx(tmp_path / "model.onnx", image_contract(), OutputKind.SOFTMAX)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=re.escape("absent.onnx cannot be read")):
        open_onnx(tmp_path / "absent.onnx", image_contract(), OutputKind.SOFTMAX)


def external(directory: Path, location: str) -> Path:
    """A model whose weights are said to lie at `location`."""
    inner = directory / "inner"
    inner.mkdir()
    onnx.save(mobile_net(), inner / "model.onnx", save_as_external_data=True, location="w.bin")
    (inner / "w.bin").rename(directory / "w.bin")
    model = onnx.load(inner / "model.onnx", load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = location
    (inner / "model.onnx").write_bytes(model.SerializeToString())
    return inner / "model.onnx"


@pytest.mark.parametrize("kind", ["parent", "absolute", "link", "missing"])
def test_external_weights_outside_the_files_directory_are_refused(
    tmp_path: Path, kind: str
) -> None:
    location = {"parent": "../w.bin", "absolute": str(tmp_path / "w.bin")}.get(kind, "w.bin")
    path = external(tmp_path, location)
    if kind == "link":
        (path.parent / "w.bin").symlink_to(tmp_path / "w.bin")
    with pytest.raises(ExportError, match="missing, damaged or outside its directory") as refusal:
        open_onnx(path, image_contract(), OutputKind.SOFTMAX)
    assert str(tmp_path) not in str(refusal.value)
