"""A signed bundle is opened; one changed in any byte of it, or signed by another, is refused."""

import base64
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from salience_service.bundle.manifest_json import from_json
from salience_service.bundle.reader import open_bundle
from salience_service.bundle.repository import find_bundles
from salience_service.bundle.signing import sign_bundle
from salience_service.errors import BundleRefused
from salience_service.signatures.signature import MAX_SIGNATURE_BYTES, PURPOSE, Signature
from salience_service.signatures.trust import ANYONE, Trust
from tests.support.bundles import listed_files, tiny_bundle, tiny_manifest, write_manifest
from tests.support.signing import Signer, new_signer, trusting

EVERY_FILE = ("forward.onnx", "masked.onnx", "weights.bin", "golden.npz", "manifest.json")


@pytest.fixture
def signer(tmp_path: Path) -> Signer:
    return new_signer(tmp_path / "keys")


@pytest.fixture
def stranger(tmp_path: Path) -> Signer:
    return new_signer(tmp_path / "other-keys", "stranger")


@pytest.fixture
def directory(tmp_path: Path, signer: Signer) -> Path:
    """A bundle that `signer` signed."""
    place = tmp_path / "models" / "tiny" / "1"
    tiny_bundle(place)
    signer.sign(place)
    return place


def refusal(directory: Path, trust: Trust) -> str:
    with pytest.raises(BundleRefused) as refused:
        open_bundle(directory, trust)
    assert str(directory.parent) not in str(refused.value)
    return str(refused.value)


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(bytes(data))


def test_a_signed_bundle_opens_and_says_who_signed(directory: Path, signer: Signer) -> None:
    assert open_bundle(directory, trusting(signer)).signed_by == signer.id


def test_every_file_of_a_bundle_is_under_the_signature_but_the_signature(directory: Path) -> None:
    listed = {file.path for file in from_json((directory / "manifest.json").read_bytes()).files}
    there = {path.name for path in directory.iterdir()}
    assert there == listed | {"manifest.json", "manifest.sig"}


@pytest.mark.parametrize("name", EVERY_FILE)
@pytest.mark.parametrize("share", [0.0, 0.5, 0.999])
@pytest.mark.parametrize("unsigned_allowed", [False, True])
def test_one_bit_of_any_file_changed_is_refused_whatever_is_allowed(
    directory: Path, signer: Signer, name: str, share: float, unsigned_allowed: bool
) -> None:
    path = directory / name
    flip(path, int(path.stat().st_size * share))
    trust = trusting(signer, unsigned_allowed=unsigned_allowed)
    expected = "its signature" if name == "manifest.json" else "does not match its SHA-256"
    assert expected in refusal(directory, trust)


@pytest.mark.parametrize("name", EVERY_FILE)
def test_a_file_cut_short_is_refused(directory: Path, signer: Signer, name: str) -> None:
    path = directory / name
    path.write_bytes(path.read_bytes()[:-1])
    refusal(directory, trusting(signer, unsigned_allowed=True))


def test_a_forger_who_lists_changed_files_anew_is_refused(directory: Path, signer: Signer) -> None:
    flip(directory / "weights.bin", 3)
    signature = (directory / "manifest.sig").read_bytes()
    (directory / "manifest.sig").unlink()
    write_manifest(directory, tiny_manifest(directory))
    (directory / "manifest.sig").write_bytes(signature)
    open_bundle(directory, ANYONE)  # All is consistent, but for the signature.
    assert "the manifest is not the one that was signed" in refusal(
        directory, trusting(signer, unsigned_allowed=True)
    )


def test_a_manifest_is_not_parsed_before_its_signature_is_checked(
    directory: Path, signer: Signer
) -> None:
    (directory / "manifest.json").write_bytes(b"\x00 not JSON")
    assert "its signature" in refusal(directory, trusting(signer))
    assert "not a manifest" in refusal(directory, ANYONE)


def test_whitespace_in_a_manifest_is_a_change(directory: Path, signer: Signer) -> None:
    with (directory / "manifest.json").open("ab") as stream:
        stream.write(b"\n")
    assert "its signature" in refusal(directory, trusting(signer))


def test_a_bundle_that_nobody_signed_is_refused_with_what_to_do(
    directory: Path, signer: Signer
) -> None:
    (directory / "manifest.sig").unlink()
    told = refusal(directory, trusting(signer))
    assert told.startswith("it is not signed: sign it (`salience sign")
    assert 'unsigned = "allow"' in told
    assert "salience serve --unsigned" in told


def test_without_any_trusted_key_nothing_is_served_unless_that_is_said(directory: Path) -> None:
    assert "which is not trusted" in refusal(directory, Trust())
    assert open_bundle(directory, ANYONE).signed_by == ""


def test_a_signature_by_an_unknown_key_counts_as_none(
    directory: Path, signer: Signer, stranger: Signer
) -> None:
    stranger.sign(directory)
    assert f"by key {stranger.id[:12]}, which is not trusted" in refusal(
        directory, trusting(signer)
    )
    allowed = trusting(signer, unsigned_allowed=True)
    assert open_bundle(directory, allowed).signed_by == ""
    assert open_bundle(directory, trusting(signer, stranger)).signed_by == stranger.id


def test_a_signature_that_claims_a_trusted_key_which_did_not_make_it_is_refused(
    directory: Path, signer: Signer, stranger: Signer
) -> None:
    """The key is swapped: the bundle is the stranger's, the name on it the signer's."""
    stranger.sign(directory)
    stated = json.loads((directory / "manifest.sig").read_text())
    (directory / "manifest.sig").write_text(json.dumps({**stated, "key_id": signer.id}))
    for trust in (trusting(signer), trusting(signer, stranger, unsigned_allowed=True)):
        assert "is wrong" in refusal(directory, trust)


def test_the_signature_of_another_bundle_is_refused(
    tmp_path: Path, directory: Path, signer: Signer
) -> None:
    other = tmp_path / "models" / "tiny" / "2"
    tiny_bundle(other, version="2")
    signer.sign(other)
    (directory / "manifest.sig").write_bytes((other / "manifest.sig").read_bytes())
    assert "is wrong" in refusal(directory, trusting(signer, unsigned_allowed=True))


def test_a_signed_bundle_put_in_anothers_place_is_refused(
    tmp_path: Path, directory: Path, signer: Signer
) -> None:
    """An old version cannot be passed off as a new one."""
    directory.rename(directory.parent / "9")
    found = find_bundles(tmp_path / "models", trusting(signer))
    assert not found.accepted
    assert "its manifest says tiny/1, its place tiny/9" in found.refused[0].reason


def test_a_signature_made_for_another_purpose_is_none_of_a_manifest(
    directory: Path, signer: Signer
) -> None:
    """The same key over the bare bytes, as `openssl pkeyutl` would make it of any file."""
    manifest = (directory / "manifest.json").read_bytes()
    assert not manifest.startswith(PURPOSE)
    bare = base64.b64encode(signer.key.sign(manifest)).decode()
    (directory / "manifest.sig").write_text(Signature(key_id=signer.id, signature=bare).text())
    assert "is wrong" in refusal(directory, trusting(signer))


BAD_SIGNATURES = {
    "empty": b"",
    "text": b"trust me",
    "not UTF-8": b"\xff\xfe\x00",
    "a list": b"[]",
    "another schema": b'{"schema_version":2,"algorithm":"ed25519","key_id":"%s","signature":""}',
    "another algorithm": b'{"algorithm":"none","key_id":"%s","signature":""}',
    "a field too many": b'{"key_id":"%s","signature":"","x":1}',
    "a number": b'{"key_id":"%s","signature":7}',
    "no key": b'{"signature":""}',
    "deep": b"[" * 4000,
}


@pytest.mark.parametrize("content", BAD_SIGNATURES.values(), ids=[*BAD_SIGNATURES])
def test_a_file_that_is_no_signature_is_refused_whatever_is_allowed(
    directory: Path, signer: Signer, content: bytes
) -> None:
    (directory / "manifest.sig").write_bytes(content.replace(b"%s", signer.id.encode()))
    for trust in (trusting(signer), trusting(signer, unsigned_allowed=True), ANYONE):
        assert "manifest.sig is not a signature" in refusal(directory, trust)


@pytest.mark.parametrize("length", [0, 1, 63, 65])
def test_a_signature_of_another_length_is_refused(
    directory: Path, signer: Signer, length: int
) -> None:
    value = base64.b64encode(bytes(length)).decode()
    (directory / "manifest.sig").write_text(Signature(key_id=signer.id, signature=value).text())
    assert "is wrong" in refusal(directory, trusting(signer, unsigned_allowed=True))


def test_a_signature_that_is_not_base64_is_refused(directory: Path, signer: Signer) -> None:
    (directory / "manifest.sig").write_text(Signature(key_id=signer.id, signature="*").text())
    assert "not a signature" in refusal(directory, trusting(signer))


def test_a_huge_signature_is_refused_unread(directory: Path, signer: Signer) -> None:
    with (directory / "manifest.sig").open("ab") as stream:
        stream.truncate(2**40)
    assert f"at most {MAX_SIGNATURE_BYTES} are read" in refusal(directory, trusting(signer))


def test_a_signature_cut_short_anywhere_is_refused(directory: Path, signer: Signer) -> None:
    whole = (directory / "manifest.sig").read_bytes().rstrip()
    for length in range(len(whole)):
        (directory / "manifest.sig").write_bytes(whole[:length])
        refusal(directory, trusting(signer, unsigned_allowed=True))


@pytest.mark.parametrize("name", ["manifest.sig", "manifest.json"])
def test_a_link_to_a_good_file_is_refused(
    tmp_path: Path, directory: Path, signer: Signer, name: str
) -> None:
    (directory / name).rename(tmp_path / name)
    (directory / name).symlink_to(tmp_path / name)
    assert f"{name!r} is not a plain file" in refusal(
        directory, trusting(signer, unsigned_allowed=True)
    )


def test_a_dangling_link_in_the_signatures_place_is_not_taken_for_none(directory: Path) -> None:
    (directory / "manifest.sig").unlink()
    (directory / "manifest.sig").symlink_to("nowhere")
    assert "not a plain file" in refusal(directory, ANYONE)


def test_a_pipe_in_the_signatures_place_is_refused_and_not_waited_for(directory: Path) -> None:
    (directory / "manifest.sig").unlink()
    os.mkfifo(directory / "manifest.sig")
    assert "not a plain file" in refusal(directory, ANYONE)


def test_a_file_put_beside_the_listed_ones_is_never_read(directory: Path, signer: Signer) -> None:
    """Nobody signed it, and nobody opens it: it is harmless."""
    (directory / "evil.onnx").write_bytes(b"evil")
    bundle = open_bundle(directory, trusting(signer))
    with pytest.raises(BundleRefused, match="lists no file"):
        bundle.path("evil.onnx")
    assert "evil.onnx" not in bundle.weights()


def test_a_manifest_that_lists_the_signature_is_refused(directory: Path) -> None:
    manifest = tiny_manifest(directory)
    assert "manifest.sig" in {file.path for file in listed_files(directory)}
    with pytest.raises(BundleRefused, match=r"'manifest\.sig' is not a plain file name"):
        write_manifest(directory, manifest)


def test_a_bundle_that_is_not_whole_is_not_signed(directory: Path, signer: Signer) -> None:
    (directory / "manifest.sig").unlink()
    flip(directory / "weights.bin", 0)
    with pytest.raises(BundleRefused, match=r"weights\.bin"):
        sign_bundle(directory, signer.key)
    assert not (directory / "manifest.sig").exists()


def test_signing_again_replaces_the_signature_even_a_broken_one(
    directory: Path, signer: Signer, stranger: Signer
) -> None:
    (directory / "manifest.sig").write_bytes(b"broken")
    stranger.sign(directory)
    signer.sign(directory)
    assert open_bundle(directory, trusting(signer)).signed_by == signer.id
    assert not [path for path in directory.iterdir() if path.name.startswith(".")]


def test_a_refused_bundle_hides_no_other(tmp_path: Path, directory: Path, signer: Signer) -> None:
    tiny_bundle(tmp_path / "models" / "tiny" / "2", version="2")
    found = find_bundles(tmp_path / "models", trusting(signer))
    assert [bundle.manifest.version for bundle in found.accepted] == ["1"]
    assert [refused.name for refused in found.refused] == ["tiny/2"]


@given(data=st.binary(max_size=300))
def test_any_bytes_as_a_signature_are_refused_or_count_as_none(data: bytes) -> None:
    with pytest.raises(BundleRefused):
        Trust().signer(b"{}", data)
