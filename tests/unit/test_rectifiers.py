"""Rectifiers: what counts as a ReLU, and whether a program on disk calls one."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from salience_service.bundle.rectifiers import has_rectifier, is_rectifier
from salience_service.errors import BundleRefused
from tests.support.broken_archives import BREAKERS
from tests.support.torch_programs import edited, packed, plain_entries, write_program

IMAGE = torch.zeros(1, 3, 8, 8)
RELUS: dict[str, Callable[[Tensor], Tensor]] = {
    "a module": nn.ReLU(),
    "in place": nn.ReLU(inplace=True),
    "a function": F.relu,
    "relu6 module": nn.ReLU6(inplace=True),
    "relu6": F.relu6,
    "clamped": lambda x: x.clamp(min=0),
    "clamped both ways": lambda x: x.clamp(0, 5),
    "clamp_min": lambda x: torch.clamp_min(x, 0),
    "hardtanh": lambda x: F.hardtanh(x, 0, 6),
}
OTHERS: dict[str, Callable[[Tensor], Tensor]] = {
    "nothing": lambda x: x,
    "silu": F.silu,
    "gelu": F.gelu,
    "leaky": F.leaky_relu,
    "hard swish": F.hardswish,
    "hardtanh about zero": F.hardtanh,
    "clamped from above": lambda x: x.clamp(max=0),
    "clamped about zero": lambda x: x.clamp(-1, 1),
}


class Activated(nn.Module):
    def __init__(self, activation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3)
        self.activation = activation
        self.head = nn.Linear(4, 2)

    def forward(self, image: Tensor) -> Tensor:
        return self.head(self.activation(self.convolution(image) * 1).mean((2, 3)))


def program_of(activation: Callable[[Tensor], Tensor], path: Path) -> Path:
    return write_program(path / "program.pt2", Activated(activation).eval(), IMAGE)


@pytest.mark.parametrize("named", RELUS)
def test_a_program_with_a_relu_has_a_rectifier(named: str, tmp_path: Path) -> None:
    assert has_rectifier(program_of(RELUS[named], tmp_path))


@pytest.mark.parametrize("named", OTHERS)
def test_a_program_without_a_relu_has_none(named: str, tmp_path: Path) -> None:
    assert not has_rectifier(program_of(OTHERS[named], tmp_path))


@pytest.mark.parametrize(
    ("operator", "floor", "is_one"),
    [
        ("relu", None, True),
        ("relu6_", None, True),
        ("clamp", 0, True),
        ("clamp_", 0.0, True),
        ("clamp", None, False),
        ("clamp_min", 1, False),
        ("hardtanh", -1.0, False),
        ("hardswish", None, False),
        ("sum", 0, False),
    ],
)
def test_a_rectifier_is_zero_below_zero(operator: str, floor: object, is_one: bool) -> None:
    assert is_rectifier(operator, floor) is is_one


def test_a_file_that_is_no_program_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "program.pt2"
    path.write_bytes(b"no zip at all")
    with pytest.raises(BundleRefused, match="no graph as torch writes it"):
        has_rectifier(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("program/other", b"")
    with pytest.raises(BundleRefused, match="no graph as torch writes it"):
        has_rectifier(path)


@pytest.mark.parametrize("broken", BREAKERS.values(), ids=BREAKERS)
def test_a_program_that_cannot_be_unpacked_is_refused(
    broken: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    path = tmp_path / "program.pt2"
    path.write_bytes(broken(packed({"models/model.json": b"{}"})))
    with pytest.raises(BundleRefused, match="no graph as torch writes it"):
        has_rectifier(path)


def test_a_program_whose_graph_is_compressed_is_refused_unread(tmp_path: Path) -> None:
    entries = plain_entries(Activated(F.relu).eval(), IMAGE)
    path = tmp_path / "program.pt2"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            archive.writestr(f"program/{name}", data)
    with pytest.raises(BundleRefused, match="no graph as torch writes it"):
        has_rectifier(path)


@pytest.mark.parametrize("told", [{}, [], {"graph_module": {"graph": {"nodes": [{}]}}}, 3])
def test_a_graph_that_is_not_torchs_is_refused(told: object, tmp_path: Path) -> None:
    entries = plain_entries(Activated(F.relu).eval(), IMAGE)
    path = tmp_path / "program.pt2"
    path.write_bytes(packed({**entries, "models/model.json": json.dumps(told).encode()}))
    with pytest.raises(BundleRefused, match="no graph as torch writes it"):
        has_rectifier(path)


def test_a_graph_too_long_to_be_one_is_refused_unread(tmp_path: Path) -> None:
    def endless(tree: dict) -> None:
        tree["padding"] = " " * (64 << 20)

    entries = plain_entries(Activated(F.relu).eval(), IMAGE)
    path = tmp_path / "program.pt2"
    path.write_bytes(packed(edited(entries, "models/model.json", endless)))
    with pytest.raises(BundleRefused, match="no graph as torch writes it"):
        has_rectifier(path)
