"""Small networks written in ONNX, their weights from a seed: no torch, no files."""

from collections.abc import Sequence

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator


class Drawing:
    """A graph drawn operator by operator; every method returns the tensor it makes."""

    def __init__(self, seed: int = 0) -> None:
        self.random = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def weight(self, name: str, values: NDArray[np.generic]) -> str:
        self.weights.append(numpy_helper.from_array(values, name))
        return name

    def op(self, kind: str, *inputs: str, to: str = "", **attributes: object) -> str:
        name = to or f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    def ints(self, *values: int) -> str:
        return self.weight(f"ints_{len(self.weights)}", np.array(values, np.int64))

    def conv(
        self,
        x: str,
        channels: tuple[int, int],
        kernel: int = 3,
        stride: int = 1,
        group: int = 1,
        to: str = "",
    ) -> str:
        before, after = channels
        shape = (after, before // group, kernel, kernel)
        scale = (2 / np.prod(shape[1:])) ** 0.5
        values = self.random.normal(0, scale, shape).astype(np.float32)
        bias = self.random.normal(0, 0.2, after).astype(np.float32)
        number = len(self.weights)
        names = [self.weight(f"w{number}", values), self.weight(f"b{number}", bias)]
        pads = [kernel // 2] * 4
        return self.op("Conv", x, *names, to=to, strides=[stride] * 2, pads=pads, group=group)

    def relu6(self, x: str, to: str = "") -> str:
        limits = [np.array(value, np.float32) for value in (0, 6)]
        names = [self.weight(f"c{len(self.weights)}", value) for value in limits]
        return self.op("Clip", x, *names, to=to)

    def dense(self, x: str, sizes: tuple[int, int], to: str = "") -> str:
        values = self.random.normal(0, sizes[0] ** -0.5, sizes).astype(np.float32)
        bias = self.random.normal(0, 0.2, sizes[1]).astype(np.float32)
        number = len(self.weights)
        names = [self.weight(f"w{number}", values), self.weight(f"b{number}", bias)]
        return self.op("Gemm", x, *names, to=to)

    def model(
        self,
        output: str,
        shape: Sequence[int | str] = ("N", 3, 32, 32),
        opset: int = 17,
        element: int = TensorProto.FLOAT,
    ) -> onnx.ModelProto:
        graph = helper.make_graph(
            self.nodes,
            "drawn",
            [helper.make_tensor_value_info("images", element, shape)],
            [onnx.ValueInfoProto(name=output, type=helper.make_tensor_type_proto(1, None))],
            self.weights,
        )
        return helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8
        )


def mobile_net(classes: int = 10) -> onnx.ModelProto:
    """Inverted residuals as in MobileNetV2, one with and one without a sum; Gemm at the end."""
    d = Drawing()
    x = d.relu6(d.conv("images", (3, 8), stride=2), to="stem")
    x = d.conv(d.relu6(d.conv(x, (8, 8), group=8)), (8, 6), 1, to="block0")
    x = _inverted(d, x, (6, 10), stride=2, to="block1")
    y = _inverted(d, x, (10, 10), stride=1, to="inside2")
    x = d.op("Add", x, y, to="block2")
    x = _inverted(d, x, (10, 12), stride=1, to="block3")
    x = d.relu6(d.conv(x, (12, 24), 1), to="head")
    x = d.op("Flatten", d.op("GlobalAveragePool", x), axis=1)
    d.dense(x, (24, classes), to="logits")
    return d.model("logits")


def _inverted(d: Drawing, x: str, channels: tuple[int, int], stride: int, to: str) -> str:
    wide = 2 * channels[0]
    x = d.relu6(d.conv(x, (channels[0], wide), 1))
    x = d.relu6(d.conv(x, (wide, wide), stride=stride, group=wide))
    return d.conv(x, (wide, channels[1]), 1, to=to)


def fire_net(classes: int = 10) -> tuple[Drawing, str]:
    """SqueezeNet's fire and its end: class scores as maps; returns them pooled [N, K, 1, 1]."""
    d = Drawing()
    x = d.op("Relu", d.conv("images", (3, 8), stride=2), to="conv1")
    x = d.op("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    s = d.op("Relu", d.conv(x, (8, 4), 1))
    one = d.op("Relu", d.conv(s, (4, 6), 1), to="expand1")
    three = d.op("Relu", d.conv(s, (4, 6)), to="expand3")
    x = d.op("Concat", one, three, to="fire", axis=1)
    x = d.op("Identity", x, to="kept")
    x = d.op("Relu", d.conv(x, (12, classes), 1), to="scores")
    return d, d.op("GlobalAveragePool", x, to="pooled")


def transformer(class_tokens: int, blocks: int = 2, stem: int = 0) -> onnx.ModelProto:
    """Blocks of attention and a ReLU, each after its norm, over 16 patches of 32×32 images.

    Args:
        class_tokens: before the patches; the first makes the logits. 0: their mean does.
        blocks: their sums are `sum_0`, … after attention and `block_0`, … at the end.
        stem: convolutions before the patches.
    """
    d, x = Drawing(), "images"
    for number in range(stem):
        x = d.conv(x, (3, 3), to=f"stem_{number}")
    kernel = d.weight("kernel", d.random.normal(size=(6, 3, 8, 8)).astype(np.float32))
    x = d.op("Conv", x, kernel, strides=[8, 8], to="patches")
    x = d.op("Transpose", d.op("Reshape", x, d.ints(0, 6, 16)), perm=[0, 2, 1])
    if class_tokens:
        x = d.op("Pad", x, d.ints(0, class_tokens, 0, 0, 0, 0))
    for number in range(blocks):
        y = normed(d, x, f"attended_{number}")
        scores = d.op("Softmax", d.op("MatMul", y, d.op("Transpose", y, perm=[0, 2, 1])))
        x = d.op("Add", x, d.op("MatMul", scores, y), to=f"sum_{number}")
        x = d.op("Add", x, d.op("Relu", normed(d, x)), to=f"block_{number}")
    x = normed(d, x, "norm")
    read = d.op("Gather", x, d.weight("first", np.array(0)), axis=1)
    mean = d.op("ReduceMean", x, axes=[1], keepdims=0)
    d.dense(read if class_tokens else mean, (6, 3), to="logits")
    return d.model("logits")


def normed(d: Drawing, x: str, to: str = "") -> str:
    """The LayerNormalization of tokens of 6 channels."""
    weights = d.random.uniform(0.5, 1.5, 6).astype(np.float32)
    return d.op("LayerNormalization", x, d.weight(f"norm_{len(d.weights)}", weights), to=to)


def evaluate(
    model: onnx.ModelProto, images: NDArray[np.float32], *tensors: str
) -> list[NDArray[np.float32]]:
    """Tensors of the model by onnx's own evaluator in numpy: no runtime, nothing of ours."""
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    del shown.graph.output[:]
    shown.graph.output.extend(
        onnx.ValueInfoProto(name=name, type=helper.make_tensor_type_proto(1, None))
        for name in tensors
    )
    return ReferenceEvaluator(shown).run(None, {model.graph.input[0].name: images})


def images(count: int = 2, seed: int = 7, side: int = 32) -> NDArray[np.float32]:
    """Random images [count, 3, side, side]."""
    shape = (count, 3, side, side)
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def run(model: onnx.ModelProto, **feeds: NDArray[np.generic]) -> dict[str, NDArray[np.float32]]:
    """All outputs of a model in ONNX Runtime, by name."""
    import onnxruntime as ort

    session = ort.InferenceSession(model.SerializeToString())
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds), strict=True))
