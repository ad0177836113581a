"""Every way to spoil a bundle is refused, in words fit for a stranger."""

import io
import json
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from salience_service.bundle.manifest_json import from_json
from salience_service.bundle.reader import open_bundle, read_golden
from salience_service.bundle.repository import find_bundles
from salience_service.errors import BundleRefused
from tests.support.broken_archives import bad_lzma
from tests.support.bundles import golden_arrays, tiny_manifest, write_manifest
from tests.support.bundles import tiny_bundle as write_tiny_bundle
from tests.support.error_words import assert_fit_for_a_stranger


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    write_tiny_bundle(tmp_path / "models" / "tiny" / "1")
    return tmp_path / "models" / "tiny" / "1"


def edited(*place: str | int, to: object) -> Callable[[Path], None]:
    """Changes one value of the manifest."""

    def spoil(directory: Path) -> None:
        tree = inner = json.loads((directory / "manifest.json").read_text())
        for step in place[:-1]:
            inner = inner[step]
        inner[place[-1]] = to
        (directory / "manifest.json").write_text(json.dumps(tree))

    return spoil


def replaced(name: str, data: bytes, *, signed: bool = False) -> Callable[[Path], None]:
    """Another file in the place of one; `signed` with a manifest that is true to it."""

    def spoil(directory: Path) -> None:
        (directory / name).write_bytes(data)
        if signed:
            write_manifest(directory, tiny_manifest(directory))

    return spoil


def linked(name: str) -> Callable[[Path], None]:
    def spoil(directory: Path) -> None:
        shutil.move(directory / name, directory.parent / "elsewhere")
        (directory / name).symlink_to(directory.parent / "elsewhere")

    return spoil


def golden_archive() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **golden_arrays())
    return buffer.getvalue()


def golden_of_header(header: bytes) -> bytes:
    """An archive of one array that says of itself what is given."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        length = struct.pack("<H", len(header))
        archive.writestr("maps.npy", b"\x93NUMPY\1\0" + length + header)
    return buffer.getvalue()


SPOILT: dict[str, Callable[[Path], None]] = {
    "no manifest": lambda directory: (directory / "manifest.json").unlink(),
    "no weights": lambda directory: (directory / "weights.bin").unlink(),
    "no bundle": lambda directory: shutil.rmtree(directory),
    "manifest of nonsense": replaced("manifest.json", b"\xff\xfe{"),
    "manifest of a list": replaced("manifest.json", b"[]"),
    "another schema": edited("schemaVersion", to=99),
    "odd name": edited("name", to="../tiny"),
    "no graphs": edited("graphs", to=[]),
    "wrong digest": edited("files", 0, "sha256", to="0" * 64),
    "wrong size": edited("files", 0, "size", to="1"),
    "path outside": edited("files", 0, "path", to="../forward.onnx"),
    "no classes": edited("head", "classes", to=0),
    "odd side": edited("input", "height", to=99_999),
    "changed weights": replaced("weights.bin", bytes(24)),
    "graph of nonsense": replaced("forward.onnx", b"not onnx", signed=True),
    "golden of nonsense": replaced("golden.npz", b"not a zip", signed=True),
    "golden of an open bracket": replaced("golden.npz", golden_of_header(b"("), signed=True),
    "golden badly compressed": replaced("golden.npz", bad_lzma(golden_archive()), signed=True),
    "linked weights": linked("weights.bin"),
    "linked manifest": linked("manifest.json"),
}


@pytest.mark.parametrize("name", SPOILT)
def test_a_refused_bundle_tells_what_and_nothing_from_inside(directory: Path, name: str) -> None:
    SPOILT[name](directory)
    with pytest.raises(BundleRefused) as refused:
        read_golden(open_bundle(directory))
    assert_fit_for_a_stranger(str(refused.value))
    assert str(directory.parent.parent.parent) not in str(refused.value)


def test_a_refused_directory_of_models_is_told_without_its_path(tmp_path: Path) -> None:
    with pytest.raises(BundleRefused) as refused:
        find_bundles(tmp_path / "nowhere")
    assert_fit_for_a_stranger(str(refused.value))


def test_a_manifest_cut_short_anywhere_is_refused_in_clean_words(directory: Path) -> None:
    text = (directory / "manifest.json").read_text()
    for length in range(0, len(text) - 1, 97):
        with pytest.raises(BundleRefused) as refused:
            from_json(text[:length])
        assert_fit_for_a_stranger(str(refused.value))
