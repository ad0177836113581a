"""A bundle whose graphs and manifest contradict each other is refused, and hides no other."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from salience_service.bundle.reader import Bundle
from salience_service.config import ServeConfig
from salience_service.config.bundles import UNSIGNED_ALLOWED
from salience_service.directory.loading import load_model
from salience_service.engine import Engine
from salience_service.errors import BundleRefused
from tests.support.bundles import (
    CHANNELS,
    SIDE,
    TAP_CHANNELS,
    golden_arrays,
    listed_files,
    write_manifest,
)
from tests.support.bundles import tiny_bundle as write_tiny_bundle

CONFIG = ServeConfig(bundles=UNSIGNED_ALLOWED)
TALLER = SIDE + 2


def contradictory(directory: Path) -> None:
    """Its manifest, and its golden example, state a taller image than its graphs take."""
    manifest = write_tiny_bundle(directory, "odd")
    arrays = golden_arrays()
    arrays["image"] = np.zeros((1, CHANNELS, TALLER, SIDE), np.float32)
    arrays["tap/0"] = np.zeros((1, TAP_CHANNELS, TALLER, SIDE), np.float32)
    np.savez(directory / "golden.npz", **arrays)
    (tap,) = manifest.taps
    stated = replace(
        manifest,
        input=replace(manifest.input, height=TALLER),
        taps=(replace(tap, height=TALLER),),
        files=listed_files(directory),
    )
    write_manifest(directory, stated)


def test_it_is_refused_in_words_that_name_no_runtime(tmp_path: Path) -> None:
    contradictory(tmp_path / "odd" / "1")
    with pytest.raises(BundleRefused, match="do not fit its manifest") as refused:
        load_model(tmp_path / "odd" / "1", CONFIG)
    assert "onnx" not in str(refused.value).lower()


def test_the_others_serve(tmp_path: Path, tiny_bundle: Bundle) -> None:
    contradictory(tmp_path / "odd" / "1")
    shutil.copytree(tiny_bundle.directory, tmp_path / "softmax" / "1")
    engine = Engine.open(tmp_path, CONFIG)
    try:
        assert [model.name for model in engine.models()] == ["softmax"]
    finally:
        engine.close()
