"""Keys are written so that only their owner reads them, and read for what they are."""

import shutil
import stat
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from salience_service.errors import ConfigRefused
from salience_service.signatures.key_files import (
    MAX_KEY_FILE_BYTES,
    PASSPHRASE_VARIABLE,
    key_id,
    read_private,
    read_public,
    write_new_pair,
)
from salience_service.signatures.trust import MOST_KEYS, trust_in


def never() -> str:
    raise AssertionError("nobody is to be asked")


def test_a_private_key_is_its_owners_alone(tmp_path: Path) -> None:
    public, named = write_new_pair(tmp_path / "key.pem")
    assert stat.S_IMODE((tmp_path / "key.pem").stat().st_mode) == 0o600
    assert public == tmp_path / "key.pub"
    assert b"PRIVATE" not in public.read_bytes()
    assert key_id(read_public(public)) == named
    assert key_id(read_private(tmp_path / "key.pem", never).public_key()) == named


def test_no_file_is_ever_written_over(tmp_path: Path) -> None:
    for name in ("key.pem", "key.pub"):
        (tmp_path / name).write_text("mine")
        with pytest.raises(ConfigRefused, match=f"{name} exists already"):
            write_new_pair(tmp_path / "key.pem")
        assert (tmp_path / name).read_text() == "mine"
        (tmp_path / name).unlink()


def test_a_private_key_cannot_take_the_public_ones_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigRefused, match="another ending"):
        write_new_pair(tmp_path / "key.pub")


def test_a_passphrase_is_needed_and_must_be_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, named = write_new_pair(tmp_path / "key.pem", "open sesame")
    assert b"ENCRYPTED" in (tmp_path / "key.pem").read_bytes()
    found = read_private(tmp_path / "key.pem", lambda: "open sesame")
    assert key_id(found.public_key()) == named
    for wrong in ("", "sesame"):
        with pytest.raises(ConfigRefused, match="the passphrase is wrong"):
            read_private(tmp_path / "key.pem", lambda wrong=wrong: wrong)
    monkeypatch.setenv(PASSPHRASE_VARIABLE, "open sesame")
    assert key_id(read_private(tmp_path / "key.pem", never).public_key()) == named


def test_the_id_of_a_key_is_what_openssl_says(tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    public, named = write_new_pair(tmp_path / "key.pem")
    line = f"openssl pkey -pubin -in {public} -outform DER | sha256sum"
    said = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True)
    assert said.stdout.split()[0] == named


def test_a_private_key_is_refused_where_a_public_one_belongs(tmp_path: Path) -> None:
    write_new_pair(tmp_path / "key.pem")
    with pytest.raises(ConfigRefused, match="needs the public one"):
        read_public(tmp_path / "key.pem")
    with pytest.raises(ConfigRefused, match="needs the public one"):
        trust_in([tmp_path])


def test_a_key_of_another_kind_is_refused(tmp_path: Path) -> None:
    other = generate_private_key(SECP256R1())
    private = other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "key.pem").write_bytes(private)
    public = other.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "key.pub").write_bytes(public)
    with pytest.raises(ConfigRefused, match="no Ed25519 key"):
        read_private(tmp_path / "key.pem", never)
    with pytest.raises(ConfigRefused, match="no Ed25519 key"):
        read_public(tmp_path / "key.pub")


@pytest.mark.parametrize("content", [b"", b"key", b"\xff\x00", b"x" * (MAX_KEY_FILE_BYTES + 1)])
def test_a_file_that_is_no_key_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "key.pub").write_bytes(content)
    with pytest.raises(ConfigRefused, match=r"key\.pub"):
        read_public(tmp_path / "key.pub")
    with pytest.raises(ConfigRefused, match=r"key\.pub"):
        read_private(tmp_path / "key.pub", never)


def test_a_directory_of_keys_is_trusted_as_a_whole(tmp_path: Path) -> None:
    trusted = tmp_path / "trusted"
    trusted.mkdir()
    ids = set()
    for name in ("one", "two"):
        public, named = write_new_pair(tmp_path / f"{name}.pem")
        public.rename(trusted / public.name)
        ids.add(named)
    (trusted / "README").write_text("no key")
    assert set(trust_in([trusted]).keys) == ids


def test_a_directory_without_keys_is_refused_since_it_would_trust_nobody(tmp_path: Path) -> None:
    with pytest.raises(ConfigRefused, match="holds no key"):
        trust_in([tmp_path])


def test_a_place_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigRefused, match="cannot be read"):
        trust_in([tmp_path / "nowhere"])


def test_keys_are_bounded(tmp_path: Path) -> None:
    public, _ = write_new_pair(tmp_path / "key.pem")
    assert trust_in([public] * MOST_KEYS).keys
    with pytest.raises(ConfigRefused, match="257 trusted keys; at most 256"):
        trust_in([public] * (MOST_KEYS + 1))
