"""What the configuration says of metrics, traces and logs, and what it refuses."""

from pathlib import Path

import pytest

from salience_service.config import ServeConfig, read_config
from salience_service.errors import ConfigRefused


def _read(tmp_path: Path, text: str) -> ServeConfig:
    file = tmp_path / "serve.toml"
    file.write_text(text)
    return read_config(file)


def test_metrics_and_traces_are_off_and_logs_are_text_unless_asked_for() -> None:
    config = ServeConfig()
    assert config.metrics.address == ""
    assert config.tracing.endpoint == ""
    assert (config.logging.format, config.logging.level) == ("text", "info")


@pytest.mark.parametrize("address", ["0.0.0.0:9464", "10.0.0.7:9464", "[::]:9464", "ward7:9464"])
def test_figures_stay_on_this_machine_unless_that_is_said(tmp_path: Path, address: str) -> None:
    with pytest.raises(ConfigRefused, match=r"metrics.*insecure = true"):
        _read(tmp_path, f'[metrics]\naddress = "{address}"')
    allowed = _read(tmp_path, f'[metrics]\naddress = "{address}"\ninsecure = true')
    assert allowed.metrics.address == address


@pytest.mark.parametrize("address", ["9464", "127.0.0.1", "127.0.0.1:70000", ":9464"])
def test_an_address_that_is_none_is_refused_whatever_is_allowed(
    tmp_path: Path, address: str
) -> None:
    with pytest.raises(ConfigRefused, match="HOST:PORT"):
        _read(tmp_path, f'[metrics]\naddress = "{address}"\ninsecure = true')


@pytest.mark.parametrize(
    "endpoint",
    ["127.0.0.1:4317", "ftp://collector", "http://name:secret@collector:4317", "http://"],
)
def test_a_collector_is_a_plain_url_without_a_secret_in_it(tmp_path: Path, endpoint: str) -> None:
    with pytest.raises(ConfigRefused, match=r"tracing\.endpoint"):
        _read(tmp_path, f'[tracing]\nendpoint = "{endpoint}"')


@pytest.mark.parametrize("ratio", ["-0.1", "1.1", "nan"])
def test_a_share_of_traces_lies_between_none_and_all(tmp_path: Path, ratio: str) -> None:
    with pytest.raises(ConfigRefused, match=r"tracing\.sample_ratio"):
        _read(tmp_path, f"[tracing]\nsample_ratio = {ratio}")


@pytest.mark.parametrize("line", ['format = "xml"', 'level = "trace"', "colour = true"])
def test_an_unknown_form_level_or_key_of_logs_is_refused(tmp_path: Path, line: str) -> None:
    with pytest.raises(ConfigRefused, match="logging"):
        _read(tmp_path, f"[logging]\n{line}")
