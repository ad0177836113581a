"""Models directories whose versions come and go, and models that load at a test's word."""

import hashlib
import io
import shutil
import threading
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from salience_service.bundle.manifest import BundleFile
from salience_service.bundle.reader import Bundle
from salience_service.config import ServeConfig
from salience_service.config.bundles import UNSIGNED_ALLOWED
from salience_service.config.repository import RepositoryConfig
from salience_service.directory.models_directory import ModelsDirectory
from salience_service.engine import Engine
from salience_service.errors import BundleRefused
from salience_service.models.model import ServedModel
from salience_service.runtime.device import Device
from tests.support.bundles import write_manifest

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)


def add_version(bundle: Bundle, models: Path, version: str, name: str = "") -> Path:
    """Puts a twin of a bundle into a models directory, all at once; its digest is its own."""
    name = name or bundle.manifest.name
    draft = models / name / f".{version}"
    draft.mkdir(parents=True)
    for file in bundle.manifest.files:
        (draft / file.path).hardlink_to(bundle.directory / file.path)
    write_manifest(draft, replace(bundle.manifest, name=name, version=version))
    draft.rename(models / name / version)
    return models / name / version


def config_of(**repository: object) -> ServeConfig:
    """One thread, one lane, batches of four, unsigned bundles; and these keys of `[repository]`."""
    return ServeConfig(
        threads=1,
        calls_in_flight=1,
        batch_size=4,
        bundles=UNSIGNED_ALLOWED,
        repository=RepositoryConfig.model_validate(repository),
    )


def directory_of(engine: Engine) -> ModelsDirectory:
    assert engine.directory is not None
    return engine.directory


def versions(engine: Engine) -> list[str]:
    return [model.version for model in engine.models()]


@dataclass(eq=False)
class FakeModel:
    """A warm model that has only its words, and knows whether it was closed."""

    name: str
    version: str
    digest: str = "d"
    device: Device = field(default_factory=Device)
    provider: str = "CPUExecutionProvider"
    warm_up_seconds: float = 0.0
    closed: bool = False

    def close(self) -> None:
        self.closed = True


class FakeLoad:
    """Loads a fake for any place; refuses or breaks at those a test names, and waits at a word."""

    def __init__(self) -> None:
        self.refused: dict[str, str] = {}
        self.broken: dict[str, Exception] = {}
        self.made: list[FakeModel] = []
        self.let = threading.Event()
        self.let.set()
        self.began = threading.Semaphore(0)

    def __call__(self, place: Path) -> ServedModel:
        self.began.release()
        assert self.let.wait(10)
        key = f"{place.parent.name}/{place.name}"
        if key in self.refused:
            raise BundleRefused(self.refused[key])
        if key in self.broken:
            raise self.broken[key]
        text = (place / "manifest.json").read_bytes()
        self.made.append(FakeModel(place.parent.name, place.name, hashlib.sha256(text).hexdigest()))
        return self.made[-1]  # type: ignore[return-value]

    @property
    def loaded(self) -> list[str]:
        """What was loaded so far, in its order."""
        return [f"{model.name}/{model.version}" for model in self.made]


def fake_version(models: Path, name: str, version: str, text: str = "{}") -> Path:
    """A directory NAME/VERSION for `FakeLoad`."""
    place = models / name / version
    place.mkdir(parents=True, exist_ok=True)
    (place / "manifest.json").write_text(text)
    return place


def remove_version(models: Path, name: str, version: str) -> None:
    """Takes a version out of a models directory."""
    shutil.rmtree(models / name / version)


def drifting_version(bundle: Bundle, models: Path, version: str) -> Path:
    """A version that is whole by its digests, and whose graphs do not meet its golden example."""
    golden = bundle.manifest.golden.path
    with np.load(bundle.directory / golden) as arrays:
        changed = {name: arrays[name] for name in arrays.files}
    changed["logits"] = changed["logits"] + 1
    written = io.BytesIO()
    np.savez(written, **changed)
    return version_with(bundle, models, version, golden, written.getvalue())


def version_with(bundle: Bundle, models: Path, version: str, name: str, data: bytes) -> Path:
    """A version with another file in the place of one of its own, whole by its digests."""
    place = add_version(bundle, models, version)
    (place / name).unlink()  # It is linked to the good one.
    (place / name).write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    files = tuple(
        BundleFile(name, digest, len(data)) if file.path == name else file
        for file in bundle.manifest.files
    )
    write_manifest(place, replace(bundle.manifest, version=version, files=files))
    return place
