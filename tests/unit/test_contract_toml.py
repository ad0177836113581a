"""The TOML contract: everything it can say is read, everything wrong is refused by its key."""

from pathlib import Path

import pytest

from salience_export import contract_toml
from salience_export.contract import Layout
from salience_export.contract_toml import read_contract
from salience_export.errors import ExportError
from salience_service.bundle.manifest import (
    ColourOrder,
    Interpolation,
    OutputKind,
    Resize,
    ResizeRule,
)

GOOD = """
[input]
channels = 3
height = 224
width = 192
layout = "NHWC"
colour_order = "BGR"
white = 255
mean = [104, 117, 123]
std = 1

[input.resize]
rule = "short_side"
short_side = 256
interpolation = "bicubic"

[output]
kind = "sigmoid"
labels = ["mass", "nodule"]
thresholds = [0.25, 0.5]
"""


def written(directory: Path, text: str) -> Path:
    path = directory / "model.toml"
    path.write_text(text, encoding="utf-8")
    return path


def refused(directory: Path, old: str, new: str) -> str:
    assert old in GOOD
    with pytest.raises(ExportError) as caught:
        read_contract(written(directory, GOOD.replace(old, new)))
    message = str(caught.value)
    assert str(directory) not in message
    assert "\n" not in message
    return message


def test_a_contract_says_everything_a_manifest_needs(tmp_path: Path) -> None:
    contract = read_contract(written(tmp_path, GOOD))
    assert contract.layout is Layout.NHWC
    assert (contract.input.channels, contract.input.height, contract.input.width) == (3, 224, 192)
    assert contract.input.colour_order is ColourOrder.BGR
    assert contract.input.white == 255
    assert contract.input.mean == (104, 117, 123)
    assert contract.input.resize == Resize(ResizeRule.SHORT_SIDE, Interpolation.BICUBIC, 256)
    assert contract.output is OutputKind.SIGMOID
    assert contract.labels == ("mass", "nodule")
    assert contract.thresholds == (0.25, 0.5)


def test_one_number_stands_for_every_channel(tmp_path: Path) -> None:
    assert read_contract(written(tmp_path, GOOD)).input.std == (1, 1, 1)


def test_the_example_of_the_documentation_is_a_contract(tmp_path: Path) -> None:
    documented = contract_toml.__doc__ or ""
    example = documented.split("```toml")[1].split("```")[0]
    contract = read_contract(written(tmp_path, example))
    assert contract.labels == ("cat", "dog")
    assert contract.layout is Layout.NCHW


def test_labels_are_read_from_a_file_beside_the_contract(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("Maß\nnodule\n", encoding="utf-8")
    text = GOOD.replace('labels = ["mass", "nodule"]', 'labels_file = "names.txt"')
    assert read_contract(written(tmp_path, text)).labels == ("Maß", "nodule")


def test_byte_order_marks_are_no_part_of_the_contract_or_its_labels(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("mass\nnodule\n", encoding="utf-8-sig")
    text = GOOD.replace('labels = ["mass", "nodule"]', 'labels_file = "names.txt"')
    path = tmp_path / "model.toml"
    path.write_text(text.lstrip(), encoding="utf-8-sig")
    assert read_contract(path).labels == ("mass", "nodule")


def test_a_file_of_labels_that_is_missing_is_refused(tmp_path: Path) -> None:
    message = refused(tmp_path, 'labels = ["mass", "nodule"]', 'labels_file = "names.txt"')
    assert message == "output.labels_file: 'names.txt' cannot be read as text"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("channels = 3", "channels = 2", "input.channels: 2 is neither 1 nor 3"),
        ("channels = 3", "channels = 4", "input.channels: 4 is neither 1 nor 3"),
        ("channels = 3\n", "", "input.channels: is missing"),
        ("white = 255", "weight = 255", "input.white: is missing"),
        ("white = 255", "white = 255\nshade = 1", "input.shade: is not a key of this file"),
        ("white = 255", "white = 0", "input.white: 0.0 is not a finite number above 0"),
        ("white = 255", "white = inf", "input.white: inf is not a finite number above 0"),
        ("height = 224", "height = 9000", "input.height: 9000 is not within 1 to 8192"),
        ("height = 224", "height = 0", "input.height: 0 is not within 1 to 8192"),
        ('"BGR"', '"GREY"', "input.colour_order: GREY does not fit 3 channels"),
        ('"BGR"', '"bgr"', "input.colour_order: 'bgr': input should be 'RGB', 'BGR' or 'GREY'"),
        ("[104, 117, 123]", "[104, 117]", "input.mean: 2 numbers for 3 channels"),
        ("[104, 117, 123]", "[104, nan, 123]", "input.mean: must be finite"),
        ("std = 1", "std = [1, 0, 1]", "input.std: must be above 0"),
        ("std = 1", "std = inf", "input.std: must be finite"),
        ("std = 1", 'std = "one"', "input.std: 'one': input should be a valid number"),
        ("short_side = 256", "short_side = 200", "input.resize.short_side: 200 is below 224"),
        ('"short_side"', '"stretch"', "input.resize.short_side: only the rule short_side has"),
        ('"bicubic"', '"nearest"', "input.resize.interpolation: 'nearest': input should be"),
        ('"NHWC"', '"HWC"', "input.layout: 'HWC': input should be 'NCHW' or 'NHWC'"),
        ('"sigmoid"', '"logits"', "output.kind: 'logits': input should be 'softmax'"),
        ('"sigmoid"', '"softmax"', "output.thresholds: only for sigmoid, the kind is softmax"),
        ("[0.25, 0.5]", "[0.25, 1.5]", "output.thresholds: must lie in [0, 1]"),
        ('["mass", "nodule"]', '["mass", "mass"]', "output.labels: 'mass' occurs twice"),
        ('["mass", "nodule"]', '["mass", " "]', "output.labels: label 1 is empty"),
        ("thresholds", 'labels_file = "a"\nthresholds', "output.labels: give labels or labels_"),
        ("[output]", "[ouput]", "output: is missing"),
        ("[input]", "[input", "model.toml is not TOML: "),
    ],
)
def test_what_is_wrong_is_said_with_its_key(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert said in refused(tmp_path, old, new)


def test_a_contract_that_is_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"^nothing\.toml cannot be read as text$"):
        read_contract(tmp_path / "nothing.toml")


def test_labels_must_be_as_many_as_the_model_has_classes(tmp_path: Path) -> None:
    contract = read_contract(written(tmp_path, GOOD))
    assert contract.head(OutputKind.SIGMOID, 2).labels == ("mass", "nodule")
    with pytest.raises(ExportError, match=r"output\.labels: 2 given, but the model has 3 classes"):
        contract.head(OutputKind.SIGMOID, 3)
