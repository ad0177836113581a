"""A bundle is opened only where every file is what the manifest says, and reaches nowhere else."""

import hashlib
import io
import json
import os
import shutil
import struct
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from salience_service.bundle.golden import MAX_GOLDEN_BYTES
from salience_service.bundle.manifest import GraphRole, Tap, TokenLayout
from salience_service.bundle.reader import MAX_MANIFEST_BYTES, open_bundle, read_golden
from salience_service.errors import BundleRefused
from tests.support.broken_archives import BREAKERS
from tests.support.bundles import (
    CHANNELS,
    CLASSES,
    SIDE,
    TAP_CHANNELS,
    WEIGHTS_FILE,
    external_weight,
    forward_model,
    golden_arrays,
    masked_model,
    tiny_bundle,
    tiny_manifest,
    write_manifest,
)
from tests.support.waiting import SOON_SECONDS


@pytest.fixture
def directory(tmp_path) -> Path:
    tiny_bundle(tmp_path / "models" / "tiny" / "1")
    return tmp_path / "models" / "tiny" / "1"


def refusal(directory: Path) -> str:
    """Why the bundle is refused; never with a path of this machine in it."""
    with pytest.raises(BundleRefused) as refused:
        open_bundle(directory)
    assert str(directory.parent) not in str(refused.value)
    return str(refused.value)


def sign_again(directory: Path) -> None:
    """A manifest true to the files as they are now: what a forger would write."""
    write_manifest(directory, tiny_manifest(directory))


def edit_manifest(directory: Path, place: tuple[str | int, ...], value: object) -> None:
    tree = inner = json.loads((directory / "manifest.json").read_text())
    for step in place[:-1]:
        inner = inner[step]
    inner[place[-1]] = value
    (directory / "manifest.json").write_text(json.dumps(tree))


def with_forward(directory: Path, model: onnx.ModelProto) -> None:
    (directory / "forward.onnx").write_bytes(model.SerializeToString())
    sign_again(directory)


def test_a_whole_bundle_opens(directory):
    bundle = open_bundle(directory)
    assert bundle.manifest == tiny_manifest(directory)
    text = (directory / "manifest.json").read_bytes()
    assert bundle.digest == hashlib.sha256(text).hexdigest()
    forward = bundle.manifest.graph(GraphRole.FORWARD)
    assert bundle.path("forward.onnx") == directory / "forward.onnx"
    digest = hashlib.sha256((directory / "forward.onnx").read_bytes()).hexdigest()
    assert bundle.digest_of(forward) == digest


def test_a_file_that_the_manifest_does_not_list_is_not_given_out(directory):
    (directory / "extra.bin").write_bytes(b"more")
    bundle = open_bundle(directory)
    for name in ("extra.bin", "../../secret", "manifest.json"):
        with pytest.raises(BundleRefused, match="lists no file"):
            bundle.path(name)


def test_a_field_of_a_later_writer_is_ignored(directory):
    edit_manifest(directory, ("quantisation",), {"bits": 8})
    assert open_bundle(directory).manifest == tiny_manifest(directory)


def test_a_missing_manifest_is_refused(directory):
    (directory / "manifest.json").unlink()
    assert refusal(directory) == "'manifest.json' is missing from the bundle"


def test_a_directory_that_does_not_exist_is_refused(tmp_path):
    assert "missing" in refusal(tmp_path / "none" / "1")


def test_a_manifest_beyond_the_limit_is_refused_unread(directory):
    with (directory / "manifest.json").open("ab") as stream:
        stream.truncate(MAX_MANIFEST_BYTES + 1)
    assert f"at most {MAX_MANIFEST_BYTES}" in refusal(directory)


def test_a_manifest_at_the_limit_is_read(directory):
    path = directory / "manifest.json"
    path.write_text(path.read_text().ljust(MAX_MANIFEST_BYTES))
    assert open_bundle(directory).manifest.name == "tiny"


def test_a_manifest_of_another_schema_is_refused(directory):
    edit_manifest(directory, ("schema_version",), 3)
    assert "schema version 3" in refusal(directory)


@pytest.mark.parametrize("name", ["forward.onnx", "masked.onnx", "weights.bin", "golden.npz"])
def test_a_missing_file_is_refused(directory, name):
    (directory / name).unlink()
    assert refusal(directory) == f"'{name}' is missing from the bundle"


def test_a_file_of_another_size_is_refused(directory):
    with (directory / WEIGHTS_FILE).open("ab") as stream:
        stream.write(b"\0")
    assert refusal(directory) == "'weights.bin' has 25 bytes; its manifest says 24"


def test_a_file_with_one_bit_changed_is_refused(directory):
    data = bytearray((directory / WEIGHTS_FILE).read_bytes())
    data[7] ^= 1
    (directory / WEIGHTS_FILE).write_bytes(data)
    assert "'weights.bin' does not match its SHA-256" in refusal(directory)


@pytest.mark.parametrize("path", ["../weights.bin", "/etc/hosts", "sub/weights.bin", ".."])
def test_a_file_that_is_not_a_plain_name_is_refused(directory, path):
    files = json.loads((directory / "manifest.json").read_text())["files"]
    index = next(i for i, file in enumerate(files) if file["path"] == WEIGHTS_FILE)
    edit_manifest(directory, ("files", index, "path"), path)
    assert "is not a plain file name" in refusal(directory)


@pytest.mark.parametrize("name", ["manifest.json", "weights.bin", "forward.onnx", "golden.npz"])
def test_a_file_that_is_a_link_is_refused(directory, tmp_path, name):
    shutil.move(directory / name, tmp_path / "elsewhere")
    (directory / name).symlink_to(tmp_path / "elsewhere")
    assert f"'{name}' is not a plain file" in refusal(directory)


def test_a_link_within_the_bundle_is_refused_too(directory):
    shutil.move(directory / WEIGHTS_FILE, directory / "moved.bin")
    (directory / WEIGHTS_FILE).symlink_to("moved.bin")
    assert "'weights.bin' is not a plain file" in refusal(directory)


def test_a_pipe_in_place_of_a_file_is_refused_without_waiting(directory):
    (directory / WEIGHTS_FILE).unlink()
    os.mkfifo(directory / WEIGHTS_FILE)
    assert "'weights.bin' is not a plain file" in refusal(directory)


def test_a_directory_in_place_of_a_file_is_refused(directory):
    (directory / WEIGHTS_FILE).unlink()
    (directory / WEIGHTS_FILE).mkdir()
    assert "'weights.bin' is not a plain file" in refusal(directory)


@pytest.mark.parametrize(
    "location",
    [
        "../weights.bin",
        "../../../../etc/passwd",
        "/etc/passwd",
        "./weights.bin",
        "sub/weights.bin",
        "other.bin",
        "manifest.json",
        "*/_ORT_MEM_ADDR_/*",
        "",
    ],
)
def test_weights_that_lie_elsewhere_are_refused(directory, location):
    (directory / "other.bin").write_bytes((directory / WEIGHTS_FILE).read_bytes())
    model = forward_model(external_weight(location))
    (directory / "forward.onnx").write_bytes(model.SerializeToString())
    manifest = tiny_manifest(directory)
    listed = tuple(file for file in manifest.files if file.path != "other.bin")
    write_manifest(directory, replace(manifest, files=listed))
    assert f"takes weights from {location!r}, which is not a file" in refusal(directory)


def test_a_name_that_is_no_text_is_refused(directory):
    whole = forward_model().SerializeToString()
    (directory / "forward.onnx").write_bytes(whole.replace(b"images", b"im\xffges"))
    sign_again(directory)
    assert refusal(directory) == "'forward.onnx' holds text that is not UTF-8 (input)"


@pytest.mark.parametrize(
    "entries",
    [
        {"offset": "1"},
        {"offset": "24", "length": "1"},
        {"offset": "25", "length": "0"},
        {"length": "25"},
        {"offset": "9999999999999999999"},
        {"length": "9999999999999999999"},
    ],
)
def test_weights_beyond_the_end_of_their_file_are_refused(directory, entries):
    with_forward(directory, forward_model(external_weight(**entries)))
    assert "takes weights from beyond the end of 'weights.bin'" in refusal(directory)


@pytest.mark.parametrize("count", ["-1", "+1", "1_0", " 1", "0x8", "1e3", "", "٣", "1" * 20])
def test_a_count_of_bytes_that_is_not_one_is_refused(directory, count):
    with_forward(directory, forward_model(external_weight(offset=count)))
    assert "for a count of bytes" in refusal(directory)


def test_weights_said_to_lie_in_two_places_are_refused(directory):
    weight = external_weight()
    weight.external_data.add(key="location", value="/etc/passwd")
    with_forward(directory, forward_model(weight))
    assert "says twice where the weights of 'kernel' lie" in refusal(directory)


def test_places_are_checked_even_where_weights_claim_to_be_inside(directory):
    weight = external_weight("/etc/passwd")
    weight.data_location = TensorProto.DEFAULT
    with_forward(directory, forward_model(weight))
    assert "takes weights from '/etc/passwd'" in refusal(directory)


def hidden_in_subgraph(model: onnx.ModelProto) -> None:
    constant = helper.make_node("Constant", [], ["hidden"], value=external_weight("../x"))
    body = helper.make_graph(
        [constant], "body", [], [helper.make_tensor_value_info("hidden", TensorProto.FLOAT, None)]
    )
    node = helper.make_node("If", ["flag"], ["y"], then_branch=body, else_branch=body)
    model.graph.node.append(node)


def hidden_in_function(model: onnx.ModelProto) -> None:
    constant = helper.make_node("Constant", [], ["hidden"], value=external_weight("../x"))
    opsets = [helper.make_opsetid("", 18)]
    model.functions.append(helper.make_function("", "Mine", [], ["hidden"], [constant], opsets))


def hidden_in_tensor_list(model: onnx.ModelProto) -> None:
    attribute = onnx.AttributeProto(name="t", type=onnx.AttributeProto.TENSORS)
    attribute.tensors.append(external_weight("../x"))
    model.graph.node[0].attribute.append(attribute)


def hidden_in_sparse_weight(model: onnx.ModelProto) -> None:
    model.graph.sparse_initializer.append(
        onnx.SparseTensorProto(values=external_weight("../x"), indices=external_weight(), dims=[1])
    )


def hidden_in_training(model: onnx.ModelProto) -> None:
    model.training_info.add().initialization.initializer.append(external_weight("../x"))


@pytest.mark.parametrize(
    "hide",
    [
        hidden_in_subgraph,
        hidden_in_function,
        hidden_in_tensor_list,
        hidden_in_sparse_weight,
        hidden_in_training,
    ],
)
def test_weights_elsewhere_are_found_wherever_they_hide(directory, hide):
    model = forward_model()
    hide(model)
    with_forward(directory, model)
    assert "takes weights from '../x'" in refusal(directory)


@pytest.mark.parametrize("domain", ["com.microsoft", "my.custom", "ai.onnx.contrib"])
def test_an_operator_of_another_domain_is_refused(directory, domain):
    model = forward_model()
    model.graph.node[1].domain = domain
    with_forward(directory, model)
    assert f"an operator of the domain '{domain}'" in refusal(directory)


def test_an_operator_of_another_domain_is_found_in_a_subgraph(directory):
    model = forward_model()
    body = helper.make_graph([helper.make_node("EPContext", [], [], domain="com.x")], "b", [], [])
    model.graph.node.append(helper.make_node("Loop", [], [], body=body))
    with_forward(directory, model)
    assert "an operator of the domain 'com.x'" in refusal(directory)


def test_a_file_that_is_not_onnx_is_refused(directory):
    (directory / "masked.onnx").write_bytes(b"\xffnot a graph")
    sign_again(directory)
    assert refusal(directory) == "'masked.onnx' is not an ONNX file"


def test_a_graph_of_another_opset_is_refused(directory):
    model = forward_model()
    model.opset_import[0].version = 17
    with_forward(directory, model)
    assert "has opsets [17]; its manifest says 18" in refusal(directory)


def test_a_graph_without_its_inputs_or_outputs_is_refused(directory):
    (directory / "masked.onnx").write_bytes((directory / "forward.onnx").read_bytes())
    sign_again(directory)
    assert "'masked.onnx' takes ['images']" in refusal(directory)
    (directory / "masked.onnx").write_bytes(masked_model().SerializeToString())
    model = forward_model()
    del model.graph.output[1]
    with_forward(directory, model)
    assert "does not put out ['conv_out']" in refusal(directory)


def with_golden(directory: Path, data: bytes | None = None, **arrays: np.ndarray) -> None:
    if data is None:
        buffer = io.BytesIO()
        np.savez(buffer, **{**golden_arrays(), **arrays})
        data = buffer.getvalue()
    (directory / "golden.npz").write_bytes(data)
    sign_again(directory)


def golden_refusal(directory: Path) -> str:
    with pytest.raises(BundleRefused) as refused:
        read_golden(open_bundle(directory))
    assert str(directory.parent) not in str(refused.value)
    return str(refused.value)


def test_the_golden_example_comes_back_as_it_was_written(directory):
    golden, arrays = read_golden(open_bundle(directory)), golden_arrays()
    assert golden.image.shape == (1, CHANNELS, SIDE, SIDE)
    for name in ("image", "logits", "maps", "normalise", "scale", "shift", "masked_logits"):
        np.testing.assert_array_equal(getattr(golden, name), arrays[name])
    np.testing.assert_array_equal(golden.taps[0], arrays["tap/0"])


def test_a_golden_example_of_tokens_has_their_shape(directory):
    tokens = np.zeros((1, 1 + SIDE * SIDE, TAP_CHANNELS), np.float32)
    with_golden(directory, **{"tap/0": tokens})
    tap = Tap("conv", TAP_CHANNELS, SIDE, SIDE, "conv_out", TokenLayout.CLASS_AND_TOKENS)
    write_manifest(directory, replace(tiny_manifest(directory), taps=(tap,)))
    assert read_golden(open_bundle(directory)).taps[0].shape == (1, 65, 2)


class Payload:
    """Leaves a mark where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return (os.mkdir, (str(self.mark),))


def test_a_golden_example_with_a_pickle_is_refused_and_runs_nothing(directory, tmp_path):
    mark = tmp_path / "ran"
    evil = np.empty(1, object)
    evil[0] = Payload(mark)
    with_golden(directory, image=evil)
    assert golden_refusal(directory) == "'golden.npz' is not an .npz of plain arrays"
    assert not mark.exists()
    with np.load(directory / "golden.npz", allow_pickle=True) as arrays:
        assert arrays["image"].shape == (1,)
    assert mark.exists(), "the payload is live"


@pytest.mark.parametrize("data", [b"", b"not a zip", b"PK\x05\x06" + b"\0" * 18])
def test_a_golden_example_that_is_no_npz_is_refused(directory, data):
    with_golden(directory, data)
    assert "golden.npz" in golden_refusal(directory)


def test_a_golden_example_that_unpacks_beyond_the_limit_is_refused_unread(directory):
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("image.npy", "w", force_zip64=True) as stream,
    ):
        for _ in range(MAX_GOLDEN_BYTES // (1 << 20) + 1):
            stream.write(bytes(1 << 20))
    assert len(buffer.getvalue()) < 1 << 20
    with_golden(directory, buffer.getvalue())
    assert f"at most {MAX_GOLDEN_BYTES} are read" in golden_refusal(directory)


def test_a_golden_array_that_claims_more_than_it_holds_is_refused(directory):
    buffer = io.BytesIO()
    header = {"descr": "<f4", "fortran_order": False, "shape": (1 << 40,)}
    with zipfile.ZipFile(buffer, "w") as archive, archive.open("image.npy", "w") as stream:
        np.lib.format.write_array_header_1_0(stream, header)
    with_golden(directory, buffer.getvalue())
    assert "claims more than it holds: 'image.npy'" in golden_refusal(directory)


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("image", np.zeros((1, 3, 8, 7), np.float32)),
        ("image", np.zeros((1, 3, 8, 8), np.float64)),
        ("logits", np.zeros((1, CLASSES + 1), np.float32)),
        ("tap/0", np.zeros((1, 1, 8, 8), np.float32)),
        ("maps", np.zeros((2, 4), np.float32)),
        ("maps", np.zeros((0, 4, 4), np.float32)),
        ("normalise", np.zeros(2, np.float32)),
        ("scale", np.zeros(3, np.float32)),
        ("shift", np.full(2, np.nan, np.float32)),
        ("masked_logits", np.full((2, CLASSES), np.inf, np.float32)),
    ],
)
def test_a_golden_array_that_does_not_fit_is_refused(directory, name, array):
    with_golden(directory, **{name: array})
    assert f"{name!r}" in golden_refusal(directory)


@pytest.mark.parametrize("name", sorted(golden_arrays()))
def test_a_missing_golden_array_is_refused(directory, name):
    arrays = golden_arrays()
    del arrays[name]
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    with_golden(directory, buffer.getvalue())
    assert f"{name!r}" in golden_refusal(directory)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
@pytest.mark.parametrize("name", ["manifest.json", "weights.bin"])
def test_a_file_that_may_not_be_read_refuses_its_bundle_alone(directory, name):
    (directory / name).chmod(0)
    assert "cannot be read" in refusal(directory)


def _array_before_the_archive() -> bytes:
    """To whoever looks at its end an archive; at its beginning, an array of its own size."""
    buffer, archive = io.BytesIO(), io.BytesIO()
    np.save(buffer, np.zeros(3, np.float32))
    np.savez(archive, **golden_arrays())
    return buffer.getvalue() + archive.getvalue()


@pytest.mark.parametrize("broken", BREAKERS.values(), ids=BREAKERS)
def test_a_golden_example_that_cannot_be_unpacked_is_refused(directory, broken):
    buffer = io.BytesIO()
    np.savez(buffer, **golden_arrays())
    with_golden(directory, broken(buffer.getvalue()))
    assert "golden.npz" in golden_refusal(directory)


@pytest.mark.parametrize(
    "header",
    [
        "-" * 9800 + "1",
        "(",
        "{[]: 1}",
        "{'descr': (), 'fortran_order': False, 'shape': (1,)}",
        f"{{'descr': '<f4', 'fortran_order': False, 'shape': (0, {10**99})}}",
    ],
    ids=["deep", "open", "unhashable", "no type", "endless"],
)
def test_a_golden_array_whose_header_is_nonsense_is_refused(directory, header):
    """It is read as Python, which raises of many kinds."""
    told = header.encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("image.npy", b"\x93NUMPY\1\0" + struct.pack("<H", len(told)) + told)
    with_golden(directory, buffer.getvalue())
    assert golden_refusal(directory) == "'golden.npz' is not an .npz of plain arrays"


def test_a_golden_example_is_read_as_the_archive_that_was_measured(directory):
    with_golden(directory, _array_before_the_archive())
    golden = read_golden(open_bundle(directory))
    np.testing.assert_array_equal(golden.maps, golden_arrays()["maps"])


def test_a_manifest_that_names_fifty_thousand_files_is_refused_at_once(directory):
    """Each compared with every other, they kept the loader busy for hours."""
    tree = json.loads((directory / "manifest.json").read_text())
    entry = tree["files"][0]
    tree["files"] += [{**entry, "path": f"{number}.bin"} for number in range(50_000)]
    (directory / "manifest.json").write_text(json.dumps(tree, separators=(",", ":")))
    began = time.thread_time()
    refusal(directory)
    assert time.thread_time() - began < SOON_SECONDS
