"""manifest.json: what is written is read back, and what contradicts itself is refused."""

import json
from dataclasses import replace

import pytest

from salience_service.bundle.manifest import (
    FROM_A_TAP,
    ColourOrder,
    Graph,
    GraphRole,
    Head,
    Interpolation,
    Manifest,
    OutputKind,
    PrecisionCost,
    Resize,
    ResizeRule,
    Tap,
    TokenLayout,
)
from salience_service.bundle.manifest_json import from_json, to_json
from salience_service.errors import BundleRefused
from tests.support.bundles import tiny_bundle


@pytest.fixture(scope="module")
def manifest(tmp_path_factory) -> Manifest:
    return tiny_bundle(tmp_path_factory.mktemp("tiny") / "1")


def changed(manifest: Manifest, *place: str | int, to: object) -> str:
    """The manifest's JSON with the value at `place` replaced."""
    tree = json.loads(to_json(manifest))
    inner = tree
    for step in place[:-1]:
        inner = inner[step]
    inner[place[-1]] = to
    return json.dumps(tree)


def test_a_manifest_comes_back_as_it_was_written(manifest):
    assert from_json(to_json(manifest)) == manifest
    assert from_json(to_json(manifest).encode()) == manifest


def test_every_member_of_every_enum_survives_the_file(manifest):
    for rule in ResizeRule:
        for interpolation in Interpolation:
            resize = Resize(rule, interpolation, short_side=8)
            each = replace(manifest, input=replace(manifest.input, resize=resize))
            assert from_json(to_json(each)) == each
    for kind in OutputKind:
        each = replace(manifest, head=Head(kind, 3))
        assert from_json(to_json(each)) == each
    for layout in TokenLayout:
        each = replace(manifest, taps=(replace(manifest.taps[0], layout=layout),))
        assert from_json(to_json(each)) == each
    others = set(GraphRole) - {graph.role for graph in manifest.graphs}
    more = tuple(_graph(role, "conv" if role in FROM_A_TAP else "") for role in others)
    each = replace(manifest, graphs=manifest.graphs + more)
    assert from_json(to_json(each)) == each
    for order in ColourOrder:
        grey = order is ColourOrder.GREY
        numbers = (0.5,) if grey else (0.5, 0.4, 0.3)
        contract = replace(
            manifest.input,
            channels=len(numbers),
            colour_order=order,
            mean=numbers,
            std=numbers,
        )
        each = replace(manifest, input=contract)
        assert from_json(to_json(each)) == each


def test_precisions_survive_the_file_and_may_be_absent(manifest):
    assert manifest.precisions == ()
    precisions = (PrecisionCost("tf32", 3e-3, 9e-3), PrecisionCost("float16", 0.0, 1e-3))
    each = replace(manifest, precisions=precisions)
    assert from_json(to_json(each)) == each
    assert each.tolerance("tf32") == 9e-3
    assert each.tolerance("float32") == manifest.golden.tolerance
    with pytest.raises(BundleRefused, match="does not say what float16 costs: export it"):
        replace(manifest, precisions=precisions[:1]).tolerance("float16")


@pytest.mark.parametrize(
    ("precisions", "said"),
    [
        ([PrecisionCost("tf32", 0.1, 0.1)] * 2, "a precision occurs twice"),
        ([PrecisionCost("tf32", -1.0, 0.1)], "parity of tf32 is -1.0"),
        ([PrecisionCost("tf32", float("inf"), 0.1)], "parity of tf32 is inf"),
        ([PrecisionCost("tf32", 0.1, 0.0)], "tolerance of tf32 is 0.0"),
        ([PrecisionCost("tf32", 0.1, 1.0)], "tolerance of tf32 is 1.0"),
        ([PrecisionCost("tf32", 0.1, float("nan"))], "tolerance of tf32 is nan"),
    ],
)
def test_a_precision_that_makes_no_sense_is_refused(manifest, precisions, said):
    with pytest.raises(BundleRefused, match=said):
        to_json(replace(manifest, precisions=tuple(precisions)))


def _graph(role: GraphRole, tap: str) -> Graph:
    return Graph(role, "forward.onnx", 18, tap=tap, live=("skip",) if tap else ())


def test_fields_are_written_in_the_words_of_the_contract(manifest):
    tree = json.loads(to_json(manifest))
    assert tree["schema_version"] == 2
    assert tree["input"]["colour_order"] == "COLOUR_ORDER_RGB"
    assert tree["input"]["resize"]["short_side"] == 10


def test_a_field_that_this_reader_does_not_know_is_ignored(manifest):
    assert from_json(changed(manifest, "calibration", to={"temperature": 2})) == manifest
    assert from_json(changed(manifest, "head", "later", to=[1])) == manifest


def test_a_graph_whose_role_this_reader_does_not_know_is_ignored(manifest):
    for role in ("GRAPH_ROLE_LATER", "GRAPH_ROLE_UNSPECIFIED", 99):
        graphs = json.loads(to_json(manifest))["graphs"]
        text = changed(
            manifest, "graphs", to=[*graphs, {"role": role, "path": "forward.onnx", "opset": 18}]
        )
        assert from_json(text) == manifest


@pytest.mark.parametrize("text", ["", "{", "[1]", "7", "nonsense", b"\xff\xfe", "[" * 100_000])
def test_text_that_is_not_a_manifest_is_refused(text):
    with pytest.raises(BundleRefused, match="is not a manifest"):
        from_json(text)


@pytest.mark.parametrize("version", [0, 1, 3, 4_000_000_000])
def test_another_schema_version_is_refused(manifest, version):
    with pytest.raises(BundleRefused, match=f"schema version {version}"):
        from_json(changed(manifest, "schema_version", to=version))


@pytest.mark.parametrize(
    ("place", "kind"),
    [
        (("input", "colour_order"), "ColourOrder"),
        (("input", "resize", "rule"), "ResizeRule"),
        (("input", "resize", "interpolation"), "Interpolation"),
        (("head", "kind"), "OutputKind"),
        (("taps", 0, "layout"), "TokenLayout"),
    ],
)
@pytest.mark.parametrize("value", [0, 77, "NEVER_HEARD_OF"])
def test_an_enum_that_is_unstated_or_unknown_is_refused(manifest, place, kind, value):
    with pytest.raises(BundleRefused, match=f"states no {kind}"):
        from_json(changed(manifest, *place, to=value))


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        (("input", "channels"), 2, "channels is 2; use 1 or 3"),
        (("input", "channels"), 1, "colour order RGB does not fit 1 channels"),
        (("input", "height"), 0, "height is 0; use 1 to 8192"),
        (("input", "width"), 8193, "width is 8193; use 1 to 8192"),
        (("input", "white"), 0, "white is 0.0"),
        (("input", "white"), "Infinity", "white is inf"),
        (("input", "mean"), [0.5, 0.5], "mean has 2 numbers for 3 channels"),
        (("input", "mean"), [0.5, "NaN", 0.5], "mean must be finite"),
        (("input", "std"), [1, 1, 1, 1], "std has 4 numbers for 3 channels"),
        (("input", "std"), [1, 0, 1], "std must be above 0"),
        (("input", "std"), [1, "Infinity", 1], "std must be finite"),
        (("input", "resize", "short_side"), 7, "short_side is 7; the crop needs 8 to 8192"),
        (("head", "classes"), 0, "classes is 0"),
        (("head", "classes"), 1_000_001, "classes is 1000001; use 1 to 1000000"),
        (("head", "labels"), ["cat"], "1 labels for 3 classes"),
        (("head", "thresholds"), [0.5, 0.5], "2 thresholds for 3 classes"),
        (("head", "thresholds"), [0.5, 0.5, 1.5], "thresholds must lie"),
        (("taps", 0, "channels"), 0, "tap 'conv' is 0×8×8"),
        (("taps", 0, "height"), 0, "tap 'conv' is 2×0×8"),
        (("taps", 0, "name"), "", "a tap has no name"),
        (("files", 0, "sha256"), "00", "has no SHA-256"),
        (("golden", "path"), "other.npz", "'other.npz' is named but not among the files"),
        (("golden", "tolerance"), 0, "golden tolerance is 0.0"),
        (("golden", "tolerance"), "NaN", "golden tolerance is nan"),
        (("graphs", 0, "path"), "none.onnx", "'none.onnx' is named but not among the files"),
        (("graphs", 0, "path"), "golden.npz", "'golden.npz' must end in .onnx"),
        (("graphs", 0, "opset"), 0, "has opset 0"),
        (("graphs", 0, "tap"), "conv", "no business with tap 'conv'"),
        (("graphs", 0, "role"), "GRAPH_ROLE_MASKED", "0 graphs have the role 'forward'"),
        (("torch_program",), "program.pt2", "'program.pt2' is named but not among the files"),
        (("torch_program",), "golden.npz", "'golden.npz' must end in .pt2"),
        (("source", "kind"), "caffe", "source kind 'caffe'"),
        (("source", "digest"), "", "source digest"),
        (("source", "parity"), -1, "source parity is -1.0"),
        (("name",), "../tiny", "'../tiny' is not a name"),
        (("version",), "", "'' is not a name"),
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused(manifest, place, value, said):
    with pytest.raises(BundleRefused) as refusal:
        from_json(changed(manifest, *place, to=value))
    assert said in str(refusal.value)


@pytest.mark.parametrize(
    "path",
    ["../weights.bin", "/etc/passwd", "a/b", "a\\b", "..", ".hidden", "", "manifest.json", "a\0b"],
)
def test_a_file_that_is_not_a_plain_name_is_refused(manifest, path):
    with pytest.raises(BundleRefused, match="is not a plain file name"):
        from_json(changed(manifest, "files", 3, "path", to=path))


def test_a_tail_without_a_known_tap_is_refused(manifest):
    tail = Graph(GraphRole.TAIL, "forward.onnx", 18, tap="elsewhere")
    with pytest.raises(BundleRefused, match="no business with tap 'elsewhere'"):
        to_json(replace(manifest, graphs=(*manifest.graphs, tail)))


def test_graphs_from_a_tap_that_differ_in_what_they_need_are_refused(manifest):
    tails = (
        Graph(role, "forward.onnx", 18, manifest.taps[0].name, live)
        for role, live in ((GraphRole.TAIL, ("skip",)), (GraphRole.TAIL_GRADIENT, ()))
    )
    gradients = (_graph(GraphRole.GRADIENT, ""), _graph(GraphRole.MASKED_GRADIENT, ""))
    with pytest.raises(BundleRefused, match="differ in what they need"):
        to_json(replace(manifest, graphs=(*manifest.graphs, *gradients, *tails)))


def test_a_tail_gradient_without_the_graph_it_is_held_against_is_refused(manifest):
    tail = Graph(GraphRole.TAIL_GRADIENT, "forward.onnx", 18, tap=manifest.taps[0].name)
    with pytest.raises(BundleRefused, match="needs the gradient graph"):
        to_json(replace(manifest, graphs=(*manifest.graphs, tail)))


def test_names_that_occur_twice_are_refused(manifest):
    tap = manifest.taps[0]
    for taps in ((tap, tap), (tap, Tap("other", 1, 1, 1, output=tap.output))):
        with pytest.raises(BundleRefused, match="occurs twice"):
            to_json(replace(manifest, taps=taps))
    with pytest.raises(BundleRefused, match="occurs twice"):
        to_json(replace(manifest, files=manifest.files * 2))
    with pytest.raises(BundleRefused, match="2 graphs have the role"):
        to_json(replace(manifest, graphs=manifest.graphs * 2))


def test_an_invalid_manifest_is_not_written_either(manifest):
    with pytest.raises(BundleRefused, match="labels for"):
        to_json(replace(manifest, head=Head(OutputKind.SOFTMAX, 3, labels=("one",))))
