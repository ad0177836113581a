"""A bundle that changes on disk while it is served: what was verified is what answers."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from salience_client import Client, SalienceError
from salience_client.in_process import InProcess
from salience_client.request import GradientSide
from salience_service.bundle.reader import Bundle, open_bundle
from tests.conftest import BundleOf
from tests.support.engines import engine_over

PICTURE = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)


@pytest.fixture
def bundle(tiny_bundle: Bundle, tmp_path: Path) -> Bundle:
    """A copy of the small bundle, to be spoilt."""
    shutil.copytree(tiny_bundle.directory, tmp_path / "softmax" / "1")
    return open_bundle(tmp_path / "softmax" / "1")


@pytest.fixture
def client(bundle: Bundle) -> Iterator[Client]:
    with engine_over(bundle) as engine, Client(InProcess(engine)) as client:
        yield client


def raw_map(client: Client, method: str = "score-cam", side: GradientSide = "auto") -> bytes:
    explanation = client.explain(PICTURE, model="softmax", methods=method, gradient_side=side)
    return explanation.maps[0].array.tobytes()


def test_weights_that_are_overwritten_in_place_change_no_map(
    bundle: Bundle, client: Client
) -> None:
    before = raw_map(client)
    weights = bundle.directory / "weights.bin"
    with weights.open("r+b") as file:
        file.write(bytes(weights.stat().st_size))
    assert raw_map(client) == before


def test_weights_that_are_cut_off_in_place_end_no_server(bundle: Bundle, client: Client) -> None:
    before = raw_map(client)
    os.truncate(bundle.directory / "weights.bin", 0)  # A mapped file would now raise SIGBUS.
    assert raw_map(client) == before


def test_another_torch_program_in_place_of_the_verified_one_is_refused(
    bundle: Bundle, client: Client, bundle_of: BundleOf
) -> None:
    program = bundle.manifest.torch_program
    other = bundle_of("vgg")
    shutil.copy(other.path(other.manifest.torch_program), bundle.path(program))
    for _ in range(2):
        with pytest.raises(SalienceError, match=r"manifest says|SHA-256"):
            raw_map(client, "opti-cam", "torch")
    assert raw_map(client)
