"""A crafted torch program is refused before torch sees it, and nothing in it runs.

Each attack is live: one test hands the same archives to torch without the guard, in a
process of their own, and finds the mark that each leaves.
"""

import io
import json
import os
import pickle
import random
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from torch import nn

from salience_service.bundle.program import MAX_ENTRIES, check_program, read_program
from salience_service.errors import BundleRefused
from tests.support.broken_archives import encrypted
from tests.support.torch_programs import (
    Entries,
    edited,
    packed,
    plain_entries,
    raw_archive,
    small_network,
    unpacked,
)

MODEL = "models/model.json"
WEIGHTS_CONFIG = "data/weights/model_weights_config.json"
CONSTANTS_CONFIG = "data/constants/model_constants_config.json"
SAMPLE_INPUTS = "data/sample_inputs/model.pt"
IMAGE = torch.zeros(1, 3, 8, 8)


@pytest.fixture(scope="module")
def raw() -> Entries:
    return unpacked(raw_archive(small_network(), IMAGE))


@pytest.fixture(scope="module")
def plain() -> Entries:
    return plain_entries(small_network(), IMAGE)


class Touch:
    """Leaves a mark where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return (os.mkdir, (str(self.mark),))


def saved(value: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def python(mark: Path) -> str:
    return f"__import__('os').mkdir({str(mark)!r})"


def first_node(tree: dict) -> dict:
    return tree["graph_module"]["graph"]["nodes"][0]


# Each attack: the plain program's entries and where to leave the mark → crafted entries.


def pickled_sample_inputs(plain: Entries, mark: Path) -> Entries:
    return {**plain, SAMPLE_INPUTS: saved((Touch(mark),))}


def pickled_weight(plain: Entries, mark: Path) -> Entries:
    def change(tree: dict) -> None:
        tree["config"]["0.weight"]["use_pickle"] = True

    return {**edited(plain, WEIGHTS_CONFIG, change), "data/weights/weight_0": saved(Touch(mark))}


def pickled_constant(plain: Entries, mark: Path) -> Entries:
    def change(tree: dict) -> None:
        tree["config"]["c"] = {
            "path_name": "tensor_0", "is_param": False, "use_pickle": True, "tensor_meta": None,
        }  # fmt: skip

    entries = edited(plain, CONSTANTS_CONFIG, change)
    return {**entries, "data/constants/tensor_0": saved(Touch(mark))}


def pickled_opaque_object(plain: Entries, mark: Path) -> Entries:
    def change(tree: dict) -> None:
        tree["config"]["c"] = {
            "path_name": "opaque_obj_0", "is_param": False, "use_pickle": False,
            "tensor_meta": next(iter(json.loads(plain[WEIGHTS_CONFIG])["config"].values()))[
                "tensor_meta"
            ],
        }  # fmt: skip

    data = pickle.dumps(Touch(mark), protocol=0)
    return {
        **edited(plain, CONSTANTS_CONFIG, change),
        "data/constants/opaque_obj_0": data + b"\0" * (-len(data) % 4),
    }


def legacy_weights(plain: Entries, mark: Path) -> Entries:
    return {**plain, "data/weights/model.pt": saved({"w": Touch(mark)})}


def legacy_constants(plain: Entries, mark: Path) -> Entries:
    return {**plain, "data/constants/model.pt": saved({"c": Touch(mark)})}


def symbolic_shape(plain: Entries, mark: Path) -> Entries:
    def change(tree: dict) -> None:
        values = tree["graph_module"]["graph"]["tensor_values"]
        values["conv2d"]["sizes"][0] = {"as_expr": {"expr_str": python(mark), "hint": None}}

    return edited(plain, MODEL, change)


def name_in_source(plain: Entries, mark: Path) -> Entries:
    """Names of input tensors are written into Python source, which torch executes."""
    evil = f"input={python(mark)}"

    def change(tree: dict) -> None:
        graph = tree["graph_module"]["graph"]
        graph["tensor_values"][evil] = graph["tensor_values"].pop("input")
        for argument in (graph["inputs"][-1], first_node(tree)["inputs"][0]["arg"]):
            argument["as_tensor"]["name"] = evil

    return edited(plain, MODEL, change)


def guard_code(plain: Entries, mark: Path) -> Entries:
    """Guards are Python, asserted when the program runs; they ride on sample inputs."""

    def change(tree: dict) -> None:
        tree["guards_code"] = [f"{python(mark)} is None"]

    inputs = saved(((torch.zeros(1, 3, 8, 8),), {}))
    return {**edited(plain, MODEL, change), SAMPLE_INPUTS: inputs}


def older_layout(plain: Entries, mark: Path) -> Entries:
    return {
        "version": b"8.20",
        "serialized_exported_program.json": plain[MODEL],
        "serialized_state_dict.pt": saved({"w": Touch(mark)}),
        "serialized_constants.pt": saved({}),
        "serialized_example_inputs.pt": saved(((), {})),
    }


ATTACKS = [
    (pickled_sample_inputs, "sample inputs, a pickle"),
    (pickled_weight, "'data/weights/weight_0' is a pickle"),
    (pickled_constant, "'data/constants/tensor_0' is a pickle"),
    (pickled_opaque_object, "it holds 'data/constants/opaque_obj_0'"),
    (legacy_weights, "it holds 'data/weights/model.pt'"),
    (legacy_constants, "it holds 'data/constants/model.pt'"),
    (symbolic_shape, "the field 'as_expr'"),
    (name_in_source, "cannot stand in the field 'name'"),
    (guard_code, "sample inputs, a pickle"),
    (older_layout, "do not lie in one plain folder"),
]
ATTACK_NAMES = [attack.__name__ for attack, _ in ATTACKS]


def crafted(attack, plain: Entries, mark: Path) -> bytes:
    return packed(attack(plain, mark), root="" if attack is older_layout else "archive")


def refusal(path: Path) -> str:
    with pytest.raises(BundleRefused) as refused:
        check_program(path)
    assert str(path.parent) not in str(refused.value)
    return str(refused.value)


def refused_entries(tmp_path: Path, entries: Entries) -> str:
    path = tmp_path / "program.pt2"
    path.write_bytes(packed(entries))
    return refusal(path)


@pytest.mark.parametrize(("attack", "said"), ATTACKS, ids=ATTACK_NAMES)
def test_a_crafted_program_is_refused_and_runs_nothing(plain, tmp_path, attack, said):
    path, mark = tmp_path / "program.pt2", tmp_path / "mark"
    path.write_bytes(crafted(attack, plain, mark))
    assert said in refusal(path)
    assert not mark.exists()


UNGUARDED = """
import sys, warnings, torch
warnings.simplefilter("ignore")
for path in sys.argv[1:]:
    try:
        torch.export.load(path).module()(torch.zeros(1, 3, 8, 8))
    except BaseException as fault:
        print(path, type(fault), str(fault)[-300:], file=sys.stderr)
"""


def test_the_same_programs_do_run_without_the_guard(plain, tmp_path):
    paths = []
    for attack, _ in ATTACKS:
        path = tmp_path / f"{attack.__name__}.pt2"
        path.write_bytes(crafted(attack, plain, tmp_path / f"{attack.__name__}.ran"))
        paths.append(str(path))
    run = subprocess.run(
        [sys.executable, "-c", UNGUARDED, *paths],
        capture_output=True, text=True, timeout=240, cwd=tmp_path, check=False,
    )  # fmt: skip
    ran = {path.stem for path in tmp_path.glob("*.ran")}
    assert ran == set(ATTACK_NAMES), run.stderr[-4000:]


def test_torch_is_not_even_imported_by_the_guard(plain, tmp_path):
    path = tmp_path / "program.pt2"
    path.write_bytes(packed(plain))
    code = (
        "import sys; from pathlib import Path; "
        "from salience_service.bundle.program import check_program; "
        "check_program(Path(sys.argv[1])); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=True, timeout=60)


def test_a_plain_program_passes_and_computes_as_it_did(plain, tmp_path):
    path = tmp_path / "program.pt2"
    path.write_bytes(packed(plain))
    program = torch.export.load(io.BytesIO(read_program(path))).module(check_guards=False)
    image = torch.rand(1, 3, 8, 8)
    torch.testing.assert_close(program(image), small_network()(image), rtol=0, atol=0)


def test_notes_on_where_nodes_came_from_never_reach_torch(raw, tmp_path):
    assert b"stack_trace" in raw[MODEL]
    path = tmp_path / "program.pt2"
    path.write_bytes(packed({**raw, SAMPLE_INPUTS: b""}))
    assert b"stack_trace" not in unpacked(read_program(path))[MODEL]


def test_a_program_as_torch_writes_it_is_refused_for_its_sample_inputs(raw, tmp_path):
    assert "sample inputs" in refused_entries(tmp_path, raw)


@pytest.mark.parametrize("data", [b"", b"not a zip", b"PK\x03\x04" + b"\0" * 60])
def test_a_file_that_is_no_zip_is_refused(tmp_path, data):
    path = tmp_path / "program.pt2"
    path.write_bytes(data)
    assert "not a zip archive" in refusal(path)


def test_an_encrypted_program_is_refused(plain, tmp_path):
    path = tmp_path / "program.pt2"
    path.write_bytes(encrypted(packed(plain)))
    assert "not a zip archive" in refusal(path)


def test_a_truncated_program_is_refused(plain, tmp_path):
    path = tmp_path / "program.pt2"
    path.write_bytes(packed(plain)[:-200])
    assert "refused before it is loaded" in refusal(path)


@pytest.mark.parametrize(
    "name",
    [
        "../evil", "data/weights/../../evil", "/etc/evil", "data\\weights\\weight_0",
        "data/weights/weight_x", "data/weights/weight_0/x", "data.pkl", "code/evil.py",
        "data/aotinductor/model/evil.so", "extra/notes.txt", "models/other.json",
        "Models/model.json", "data/constants/custom_obj_0", "xl_model_weights/x",
    ],
)  # fmt: skip
def test_an_entry_beyond_a_plain_program_is_refused(plain, tmp_path, name):
    assert "which a plain program has not" in refused_entries(tmp_path, {**plain, name: b"x"})


@pytest.mark.parametrize("root", ["..", "", "a b", "/"])
def test_entries_outside_one_plain_folder_are_refused(plain, tmp_path, root):
    path = tmp_path / "program.pt2"
    path.write_bytes(packed(plain, root=root))
    assert "refused before it is loaded" in refusal(path)


def test_entries_of_two_folders_are_refused(plain, tmp_path):
    path = tmp_path / "program.pt2"
    buffer = io.BytesIO(packed(plain))
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr("other/data/weights/weight_77", b"1234")
    path.write_bytes(buffer.getvalue())
    assert "do not lie in one plain folder" in refusal(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_entry_that_is_there_twice_is_refused(plain, tmp_path):
    path = tmp_path / "program.pt2"
    buffer = io.BytesIO(packed(plain))
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr(f"archive/{MODEL}", b"{}")
    path.write_bytes(buffer.getvalue())
    assert f"'{MODEL}' is in it twice" in refusal(path)


def test_a_zip_bomb_is_refused_unread(plain, tmp_path):
    path = tmp_path / "program.pt2"
    buffer = io.BytesIO(packed(plain))
    with zipfile.ZipFile(buffer, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/weights/weight_77", bytes(64 << 20))
    path.write_bytes(buffer.getvalue())
    assert path.stat().st_size < 1 << 20
    assert "claim more bytes than the file has" in refusal(path)


def test_a_compressed_entry_is_refused(plain, tmp_path):
    path = tmp_path / "program.pt2"
    buffer = io.BytesIO(packed(plain))
    with zipfile.ZipFile(buffer, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/weights/weight_77", random.Random(0).randbytes(64))
    path.write_bytes(buffer.getvalue())
    assert "is compressed" in refusal(path)


def test_more_entries_than_the_limit_are_refused(plain, tmp_path):
    names = [f"data/weights/weight_{100 + index}" for index in range(MAX_ENTRIES)]
    assert f"at most {MAX_ENTRIES}" in refused_entries(
        tmp_path, {**plain, **dict.fromkeys(names, b"")}
    )


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_of_any_protocol_in_place_of_numbers_is_refused(plain, tmp_path, protocol):
    data = pickle.dumps(Touch(tmp_path / "mark"), protocol)
    entries = {**plain, "data/weights/weight_0": data}
    assert "'data/weights/weight_0' is a pickle" in refused_entries(tmp_path, entries)


def test_an_endless_pickle_in_place_of_numbers_is_refused(plain, tmp_path):
    entries = {**plain, "data/weights/weight_0": b"N0" * 1_000_000}
    assert "'data/weights/weight_0' is a pickle" in refused_entries(tmp_path, entries)


def test_numbers_that_begin_like_a_pickle_pass(plain, tmp_path):
    numbers = b"\x80\x02" + plain["data/weights/weight_0"][2:]
    path = tmp_path / "program.pt2"
    path.write_bytes(packed({**plain, "data/weights/weight_0": numbers}))
    check_program(path)


@pytest.mark.parametrize("name", ["archive_format", "archive_version", MODEL, WEIGHTS_CONFIG])
def test_a_missing_entry_is_refused(plain, tmp_path, name):
    entries = {key: value for key, value in plain.items() if key != name}
    assert f"it lacks '{name}'" in refused_entries(tmp_path, entries)


@pytest.mark.parametrize("text", [b"{", b"\xff", b"[" * 100_000, b"null", b"[]", b"7", b"{}"])
@pytest.mark.parametrize("name", [MODEL, WEIGHTS_CONFIG])
def test_json_that_is_broken_or_of_another_shape_is_refused(plain, tmp_path, name, text):
    assert "refused before it is loaded" in refused_entries(tmp_path, {**plain, name: text})


def test_another_archive_format_is_refused(plain, tmp_path):
    assert "not 'pt2'" in refused_entries(tmp_path, {**plain, "archive_format": b"pt3"})
    assert "has 65 bytes; at most 64" in refused_entries(
        tmp_path, {**plain, "byteorder": b"x" * 65}
    )


@pytest.mark.parametrize(
    "target",
    [
        "torch.os.mkdir", "torch.hub.load", "torch.load", "_operator.methodcaller", "math.sqrt",
        "#ext:op", "evil",
        "torch.ops.evil.run.default", "torch.ops.aten.conv2d", "torch.ops.load_library",
        "torch.ops.aten.__class__.x", "torch.ops.aten.conv2d.default.__init__",
        "torch.ops.higher_order.cond", "torch.ops.aten.from_file.default",
        "torch.ops.aten._resize_output.default",
    ],
)  # fmt: skip
def test_an_operator_that_is_not_on_the_list_is_refused(plain, tmp_path, target):
    def change(tree: dict) -> None:
        first_node(tree)["target"] = target

    said = refused_entries(tmp_path, edited(plain, MODEL, change))
    assert "the field 'target'" in said or "is not on the list" in said


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("guards_code", ["True"]),
        ("range_constraints", {"s0": {"min_val": 0, "max_val": 9}}),
        ("anything_new", {"as_expr": {"expr_str": "1"}}),
    ],
)
def test_a_field_beyond_a_plain_graph_is_refused_unless_empty(plain, tmp_path, field, value):
    def change(tree: dict) -> None:
        tree[field] = value

    assert f"the field '{field}'" in refused_entries(tmp_path, edited(plain, MODEL, change))
    path = tmp_path / "program.pt2"
    path.write_bytes(packed(edited(plain, MODEL, lambda tree: tree.update(later=None))))
    check_program(path)


@pytest.mark.parametrize("name", ["x=print()", "x, y", "x: print()", "x\n", "", "é"])
def test_a_name_that_is_no_identifier_is_refused(plain, tmp_path, name):
    def argument(tree: dict) -> None:
        signature = tree["graph_module"]["module_call_graph"][0]["signature"]
        signature["forward_arg_names"] = [name]

    def keyword(tree: dict) -> None:
        first_node(tree)["inputs"][0]["name"] = name

    for change, field in ((argument, "forward_arg_names"), (keyword, "name")):
        said = refused_entries(tmp_path, edited(plain, MODEL, change))
        assert f"cannot stand in the field '{field}'" in said


@pytest.mark.parametrize("argument", ["as_operator", "as_graph", "as_custom_obj", "as_sym_int"])
def test_an_argument_that_is_not_plain_is_refused(plain, tmp_path, argument):
    def change(tree: dict) -> None:
        first_node(tree)["inputs"][0]["arg"] = {argument: "torch.os.system"}

    assert f"the field '{argument}'" in refused_entries(tmp_path, edited(plain, MODEL, change))


def test_an_output_that_is_not_declared_is_refused(plain, tmp_path):
    def change(tree: dict) -> None:
        outputs = tree["graph_module"]["signature"]["output_specs"]
        outputs.append(outputs[0])

    assert "must take one image" in refused_entries(tmp_path, edited(plain, MODEL, change))


class Tapped(nn.Module):
    """A network that puts out logits, and features under a name."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.network = small_network()

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        features = self.network[:5](image)
        return {"logits": self.network[5:](features), self.name: features}


def test_taps_beside_the_logits_are_let_through_under_their_names(tmp_path):
    path = tmp_path / "program.pt2"
    path.write_bytes(packed(plain_entries(Tapped("tap_12").eval(), IMAGE)))
    program = torch.export.load(io.BytesIO(read_program(path)))
    assert list(program.module()(IMAGE)) == ["logits", "tap_12"]


@pytest.mark.parametrize("name", ["tap_", "tap_x", "features", "tap_1]", 'tap_1\\"', "tap_1\n"])
def test_an_output_of_another_name_is_refused(tmp_path, name):
    entries = plain_entries(Tapped(name).eval(), IMAGE)
    assert "cannot stand in the field out_spec" in refused_entries(tmp_path, entries).replace(
        "'", ""
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda payload: payload.update(use_pickle=True), "is pickled"),
        (lambda payload: payload.pop("use_pickle"), "is pickled"),
        (lambda payload: payload.update(path_name="weight_99"), "missing or too few"),
        (lambda payload: payload.update(path_name="../weight_0"), "field 'path_name'"),
        (
            lambda payload: payload["tensor_meta"].update(sizes=[{"as_int": 1 << 40}]),
            "missing or too few",
        ),
        (lambda payload: payload["tensor_meta"].update(sizes=[{"as_int": -1}]), "as torch does"),
        (lambda payload: payload["tensor_meta"].update(dtype=99), "as torch does"),
        (lambda payload: payload.update(tensor_meta=None), "as torch does"),
    ],
)
def test_a_weight_that_is_not_plain_numbers_in_its_entry_is_refused(plain, tmp_path, change, said):
    entries = edited(plain, WEIGHTS_CONFIG, lambda tree: change(tree["config"]["0.weight"]))
    assert said in refused_entries(tmp_path, entries)
