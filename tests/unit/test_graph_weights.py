"""The shared weights file of a bundle's graphs."""

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort

from salience_export.graphs.build import build_graphs
from salience_export.graphs.taps import choose_taps
from salience_export.graphs.weights import ALIGNMENT, LEAST, WEIGHTS, WeightsFile
from tests.support.onnx_networks import Drawing, evaluate, images, mobile_net

SECRET = "/home/someone/secret/model.py"


def graphs() -> dict[str, onnx.ModelProto]:
    built = build_graphs(mobile_net(), choose_taps(mobile_net(), 10))
    return {"forward.onnx": built.forward, "masked.onnx": built.masked}


class Shared:
    """Graphs taken one after the other into one file of weights."""

    def __init__(self, graphs: Mapping[str, onnx.ModelProto]) -> None:
        stream = io.BytesIO()
        weights = WeightsFile(stream)
        self.graphs = {name: weights.take(model) for name, model in graphs.items()}
        self.content = stream.getvalue()


def external(model: onnx.ModelProto) -> dict[str, dict[str, str]]:
    return {
        tensor.name: {entry.key: entry.value for entry in tensor.external_data}
        for tensor in model.graph.initializer
        if tensor.data_location == onnx.TensorProto.EXTERNAL
    }


def test_graphs_with_shared_weights_compute_the_same(tmp_path: Path) -> None:
    shared = Shared(graphs())
    (tmp_path / WEIGHTS).write_bytes(shared.content)
    onnx.save(shared.graphs["forward.onnx"], tmp_path / "forward.onnx")
    found = ort.InferenceSession(tmp_path / "forward.onnx").run(["logits"], {"images": images()})
    (expected,) = evaluate(mobile_net(), images(), "logits")
    np.testing.assert_allclose(found[0], expected, rtol=1e-4, atol=1e-4)


def test_weights_of_two_graphs_lie_in_the_file_once() -> None:
    both = Shared(graphs())
    one = Shared({"forward.onnx": graphs()["forward.onnx"]})
    assert both.content == one.content
    places = [external(model) for model in both.graphs.values()]
    assert places[0] == places[1] != {}


def test_equal_weights_of_other_names_lie_in_the_file_once() -> None:
    d = Drawing()
    values = np.arange(1024, dtype=np.float32)
    for name in ("one", "same", "other"):
        d.weight(name, values + (name == "other"))
    x = d.op("Add", d.op("Add", "images", "one"), "same")
    d.op("Add", x, "other", to="logits")
    shared = Shared({"graph": d.model("logits", ("N", 1024))})
    places = external(shared.graphs["graph"])
    assert places["one"] == places["same"] != places["other"]
    assert len(shared.content) == 2 * 4096


def test_graphs_made_of_a_taken_model_add_nothing_to_the_file(tmp_path: Path) -> None:
    stream = io.BytesIO()
    weights = WeightsFile(stream)
    light = weights.take(mobile_net())
    before = stream.getvalue()
    built = build_graphs(light, choose_taps(light, 10))
    graphs = [built.forward, built.masked, *built.tails]
    made = [weights.take(graph).SerializeToString() for graph in graphs]
    assert stream.getvalue() == before
    (tmp_path / WEIGHTS).write_bytes(before)
    (tmp_path / "forward.onnx").write_bytes(made[0])
    found = ort.InferenceSession(tmp_path / "forward.onnx").run(["logits"], {"images": images()})
    (expected,) = evaluate(mobile_net(), images(), "logits")
    np.testing.assert_allclose(found[0], expected, rtol=1e-4, atol=1e-4)


def test_a_taken_model_is_small_however_large_its_weights() -> None:
    model = Drawing().model("logits", ("N", 1 << 20))
    values = np.arange(1 << 20, dtype=np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(values, "w"))
    model.graph.node.append(onnx.helper.make_node("Add", ["images", "w"], ["logits"]))
    taken = WeightsFile(io.BytesIO()).take(model)
    assert taken.ByteSize() < LEAST


def test_large_tensors_begin_on_a_page_and_small_ones_stay_inside() -> None:
    shared = Shared(graphs())
    model = shared.graphs["forward.onnx"]
    places = external(model)
    assert all(int(place["offset"]) % ALIGNMENT == 0 for place in places.values())
    assert {place["location"] for place in places.values()} == {WEIGHTS}
    inside = [t for t in model.graph.initializer if t.name not in places]
    assert inside
    assert all(len(t.raw_data) < LEAST for t in inside)
    assert all(int(place["length"]) >= LEAST for place in places.values())


def test_values_kept_as_numbers_are_written_as_their_bytes() -> None:
    model = Drawing().model("logits", ("N", 300))
    values = np.linspace(-1, 1, 300).astype(np.float32)
    model.graph.initializer.append(onnx.helper.make_tensor("w", 1, [300], values.tolist()))
    model.graph.node.append(onnx.helper.make_node("Add", ["images", "w"], ["logits"]))
    assert Shared({"g": model}).content == values.astype("<f4").tobytes()


def test_notes_of_whoever_wrote_the_model_never_reach_the_bundle() -> None:
    model = mobile_net()
    model.doc_string = model.graph.doc_string = model.producer_name = SECRET
    model.metadata_props.add(key="source", value=SECRET)
    model.graph.metadata_props.add(key="source", value=SECRET)
    for message in (
        model.graph.node[0],
        model.graph.node[0].attribute[0],
        model.graph.input[0],
        model.graph.output[0],
        model.graph.initializer[0],
    ):
        message.doc_string = SECRET
    model.graph.node[0].metadata_props.add(key="pkg.torch.onnx.stack_trace", value=SECRET)
    model.graph.initializer[0].metadata_props.add(key="source", value=SECRET)
    before = model.SerializeToString()
    shared = Shared({"g": model})
    assert SECRET.encode() not in shared.graphs["g"].SerializeToString() + shared.content
    assert model.SerializeToString() == before
