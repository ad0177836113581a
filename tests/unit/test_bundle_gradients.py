"""Graphs for gradients in a bundle: both or neither, each what its role says, and golden."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from salience_service.bundle.manifest import GraphRole, Manifest
from salience_service.bundle.manifest_json import from_json, to_json
from salience_service.bundle.reader import open_bundle, read_golden
from salience_service.errors import BundleRefused
from tests.support.bundles import (
    add_gradients,
    golden_arrays,
    golden_gradients,
    listed_files,
    tiny_bundle,
    write_manifest,
)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    tiny_bundle(tmp_path)
    add_gradients(tmp_path)
    return tmp_path


def manifest_of(directory: Path) -> Manifest:
    return from_json((directory / "manifest.json").read_bytes())


def sign_again(directory: Path) -> None:
    """A manifest of the same graphs, true to the files as they are now."""
    write_manifest(directory, replace(manifest_of(directory), files=listed_files(directory)))


def with_golden(directory: Path, arrays: dict[str, np.ndarray]) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    (directory / "golden.npz").write_bytes(buffer.getvalue())
    sign_again(directory)


def test_a_bundle_with_graphs_for_gradients_opens_with_their_golden_numbers(
    directory: Path,
) -> None:
    golden = read_golden(open_bundle(directory)).gradient
    assert golden is not None
    assert golden.tolerance == pytest.approx(0.05)
    for name in ("cotangent", "d_cells", "d_tap", "d_maps"):
        np.testing.assert_array_equal(getattr(golden, name), golden_gradients()[name])


def test_a_bundle_without_them_opens_as_before(tmp_path: Path) -> None:
    tiny_bundle(tmp_path)
    assert read_golden(open_bundle(tmp_path)).gradient is None


@pytest.mark.parametrize("kept", [GraphRole.GRADIENT, GraphRole.MASKED_GRADIENT])
def test_one_of_them_alone_is_refused(directory: Path, kept: GraphRole) -> None:
    manifest = manifest_of(directory)
    roles = (GraphRole.FORWARD, GraphRole.MASKED, kept)
    graphs = tuple(graph for graph in manifest.graphs if graph.role in roles)
    with pytest.raises(BundleRefused, match="give both or neither"):
        to_json(replace(manifest, graphs=graphs))


def test_a_gradient_graph_without_taps_is_refused(directory: Path) -> None:
    with pytest.raises(BundleRefused, match="needs a tap"):
        to_json(replace(manifest_of(directory), taps=()))


@pytest.mark.parametrize(
    ("name", "output"),
    [
        ("gradient", "logits"),
        ("gradient", "d_images"),
        ("gradient", "d_conv_out"),
        ("masked_gradient", "d_maps"),
    ],
)
def test_a_graph_that_lacks_an_output_of_its_role_is_refused(
    directory: Path, name: str, output: str
) -> None:
    path = directory / f"{name}.onnx"
    model = onnx.load(path, load_external_data=False)
    kept = [value for value in model.graph.output if value.name != output]
    del model.graph.output[:]
    model.graph.output.extend(kept)
    path.write_bytes(model.SerializeToString())
    sign_again(directory)
    with pytest.raises(BundleRefused, match=rf"'{name}.onnx' does not put out \['{output}'\]"):
        open_bundle(directory)


@pytest.mark.parametrize("name", ["gradient", "masked_gradient"])
def test_a_graph_that_takes_no_cotangent_is_refused(directory: Path, name: str) -> None:
    path = directory / f"{name}.onnx"
    model = onnx.load(path, load_external_data=False)
    del model.graph.input[-1]
    path.write_bytes(model.SerializeToString())
    sign_again(directory)
    with pytest.raises(BundleRefused, match=rf"a {name} graph takes .*'cotangent'"):
        open_bundle(directory)


@pytest.mark.parametrize("name", sorted(golden_gradients()))
def test_a_missing_golden_gradient_is_refused(directory: Path, name: str) -> None:
    arrays = golden_arrays() | golden_gradients()
    del arrays[name]
    with_golden(directory, arrays)
    with pytest.raises(BundleRefused, match=f"array {name!r} is missing"):
        read_golden(open_bundle(directory))


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("cotangent", np.zeros((1, 4), np.float32)),
        ("d_cells", np.zeros((1, 3, 8, 7), np.float32)),
        ("d_tap", np.zeros((1, 2, 8, 8), np.float64)),
        ("d_maps", np.zeros((3, 4, 4), np.float32)),
        ("d_maps", np.full((2, 4, 4), np.nan, np.float32)),
        ("gradient_tolerance", np.array([0], np.float32)),
        ("gradient_tolerance", np.array([1], np.float32)),
    ],
)
def test_a_golden_gradient_that_does_not_fit_is_refused(
    directory: Path, name: str, array: np.ndarray
) -> None:
    with_golden(directory, {**golden_arrays(), **golden_gradients(), name: array})
    with pytest.raises(BundleRefused, match=name.replace("_", ".")):
        read_golden(open_bundle(directory))
