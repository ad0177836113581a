"""Rectifiers: the ReLUs of a torch program, told by its graph without torch."""

import json
import zipfile
from pathlib import Path
from typing import Any

from salience_service.bundle.archive import NOT_UNPACKABLE, is_stored
from salience_service.bundle.program import MAX_JSON_BYTES, MODEL
from salience_service.errors import BundleRefused
from salience_service.nesting import not_deep

_RELUS = frozenset({"relu", "relu_", "relu6", "relu6_"})
_FLOORED = frozenset({"hardtanh", "hardtanh_", "clamp", "clamp_", "clamp_min", "clamp_min_"})
FLOOR_NAMES = ("min", "min_val")
"""What ATen calls the floor of an operator that has one."""


def is_rectifier(operator: str, floor: object) -> bool:
    """Whether an operator is the identity above zero, perhaps to a ceiling, and zero below.

    Args:
        operator: its name in ATen, as `relu_`.
        floor: the least value it puts out, where it is called with one.
    """
    return operator in _RELUS or (operator in _FLOORED and floor == 0)


def has_rectifier(program: Path) -> bool:
    """Whether the graph of a torch program calls a rectifier; its weights are not read.

    Raises:
        BundleRefused: it holds no graph as torch writes it.
    """
    try:
        nodes = json.loads(not_deep(_graph(program)))["graph_module"]["graph"]["nodes"]
        return any(is_rectifier(node["target"].split(".")[-2], _floor(node)) for node in nodes)
    except (*NOT_UNPACKABLE, KeyError, TypeError, AttributeError, IndexError) as fault:
        raise _refusal() from fault


def _graph(program: Path) -> bytes:
    with zipfile.ZipFile(program) as archive:
        (info,) = (each for each in archive.infolist() if each.filename.endswith(f"/{MODEL}"))
        if not is_stored(info) or info.file_size > MAX_JSON_BYTES:
            raise _refusal()
        return archive.read(info)


def _floor(node: Any) -> object:
    """The floor that a node is called with, a number, or None."""
    for given in node["inputs"]:
        if given["name"] in FLOOR_NAMES:
            return next(iter(given["arg"].values()))
    return None


def _refusal() -> BundleRefused:
    return BundleRefused("the torch program holds no graph as torch writes it")
