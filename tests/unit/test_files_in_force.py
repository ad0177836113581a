"""Files that are read again while a server serves: one that cannot be used is told at a scrape."""

from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from salience_service.config import ServeConfig
from salience_service.errors import ConfigRefused
from salience_service.telemetry.files_in_force import FilesInForce
from tests.support.identity import AUDIENCE, ISSUER, Authority, Issuer, token_file

STALE = "salience_config_file_stale"


def _config(directory: Path) -> ServeConfig:
    tokens, keys = directory / "tokens", directory / "keys"
    token_file(tokens, "pacs")
    keys.write_bytes(Issuer().pem())
    access = {
        "tokens_file": str(tokens),
        "jwt": {"issuer": ISSUER, "audience": AUDIENCE, "keys_file": str(keys)},
        "principals": [{"name": "pacs"}],
    }
    tls = Authority(directory / "ca").tls_section()
    return ServeConfig.model_validate({"tls": tls, "access": access})


@pytest.mark.parametrize(
    ("file", "setting"),
    [
        ("tokens", "access.tokens_file"),
        ("keys", "access.jwt.keys_file"),
        ("ca/server.key", "tls"),
    ],
)
def test_a_file_is_stale_by_its_setting_while_it_cannot_be_used(
    tmp_path: Path, file: str, setting: str
) -> None:
    told = CollectorRegistry()
    told.register(FilesInForce(_config(tmp_path)))
    good = (tmp_path / file).read_bytes()
    stale = []
    for text in (good, b"nonsense", good + b"\n"):
        (tmp_path / file).write_bytes(text)
        stale.append(told.get_sample_value(STALE, {"file": setting}))
    assert stale == [0, 1, 0]
    labels = [sample.labels["file"] for each in told.collect() for sample in each.samples]
    assert sorted(labels) == ["access.jwt.keys_file", "access.tokens_file", "tls"]


def test_where_no_file_is_named_nothing_is_told_and_what_cannot_be_used_is_refused(
    tmp_path: Path,
) -> None:
    (told,) = FilesInForce(ServeConfig()).collect()
    assert told.samples == []
    config = _config(tmp_path)
    (tmp_path / "tokens").unlink()
    with pytest.raises(ConfigRefused, match=r"access\.tokens_file"):
        FilesInForce(config)
