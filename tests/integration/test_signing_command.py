"""Keys, signatures and servers by command, as an operator would: only what is trusted serves."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from salience_client import Client, Preprocessed, open_in_process
from salience_client.errors import SalienceError
from salience_service.bundle.reader import Bundle, open_bundle
from salience_service.config import ServeConfig
from salience_service.engine import Engine
from salience_service.errors import BundleRefused
from tests.support.commands import said
from tests.support.signing import new_signer, trusting
from tests.support.waiting import SOON_SECONDS


@pytest.fixture
def models(tiny_bundle: Bundle, tmp_path: Path) -> Path:
    shutil.copytree(tiny_bundle.directory, tmp_path / "models" / "softmax" / "1")
    return tmp_path / "models"


def served(models: Path, *words: object) -> "subprocess.CompletedProcess[str]":
    """`salience serve` until it says that it serves, or ends."""
    command = [sys.executable, "-m", "salience_client.cli", "serve", str(models)]
    process = subprocess.Popen(
        [*command, "--address", "127.0.0.1:0", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    banner = process.stdout.readline()
    process.terminate()
    _, complained = process.communicate(timeout=SOON_SECONDS)
    return subprocess.CompletedProcess(command, process.returncode, banner, complained)


def test_a_key_is_made_a_bundle_signed_verified_and_served(models: Path, tmp_path: Path) -> None:
    bundle, config = models / "softmax" / "1", tmp_path / "serve.toml"
    made = said("keygen", "--out", tmp_path / "hospital.pem")
    assert "not encrypted" in made
    config.write_text(f'[bundles]\ntrusted_keys = ["{tmp_path}/hospital.pub"]\n')
    refused = served(models, "--config", config)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "it is not signed: sign it (`salience sign" in refused.stderr

    signed = said("sign", bundle, "--key", tmp_path / "hospital.pem")
    digest = open_bundle(bundle).digest
    assert f"signed softmax 1, digest {digest}, by key " in signed
    assert "good: softmax 1" in said("verify", bundle, "--trust", tmp_path / "hospital.pub")
    assert served(models, "--config", config).stdout.startswith("serving softmax 1 on ")


def test_without_a_word_about_it_an_unsigned_bundle_is_not_served(models: Path) -> None:
    refused = served(models)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "salience serve --unsigned" in refused.stderr
    assert re.match("serving softmax 1 on ", served(models, "--unsigned").stdout)


def test_unsigned_on_the_command_line_leaves_the_keys_of_the_file_trusted(
    models: Path, tmp_path: Path
) -> None:
    """So a bundle that a trusted key signed wrongly is refused still."""
    signer, config = new_signer(tmp_path / "keys"), tmp_path / "serve.toml"
    signer.sign(models / "softmax" / "1")
    with (models / "softmax" / "1" / "manifest.json").open("ab") as stream:
        stream.write(b" ")
    config.write_text(f'[bundles]\ntrusted_keys = ["{signer.public}"]\n')
    refused = served(models, "--config", config, "--unsigned")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "its signature by key" in refused.stderr


def test_provenance_tells_who_signed(models: Path, tmp_path: Path) -> None:
    signer = new_signer(tmp_path / "keys")
    signer.sign(models / "softmax" / "1")
    image = Preprocessed(np.full((3, 32, 32), 0.5, np.float32))
    told = []
    for bundles in ({"trusted_keys": [str(signer.public)]}, {"unsigned": "allow"}):
        with Client(open_in_process(models, threads=1, bundles=bundles)) as client:
            found = client.explain(image, model="softmax", methods=["fake-cam"])
            told.append(found.maps[0].provenance.signed_by)
    assert told == [signer.id, ""]


def test_in_ones_own_process_unsigned_bundles_open_unless_keys_are_named(
    models: Path, tmp_path: Path
) -> None:
    open_in_process(models, threads=1).close()
    signer = new_signer(tmp_path / "keys")
    with pytest.raises(SalienceError, match="it is not signed"):
        open_in_process(models, bundles={"trusted_keys": [str(signer.public)]})


def test_a_server_by_its_defaults_trusts_nobody(models: Path) -> None:
    assert ServeConfig().bundles.unsigned == "refuse"
    assert ServeConfig().bundles.trusted_keys == ()
    with pytest.raises(BundleRefused, match="it is not signed"):
        Engine.open(models, ServeConfig(threads=1))


def test_a_server_reads_its_keys_before_any_bundle(models: Path, tmp_path: Path) -> None:
    """A key file that is gone must not leave a server that trusts nobody, nor one that hangs."""
    config = tmp_path / "serve.toml"
    config.write_text('[bundles]\ntrusted_keys = ["nowhere.pub"]\nunsigned = "allow"\n')
    refused = served(models, "--config", config)
    assert refused.returncode == 1
    assert "key nowhere.pub cannot be read" in refused.stderr


def test_an_encrypted_key_signs_with_its_passphrase(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SALIENCE_KEY_PASSPHRASE", "open sesame")
    made = said("keygen", "--out", tmp_path / "hospital.pem", "--passphrase")
    assert "the private key, encrypted" in made
    said("sign", models / "softmax" / "1", "--key", tmp_path / "hospital.pem")
    monkeypatch.setenv("SALIENCE_KEY_PASSPHRASE", "open barley")
    told = said("sign", models / "softmax" / "1", "--key", tmp_path / "hospital.pem", exit_code=1)
    assert "the passphrase is wrong" in told


def test_verify_refuses_what_a_server_would(models: Path, tmp_path: Path) -> None:
    bundle, signer = models / "softmax" / "1", new_signer(tmp_path / "keys")
    assert "not signed" in said("verify", bundle, "--trust", signer.public, exit_code=1)
    signer.sign(bundle)
    weights = next(bundle.glob("*.bin"))
    data = bytearray(weights.read_bytes())
    data[0] ^= 1
    weights.write_bytes(data)
    told = said("verify", bundle, "--trust", signer.public, exit_code=1)
    assert "does not match its SHA-256" in told


def test_an_export_signs_before_the_bundle_has_its_name(tmp_path: Path) -> None:
    from salience_export.command import app as exporter
    from tests.integration.test_export_command import CONTRACT, NETWORKS

    signer, contract = new_signer(tmp_path / "keys"), tmp_path / "model.toml"
    contract.write_text(CONTRACT)
    words = (
        f"torch {NETWORKS}:vgg_net --input {contract} --name vgg --out {tmp_path / 'models'} "
        f"--sign-key {signer.private}"
    )
    result = CliRunner().invoke(exporter, words)
    assert result.exit_code == 0, result.output
    bundle = open_bundle(tmp_path / "models" / "vgg" / "1", trusting(signer))
    assert bundle.signed_by == signer.id
    assert {path.name for path in bundle.directory.iterdir()} >= {"manifest.json", "manifest.sig"}


def test_an_export_with_a_key_that_is_none_begins_nothing(tmp_path: Path) -> None:
    from salience_export.command import app as exporter
    from tests.integration.test_export_command import CONTRACT, NETWORKS

    contract = tmp_path / "model.toml"
    contract.write_text(CONTRACT)
    words = f"torch {NETWORKS}:vgg_net --input {contract} --name vgg --out {tmp_path / 'models'}"
    result = CliRunner().invoke(exporter, f"{words} --sign-key {contract}")
    assert result.exit_code == 1
    assert "model.toml is no private key in PEM" in result.output
    assert not (tmp_path / "models").exists()


def test_the_deployed_configurations_say_nothing_that_allows_unsigned_bundles() -> None:
    deployed = sorted((Path(__file__).parents[2] / "deploy").glob("*.toml"))
    assert deployed
    for path in deployed:
        stated = tomllib.loads(path.read_text("utf-8")).get("bundles", {})
        assert stated.get("unsigned", "refuse") == "refuse", path.name
