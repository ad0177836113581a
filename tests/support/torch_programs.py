"""Torch programs for tests: a small real one, and ways to craft a harmful one out of it."""

import io
import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import nn

Entries = dict[str, bytes]
SIDE, CLASSES = 8, 3


def small_network(channels: int = 3) -> nn.Module:
    """A smooth network: [1, C, 8, 8] to [1, 3]."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(channels, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.SiLU(),
        nn.Conv2d(4, 4, 3, stride=2),
        nn.Tanh(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, CLASSES),
    ).eval()


def raw_archive(network: nn.Module, image: torch.Tensor) -> bytes:
    """What torch.export.save writes, sample inputs and all."""
    buffer = io.BytesIO()
    torch.export.save(torch.export.export(network, (image,)), buffer)
    return buffer.getvalue()


def unpacked(archive: bytes) -> Entries:
    """Entries by name under the root."""
    with zipfile.ZipFile(io.BytesIO(archive)) as source:
        return {name.partition("/")[2]: source.read(name) for name in source.namelist()}


def packed(entries: Mapping[str, bytes], root: str = "archive") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as target:
        for name, data in entries.items():
            target.writestr(zipfile.ZipInfo(f"{root}/{name}" if root else name), data)
    return buffer.getvalue()


def plain_entries(network: nn.Module, image: torch.Tensor) -> Entries:
    """A program as the exporter leaves it: the sample inputs emptied."""
    return {**unpacked(raw_archive(network, image)), "data/sample_inputs/model.pt": b""}


def write_program(path: Path, network: nn.Module, image: torch.Tensor) -> Path:
    path.write_bytes(packed(plain_entries(network, image)))
    return path


def edited(entries: Entries, name: str, change: Callable[[dict], None]) -> Entries:
    """The entries with one JSON entry changed in place."""
    tree = json.loads(entries[name])
    change(tree)
    return {**entries, name: json.dumps(tree).encode()}
