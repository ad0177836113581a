"""A version that comes while a server runs is held to its signature like those at the start."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from salience_service.bundle.reader import Bundle
from salience_service.config import ServeConfig
from salience_service.config.bundles import BundlesConfig
from salience_service.engine import Engine
from salience_service.errors import BundleRefused, ConfigRefused
from tests.support.model_versions import add_version, directory_of, versions
from tests.support.signing import Signer, new_signer


@pytest.fixture
def signer(tmp_path: Path) -> Signer:
    return new_signer(tmp_path / "keys")


@pytest.fixture
def engine(tiny_bundle: Bundle, tmp_path: Path, signer: Signer) -> Iterator[Engine]:
    """Serves version 1, which is signed, and trusts its signer."""
    signer.sign(add_version(tiny_bundle, tmp_path / "models", "1"))
    bundles = BundlesConfig(trusted_keys=(str(signer.public),))
    made = Engine.open(tmp_path / "models", ServeConfig(threads=1, batch_size=4, bundles=bundles))
    yield made
    made.close()


def settle(engine: Engine) -> None:
    """Two looks: what changed since the last one is left alone until it stays as it is."""
    directory_of(engine).look()
    directory_of(engine).look()


def test_an_unsigned_version_is_refused_and_served_once_it_is_signed(
    engine: Engine, tiny_bundle: Bundle, tmp_path: Path, signer: Signer
) -> None:
    place = add_version(tiny_bundle, tmp_path / "models", "2")
    settle(engine)
    assert versions(engine) == ["1"]
    assert any("it is not signed" in str(each) for each in directory_of(engine).versions())
    signer.sign(place)
    settle(engine)
    assert versions(engine)[-1] == "2"


def test_a_version_that_is_asked_for_by_hand_is_refused_if_it_is_wrongly_signed(
    engine: Engine, tiny_bundle: Bundle, tmp_path: Path, signer: Signer
) -> None:
    place = add_version(tiny_bundle, tmp_path / "models", "2")
    signature = (tmp_path / "models" / "softmax" / "1" / "manifest.sig").read_bytes()
    (place / "manifest.sig").write_bytes(signature)
    with pytest.raises(BundleRefused, match="its signature by key"):
        directory_of(engine).load("softmax", "2").result(60)
    assert versions(engine) == ["1"]


def test_a_key_that_was_withdrawn_counts_no_more(
    engine: Engine, tiny_bundle: Bundle, tmp_path: Path, signer: Signer
) -> None:
    signer.sign(add_version(tiny_bundle, tmp_path / "models", "2"))
    signer.public.unlink()
    with pytest.raises(ConfigRefused, match="cannot be read"):
        directory_of(engine).load("softmax", "2").result(60)
    assert versions(engine) == ["1"]
