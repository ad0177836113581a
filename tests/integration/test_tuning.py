"""Tuning on a real bundle: sizes and threads of the tune file are those that run, and are told."""

import hashlib
import json
import re
import shutil
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from salience_client import Client, Explanation, Preprocessed
from salience_client.commands import app
from salience_client.in_process import InProcess
from salience_service.bundle.reader import Bundle, open_bundle
from salience_service.config import ServeConfig
from salience_service.config.bundles import UNSIGNED_ALLOWED
from salience_service.engine import Engine
from salience_service.errors import BundleRefused, NotFound
from salience_service.interpolation import upsample
from salience_service.models.model import ServedModel
from salience_service.models.tuning import Tuning
from salience_service.runtime.device import Device
from salience_service.tune import measure
from salience_service.tune.choice import chosen
from salience_service.tune.file import read_tuning, tune_path, write_tuning
from salience_service.tune.measure import Candidates, bundles_of, measured
from tests.support.freed import is_freed, without_the_collector
from tests.support.processes import run
from tests.support.small import small

SIZES = {(4, 4): 3, (8, 8): 6, (32, 32): 2}


@pytest.fixture
def bundle(tiny_bundle: Bundle, tmp_path: Path) -> Bundle:
    """The small residual net in a models directory of its own."""
    directory = tmp_path / "models" / "softmax" / "1"
    shutil.copytree(tiny_bundle.directory, directory)
    return open_bundle(directory)


def tuned(bundle: Bundle) -> str:
    """Writes a tune file that no measuring would choose; returns its digest."""
    tail = bundle.manifest.taps[-1].name
    path = write_tuning(bundle, Tuning(1, SIZES, 5, {tail: 7}), ServeConfig().device)
    return hashlib.sha256(path.read_bytes()).hexdigest()


@contextmanager
def client_of(bundle: Bundle, **config: object) -> Iterator[Client]:
    models = bundle.directory.parents[1]
    engine = Engine.open(
        models, ServeConfig.model_validate({"bundles": UNSIGNED_ALLOWED, **config})
    )
    with Client(InProcess(engine)) as client:
        yield client


def explained(client: Client) -> Explanation:
    coarse = np.random.default_rng(3).normal(size=(3, 8, 8)).astype(np.float32)
    return client.explain(
        Preprocessed(upsample(coarse, 32, 32)),
        model="softmax",
        methods=[small("score-cam"), small("rise"), small("ablation-cam"), small("grad-cam")],
        scores=["ad"],
    )


def sizes_of(explanation: Explanation) -> dict[tuple[str, int], int]:
    """Rows of a call by graph and height of maps, as the provenance of the maps tells."""
    return {
        (use.role, use.map_height): use.batch_size
        for map_ in explanation.maps
        for use in map_.provenance.graphs
    }


def test_graphs_run_at_the_sizes_of_the_tune_file_and_maps_tell_it(bundle: Bundle) -> None:
    digest = tuned(bundle)
    with client_of(bundle) as client:
        assert client.describe("softmax").tuning_digest == digest
        found = explained(client)
    assert {map_.provenance.tuning_digest for map_ in found.maps} == {digest}
    assert sizes_of(found) == {
        ("forward", 0): 1,
        ("masked", 4): 3,
        ("pixel-masked", 32): 5,
        ("tail", 0): 7,
        ("tail-gradient", 0): 1,
    }


def test_the_same_tune_file_gives_the_same_bits_and_none_the_same_maps(bundle: Bundle) -> None:
    with client_of(bundle, threads=1, batch_size=8) as client:
        untuned = explained(client)
    tuned(bundle)
    answers = []
    for _ in range(2):
        with client_of(bundle) as client:
            answers.append(explained(client))
    for first, second, other in zip(answers[0].maps, answers[1].maps, untuned.maps, strict=True):
        np.testing.assert_array_equal(first.array, second.array)
        # Another batch size may change the last bits of a logit.
        np.testing.assert_allclose(first.array, other.array, atol=1e-4)


@pytest.mark.parametrize("config", [{"batch_size": 4}, {"threads": 1}])
def test_what_is_configured_goes_before_the_tune_file_and_maps_tell_no_digest(
    bundle: Bundle, config: dict[str, int]
) -> None:
    tuned(bundle)
    rows = config.get("batch_size", 2)
    with client_of(bundle, **config) as client:
        described, found = client.describe("softmax"), explained(client)
    assert (described.tuning_digest, described.batch_size) == ("", rows)
    assert {map_.provenance.tuning_digest for map_ in found.maps} == {""}
    assert sizes_of(found)["masked", 4] == sizes_of(found)["pixel-masked", 32] == rows
    assert sizes_of(found)["tail", 0] == 8 * rows


def test_a_model_with_a_stale_tune_file_does_not_serve_and_says_what_to_do(
    bundle: Bundle, tiny_bundle: Bundle
) -> None:
    tuned(bundle)
    text = tune_path(bundle).read_text("utf-8").replace(bundle.digest, "0" * 64)
    tune_path(bundle).write_text(text, "utf-8")
    models = bundle.directory.parents[1]
    with pytest.raises(BundleRefused, match=r"softmax 1 is for the bundle 0000.*delete it"):
        Engine.open(models, ServeConfig(bundles=UNSIGNED_ALLOWED))
    shutil.copytree(tiny_bundle.directory, models / "other" / "1")
    manifest = models / "other" / "1" / "manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text("utf-8")), "name": "other"}))
    engine = Engine.open(models, ServeConfig(bundles=UNSIGNED_ALLOWED))
    assert [model.name for model in engine.models()] == ["other"]
    engine.close()


def test_every_graph_is_measured_and_what_is_chosen_is_one_of_what_was_tried(
    bundle: Bundle,
) -> None:
    told = list[tuple[int, int]]()
    rates = measured(
        bundle, Device(calls=2), Candidates((2, 4), (1,), rounds=1), lambda *done: told.append(done)
    )
    tail = bundle.manifest.taps[-1].name
    shapes = {(4, 4), (8, 8), (16, 16), (32, 32)}
    assert {(trial.graph.role, trial.graph.shape, trial.graph.tap) for trial in rates} == {
        *(("masked", shape, "") for shape in shapes),
        ("pixel_masked", (), ""),
        ("tail", (), tail),
    }
    assert {t.batch_size for t in rates if t.graph.role == "masked"} == {2, 4}
    assert {t.batch_size for t in rates if t.graph.role == "tail"} == {16, 32}
    assert all(rate > 0 for rate in rates.values())
    assert told[-1] == (len(rates), len(rates))
    found = chosen(rates)
    assert (found.threads, set(found.masked), set(found.tails)) == (1, shapes, {tail})
    assert {*found.masked.values(), found.pixel_masked} <= {2, 4}


def test_models_to_tune_are_named_or_all(bundle: Bundle) -> None:
    models = bundle.directory.parents[1]
    assert bundles_of(models) == bundles_of(models, "softmax") == [bundle]
    with pytest.raises(NotFound, match="no model 'hard' here; there are: softmax"):
        bundles_of(models, "hard")
    with pytest.raises(BundleRefused, match="holds no bundle"):
        bundles_of(bundle.directory.parent)


def test_the_command_measures_writes_the_file_and_says_why(bundle: Bundle) -> None:
    models, device = bundle.directory.parents[1], ServeConfig().device
    done = run(
        "bench", "--tune", "--models", models, "--sizes", "1,2", "--threads", "1", "--rounds", 1
    )
    assert (done.returncode, done.stderr) == (0, "")
    words = " ".join(done.stdout.split())
    assert (
        f"softmax 1 on cpu in float32, {device.calls} at a time: rows a second, by rows a call"
        in words
    )
    assert re.search(r"masked 4×4 [\d,]+\*? [\d,]+\*? masked 8×8", words)
    assert "chosen: 1 thread, the fewest within 2 % of the best" in words
    assert f"wrote {tune_path(bundle)}; servers read it when they start" in words
    written = read_tuning(bundle, device)
    assert written.threads == 1
    assert {*written.masked.values(), written.pixel_masked} <= {1, 2}
    described = json.loads(run("models", "softmax", "--models", models, "--json").stdout)
    assert described["tuning_digest"] == written.digest


def refused(*words: object) -> str:
    """What `salience bench` says of words that it refuses."""
    done = CliRunner().invoke(app, ["bench", *map(str, words)])
    assert done.exit_code in (1, 2)
    return " ".join(re.sub("[│\n]", " ", f"{done.output} {done.exception}").split())


def test_the_command_says_what_it_is_for_and_what_is_wrong(tmp_path: Path) -> None:
    assert "measures batch sizes and threads" in refused()
    for words, said in [
        (("--sizes", "0"), "'0' is no number from 1 to 1,024"),
        (("--sizes", "4,x"), "'x' is no number"),
        (("--threads", "1025"), "'1025' is no number from 1 to 1,024"),
        (("--provider", "gpu"), "provider = 'gpu'"),
        ((), "the models directory holds no bundle"),
        (("--models", tmp_path / "none"), "is no directory"),
    ]:
        assert said in refused("--tune", "--models", tmp_path, *words)


def test_what_was_measured_is_freed_before_the_next_bundle_is(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its last user, not by the collector: the device's memory would be short."""
    opened: list[weakref.ref[ServedModel]] = []

    def opening(*given: Any) -> ServedModel:
        model = ServedModel(*given)
        opened.append(weakref.ref(model))
        return model

    monkeypatch.setattr(measure, "ServedModel", opening)
    with without_the_collector():
        assert measured(bundle, Device(), Candidates((2,), (1, 2), rounds=1))
        assert len(opened) == 2
        assert all(map(is_freed, opened))
