"""A server's certificate and key: checked before use, read again when they change."""

import shutil
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from salience_service.access.certificates import Certificates, paths_of, read_certificates
from salience_service.access.watched import Watched
from salience_service.config.tls import TlsConfig
from salience_service.errors import ConfigRefused
from tests.support.identity import HOST, Authority


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def _section(authority: Authority, days: tuple[int, int] = (-1, 1), **more: str) -> TlsConfig:
    certificate, key = authority.issue(HOST, name="server", days=days)
    return TlsConfig(certificate=str(certificate), key=str(key), **more)


def test_a_pair_that_fits_is_read_as_it_stands(authority: Authority) -> None:
    config = _section(authority, client_ca=str(authority.file))
    read = read_certificates(config)
    assert read.chain == Path(config.certificate).read_bytes()
    assert read.key == Path(config.key).read_bytes()
    assert read.client_ca == authority.file.read_bytes()


@pytest.mark.parametrize(
    ("days", "why"), [((-9, -1), "tls.certificate expired at"), ((1, 9), "only from .* clock")]
)
def test_a_certificate_out_of_its_time_is_refused_with_the_date(
    authority: Authority, days: tuple[int, int], why: str
) -> None:
    with pytest.raises(ConfigRefused, match=why):
        read_certificates(_section(authority, days))


def test_a_key_of_another_certificate_is_refused(authority: Authority) -> None:
    config = _section(authority)
    _, other = authority.issue(HOST, name="other")
    with pytest.raises(ConfigRefused, match=r"tls\.key is not the key of the first certificate"):
        read_certificates(config.model_copy(update={"key": str(other)}))


def test_a_chain_that_begins_with_its_ca_is_refused(authority: Authority) -> None:
    config = _section(authority)
    path = Path(config.certificate)
    path.write_bytes(authority.file.read_bytes() + path.read_bytes())
    with pytest.raises(ConfigRefused, match="the server's own certificate first"):
        read_certificates(config)


@pytest.mark.parametrize("key", ["certificate", "key", "client_ca"])
@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"-----BEGIN CERTIFICATE-----\nAA"])
def test_a_file_that_is_not_pem_is_refused_by_its_key(
    authority: Authority, key: str, content: bytes
) -> None:
    config = _section(authority, client_ca=str(authority.file))
    Path(getattr(config, key)).write_bytes(content)
    with pytest.raises(ConfigRefused, match=rf"tls\.{key}: there is no"):
        read_certificates(config)


def test_a_file_that_is_not_there_is_refused_by_key_and_name_without_its_directory(
    authority: Authority,
) -> None:
    config = TlsConfig(certificate="/secret/place/server.pem", key=str(authority.file))
    with pytest.raises(ConfigRefused, match=r"tls\.certificate: server\.pem") as told:
        read_certificates(config)
    assert "place" not in str(told.value)


def test_a_key_with_a_passphrase_is_refused(authority: Authority) -> None:
    config = _section(authority)
    path = Path(config.key)
    sealed = load_pem_private_key(path.read_bytes(), None).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
    )
    path.write_bytes(sealed)
    with pytest.raises(ConfigRefused, match="passphrase"):
        read_certificates(config)


def test_client_cas_that_have_all_expired_are_refused(tmp_path: Path) -> None:
    config = _section(Authority(tmp_path))
    old, _ = Authority(tmp_path / "old").issue("old", name="old", days=(-9, -1))
    with pytest.raises(ConfigRefused, match=r"tls\.client_ca: every certificate"):
        read_certificates(config.model_copy(update={"client_ca": str(old)}))


def _watched(config: TlsConfig) -> Watched[Certificates]:
    return Watched("the TLS certificate", paths_of(config), lambda: read_certificates(config))


def test_files_that_change_are_read_again(authority: Authority) -> None:
    config = _section(authority)
    watched = _watched(config)
    before = watched.value
    assert watched.value is before
    authority.issue(HOST, name="server")
    assert watched.value.chain == Path(config.certificate).read_bytes() != before.chain


def test_a_pair_of_which_one_half_is_written_leaves_the_old_one_in_force_until_the_other_is(
    authority: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = _section(authority)
    watched = _watched(config)
    before = watched.value
    certificate, key = authority.issue(HOST, name="new")
    shutil.copy(certificate, config.certificate)
    assert watched.value is before
    assert watched.value is before
    told = [record for record in caplog.records if "cannot be used" in record.message]
    assert len(told) == 1, "a broken pair is told once, not at every handshake"
    shutil.copy(key, config.key)
    assert watched.value.chain == certificate.read_bytes()


def test_a_file_that_is_cut_or_taken_away_leaves_the_old_one_in_force(authority: Authority) -> None:
    config = _section(authority)
    watched = _watched(config)
    before, key = watched.value, Path(config.key)
    whole = key.read_bytes()
    key.write_bytes(whole[: len(whole) // 2])
    assert watched.value is before
    key.unlink()
    assert watched.value is before
    key.write_bytes(whole)
    assert watched.value.key == whole


def test_a_link_that_is_turned_to_other_files_counts_as_a_change(authority: Authority) -> None:
    """As Kubernetes renews what it mounts."""
    for name in ("old", "new"):
        authority.issue(HOST, name=name)
    directory = authority.directory
    links = [directory / "tls.pem", directory / "tls.key"]
    for link in links:
        link.symlink_to(directory / f"old{link.suffix}")
    watched = _watched(TlsConfig(certificate=str(links[0]), key=str(links[1])))
    for link in links:
        link.unlink()
        link.symlink_to(directory / f"new{link.suffix}")
    assert watched.value.chain == (directory / "new.pem").read_bytes()
