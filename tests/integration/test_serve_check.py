"""`salience serve --check`: what would be served and what not, and why; it binds no port."""

import io
import os
import pickle
import shutil
import socket
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from salience_service.access.tokens import new_token
from salience_service.audit.keys import write_new_key
from salience_service.bundle.reader import Bundle
from salience_service.checking import Finding, check
from salience_service.config import ServeConfig, read_config
from tests.support.identity import HOST, Authority
from tests.support.model_versions import add_version, drifting_version, version_with
from tests.support.processes import COMMAND, config_file
from tests.support.waiting import SOON_SECONDS

UNSIGNED = '[bundles]\nunsigned = "allow"\n'


@pytest.fixture(scope="module")
def models(tiny_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Version 1 is good, 2 drifts from its golden example, 3 was changed, 4 has no JSON."""
    directory = tmp_path_factory.mktemp("checked")
    add_version(tiny_bundle, directory, "1")
    drifting_version(tiny_bundle, directory, "2")
    changed = add_version(tiny_bundle, directory, "3") / "forward.onnx"
    data = bytearray(changed.read_bytes())
    data[-1] ^= 1
    changed.unlink()  # It is linked to the good one.
    changed.write_bytes(data)
    manifest = add_version(tiny_bundle, directory, "4") / "manifest.json"
    manifest.unlink()
    manifest.write_text("{")
    return directory


@pytest.fixture(scope="module")
def good(tiny_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("good")
    add_version(tiny_bundle, directory, "1")
    return directory


def checked(*words: object, environment: dict[str, str] | None = None) -> tuple[int, str, str]:
    done = subprocess.run(
        [*COMMAND, "serve", *map(str, words), "--check"],
        capture_output=True,
        text=True,
        check=False,
        timeout=SOON_SECONDS,
        env=os.environ | (environment or {}),
    )
    return done.returncode, done.stdout, done.stderr


def found(config: ServeConfig, models: Path) -> dict[str, Finding]:
    return {finding.what: finding for finding in check(config, models)}


def test_it_tells_of_every_version_and_ends_with_1_where_one_is_refused(models: Path) -> None:
    code, said, logged = checked(models, "--unsigned")
    assert code == 1
    assert not [word for word in (str(models), "Traceback", 'File "') if word in logged]
    assert "ok: softmax 1: serves, and answers requests that name no version" in said
    assert "NOT GOOD: softmax 2: refused: model softmax 2 drifts from its golden example" in said
    assert "NOT GOOD: softmax 3: refused: 'forward.onnx' does not match its SHA-256" in said


def test_it_ends_with_0_where_all_is_good_on_a_port_that_another_server_has(good: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        code, said, complained = checked(good, "--unsigned", "--address", address)
    assert (code, "Traceback" in complained) == (0, False)
    assert f'address = "{address}"' in said.splitlines()
    assert 'bundles.unsigned = "allow"' in said.splitlines()
    assert "# tls: left out" in said.splitlines()


def test_an_unsigned_bundle_is_refused_unless_the_configuration_says_otherwise(good: Path) -> None:
    findings = found(read_config(), good)
    assert not findings["softmax 1"].good
    assert "sign" in findings["softmax 1"].words


def test_what_is_loaded_on_demand_is_opened_all_the_same(models: Path) -> None:
    config = read_config(**{"bundles.unsigned": "allow", "repository.load_on_demand": True})
    assert not found(config, models)["softmax 2"].good


def test_a_version_that_the_policy_leaves_out_is_no_fault(models: Path) -> None:
    config = read_config(**{"bundles.unsigned": "allow", "repository.policy": ["1"]})
    findings = found(config, models)
    assert findings["softmax 2"] == Finding("softmax 2", True, "not served: by policy")
    assert findings["softmax 1"].good


def test_a_torch_program_that_would_run_something_is_told_though_torch_is_not_asked_for_yet(
    tiny_bundle: Bundle, tmp_path: Path
) -> None:
    name = tiny_bundle.manifest.torch_program
    crafted = io.BytesIO((tiny_bundle.directory / name).read_bytes())
    with zipfile.ZipFile(crafted, "a") as archive:
        archive.writestr("program/data/constants/planted.pkl", pickle.dumps({}))
    version_with(tiny_bundle, tmp_path, "1", name, crafted.getvalue())
    add_version(tiny_bundle, tmp_path, "2")
    findings = found(read_config(**{"bundles.unsigned": "allow"}), tmp_path)
    assert findings["softmax 1"].good, "it serves all that needs no torch"
    assert findings["softmax 2, torch program"] == Finding("softmax 2, torch program", True, "good")
    assert not findings["softmax 1, torch program"].good
    assert "is refused before it is loaded" in findings["softmax 1, torch program"].words


def test_files_that_cannot_be_used_are_told_by_their_table(good: Path, tmp_path: Path) -> None:
    text = (
        "[tls]\ncertificate = 'no.pem'\nkey = 'no.key'\n"
        "[access]\ntokens_file = 'none'\nprincipals = [{name = 'viewer'}]\n"
        "[audit]\ndirectory = 'audit'\nkey_file = 'no.key'\n" + UNSIGNED
    )
    config = read_config(config_file(tmp_path, text))
    findings = found(config, good)
    assert [findings[table].good for table in ("[tls]", "[access]", "[audit]")] == [False] * 3
    assert findings["softmax 1"].good


def test_tracing_without_its_library_is_told(good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = read_config(
        **{"bundles.unsigned": "allow", "tracing.endpoint": "http://127.0.0.1:4317"}
    )
    assert found(config, good)["[tracing]"].good
    monkeypatch.setitem(sys.modules, "salience_service.telemetry.tracing", None)
    finding = found(config, good)["[tracing]"]
    assert not finding.good
    assert finding.words.endswith("needs OpenTelemetry: pip install 'salience[telemetry]'")


def test_a_policy_for_a_model_that_is_not_there_is_told(good: Path) -> None:
    policies = {"softmax": "all", "sofmax": ["1"]}
    config = read_config(**{"bundles.unsigned": "allow", "repository.policies": policies})
    finding = found(config, good)["[repository.policies]"]
    assert not finding.good
    assert finding.words.startswith("no version of 'sofmax' lies in the models directory")


def test_when_the_certificate_ends_is_told_and_that_it_is_soon(good: Path, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    for days, said in ((90, "89 days from now"), (5, "4 days from now: renew it soon")):
        section = authority.tls_section()
        authority.issue(HOST, name="server", days=(-1, days))
        config = read_config(**{"bundles.unsigned": "allow", "tls": section})
        finding = found(config, good)["[tls]"]
        assert finding.good
        assert finding.words.startswith("good; the certificate ends at ")
        assert finding.words.endswith(f"UTC, {said}")


def test_an_audit_directory_that_cannot_be_written_is_told(good: Path, tmp_path: Path) -> None:
    write_new_key(tmp_path / "audit.key")
    text = f"[audit]\ndirectory = '{tmp_path}/none/audit'\nkey_file = '{tmp_path}/audit.key'\n"
    findings = found(read_config(config_file(tmp_path, text + UNSIGNED)), good)
    assert "cannot be written" in findings["[audit]"].words
    text = text.replace("none/audit", "audit")
    findings = found(read_config(config_file(tmp_path, text + UNSIGNED)), good)
    assert findings["[audit]"].good
    assert not (tmp_path / "audit").exists(), "a check writes nothing"


def test_no_secret_is_printed(good: Path, tmp_path: Path) -> None:
    new = new_token("viewer")
    (tmp_path / "tokens").write_text(f"{new.line}\n")
    (tmp_path / "tokens").chmod(0o600)
    write_new_key(tmp_path / "audit.key")
    text = (
        f"[access]\ntokens_file = '{tmp_path}/tokens'\nprincipals = [{{name = 'viewer'}}]\n"
        f"[audit]\ndirectory = '{tmp_path}/audit'\nkey_file = '{tmp_path}/audit.key'\n" + UNSIGNED
    )
    code, said, complained = checked(good, "--config", config_file(tmp_path, text))
    assert code == 0, said + complained
    assert 'access.principals[0].name = "viewer"' in said
    everything = said + complained
    assert new.secret not in everything
    assert new.line.split("sha256:")[1].split()[0] not in everything
    assert (tmp_path / "audit.key").read_text().strip() not in everything


def test_a_configuration_that_is_refused_ends_with_1_before_anything_is_opened(
    good: Path, tmp_path: Path
) -> None:
    code, said, complained = checked(good, "--config", config_file(tmp_path, "adress = 'x'\n"))
    assert (code, said) == (1, "")
    assert complained.startswith("salience: unknown key 'adress': known are ")


def test_a_directory_without_bundles_is_not_good(tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "x", ignore_errors=True)
    assert not found(read_config(), tmp_path)["models"].good
