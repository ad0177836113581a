"""The gradient graphs stay within what TensorRT's ONNX parser lists as supported."""

from pathlib import Path

import onnx
import pytest

from salience_export.contract_toml import read_contract
from salience_export.graphs.build import GradientGraphs, build_graphs
from salience_export.graphs.taps import choose_taps
from salience_export.sources.onnx_file import open_onnx
from salience_service.bundle.manifest import GraphRole
from tests.conftest import KINDS, BundleOf
from tests.support.onnx_networks import Drawing, mobile_net

LIST = Path(__file__).with_name("tensorrt_operators.txt")
ROOT = Path(__file__).resolve().parents[2]
MODELS = ROOT.parent / "shared" / "data" / "models"
OPSETS = range(9, 25)
ROLES = (GraphRole.GRADIENT, GraphRole.MASKED_GRADIENT)


def supported() -> set[str]:
    lines = LIST.read_text(encoding="utf-8").splitlines()
    return {line for line in lines if line and not line.startswith("#")}


def breaches(model: onnx.ModelProto) -> list[str]:
    """What the parser would not take, by the list and its restrictions that could concern us."""
    held = {tensor.name for tensor in model.graph.initializer}
    found = [f"opset {each.version}" for each in model.opset_import if each.version not in OPSETS]
    for node in model.graph.node:
        kind = node.op_type
        if node.domain or kind not in supported():
            found.append(f"operator {node.domain} {kind}")
        # "`axes` must be an initializer"
        if kind.startswith("Reduce") and len(node.input) > 1 and node.input[1] not in held:
            found.append(f"computed axes of {kind}")
        # "`Indices` output tensor unsupported", "Only the first output `Y` is supported"
        if kind in ("MaxPool", "LayerNormalization") and len(node.output) > 1:
            found.append(f"further outputs of {kind}")
        # "2D or 3D pooling only", "`dilations` must be empty or all ones"
        dilations = next((a.ints for a in node.attribute if a.name == "dilations"), ())
        if kind in ("MaxPool", "AveragePool") and set(dilations) - {1}:
            found.append(f"dilations of {kind}")
        if kind in ("ScatterND", "ScatterElements") and any(
            a.name == "reduction" and a.s != b"none" for a in node.attribute
        ):
            found.append(f"reduction of {kind}")
    return found


def test_the_list_names_its_source_and_version() -> None:
    head = LIST.read_text(encoding="utf-8").splitlines()[:4]
    assert "docs/operators.md of onnx/onnx-tensorrt" in head[1]
    assert "TensorRT 10.15" in head[2]
    assert {"Conv", "ConvTranspose", "Sign"} <= supported()
    assert not {"MaxUnpool", "Col2Im", "Swish"} & supported()


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_graphs_of_bundles_have_only_operators_on_the_list(
    bundle_of: BundleOf, kind: str
) -> None:
    bundle = bundle_of(kind)
    for role in ROLES:
        graph = bundle.manifest.graph(role)
        assert graph is not None
        model = onnx.load(bundle.path(graph.path), load_external_data=False)
        assert breaches(model) == []


def test_those_of_a_network_of_inverted_residuals_too() -> None:
    check(mobile_net(), classes=10)


@pytest.mark.parametrize("name", ["efficientnet_lite0", "mobilenet_v2", "squeezenet1.1"])
def test_those_of_the_real_files_too(name: str) -> None:
    file = MODELS / f"{name}.onnx"
    if not file.exists():
        pytest.skip(f"shared data is absent: no {file.name} in ../shared/data/models")
    contract = read_contract(ROOT / "examples" / "contracts" / f"{name}.toml")
    source = open_onnx(file, contract.input, contract.output)
    check(source.model, source.classes)


def check(model: onnx.ModelProto, classes: int) -> None:
    built = build_graphs(model, choose_taps(model, classes))
    assert isinstance(built.gradients, GradientGraphs)
    for graph in (built.gradients.gradient, built.gradients.masked):
        assert breaches(graph) == []


def test_what_the_parser_would_not_take_is_found() -> None:
    d = Drawing()
    axes = d.op("Neg", d.ints(-2))
    d.op("ReduceSum", "images", axes)
    d.op("MaxUnpool", "images", "images", kernel_shape=[2, 2])
    model = d.model("nothing", opset=25)
    values = ["pooled", "indices"]
    model.graph.node.append(
        onnx.helper.make_node("MaxPool", ["images"], values, kernel_shape=[2], dilations=[2])
    )
    model.graph.node.append(onnx.helper.make_node("Conv", ["images"], ["y"], domain="com.x"))
    assert breaches(model) == [
        "opset 25",
        "computed axes of ReduceSum",
        "operator  MaxUnpool",
        "further outputs of MaxPool",
        "dilations of MaxPool",
        "operator com.x Conv",
    ]
