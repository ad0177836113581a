"""The server's configuration: defaults, one TOML file, clear refusals."""

from pathlib import Path

import pytest

from salience_service.config import ServeConfig, read_config
from salience_service.errors import ConfigRefused


def _file(directory: Path, text: str) -> Path:
    path = directory / "serve.toml"
    path.write_text(text, "utf-8")
    return path


def test_without_a_file_the_server_stays_on_this_machine_on_the_cpu() -> None:
    config = read_config()
    assert config.address.startswith("127.0.0.1:")
    assert (config.provider, config.masked_batch_size, config.max_explanations) == ("cpu", 8, 64)


def test_every_key_is_documented() -> None:
    undocumented = [name for name, key in ServeConfig.model_fields.items() if not key.description]
    assert not undocumented


def test_keys_of_the_file_are_read_and_overrides_go_over_them(tmp_path: Path) -> None:
    path = _file(tmp_path, 'address = "[::1]:0"\nthreads = 2\ndrain_seconds = 5\n')
    config = read_config(path, threads=3, provider=None)
    assert (config.address, config.threads, config.provider) == ("[::1]:0", 3, "cpu")
    assert config.drain_seconds == 5


@pytest.mark.parametrize(("provider", "rows"), [("cpu", 8), ("cuda", 64), ("tensorrt", 64)])
def test_the_batch_size_follows_the_provider_unless_stated(provider: str, rows: int) -> None:
    assert read_config(provider=provider).masked_batch_size == rows
    assert read_config(provider=provider, batch_size=3).masked_batch_size == 3


def test_an_unknown_key_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ConfigRefused, match=r"unknown key 'adress': known are address, .*"):
        read_config(_file(tmp_path, 'adress = "127.0.0.1:1"\n'))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("provider", "gpu"),
        ("batch_size", -1),
        ("batch_size", 1025),
        ("threads", "4"),
        ("reflection", 1),
        ("max_explanations", 0),
        ("max_in_flight_per_call", 0),
        ("max_message_bytes", 1),
        ("max_message_bytes", 2**31),
        ("max_encoded_bytes", 0),
        ("max_image_pixels", 0),
        ("max_image_pixels", 10**9),
        ("progress_interval_seconds", 0.41),
        ("progress_interval_seconds", 0.0),
        ("partial_map_interval_seconds", -0.1),
        ("drain_seconds", float("nan")),
    ],
)
def test_a_value_out_of_its_range_is_refused_with_key_and_value(key: str, value: object) -> None:
    with pytest.raises(ConfigRefused) as told:
        read_config(**{key: value})
    assert f"{key} = {value!r}" in str(told.value)


def test_all_faults_of_a_file_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigRefused, match=r"threads = -1.*; unknown key 'port'"):
        read_config(_file(tmp_path, "threads = -1\nport = 1\n"))


@pytest.mark.parametrize("address", ["0.0.0.0:50051", "[::]:50051", "192.168.1.7:1", "host:1"])
def test_an_address_beyond_this_machine_needs_the_word_insecure(address: str) -> None:
    with pytest.raises(ConfigRefused, match="not encrypted"):
        read_config(address=address)
    assert read_config(address=address, insecure=True).address == address


@pytest.mark.parametrize("address", ["", "50051", ":1", "localhost:", "localhost:65536", "a:-1"])
def test_an_address_without_host_or_port_is_refused(address: str) -> None:
    with pytest.raises(ConfigRefused, match="is not HOST:PORT"):
        read_config(address=address, insecure=True)


def test_a_file_that_is_missing_or_not_toml_is_refused_by_name_alone(tmp_path: Path) -> None:
    with pytest.raises(ConfigRefused, match=r"^serve\.toml cannot be read"):
        read_config(tmp_path / "serve.toml")
    with pytest.raises(ConfigRefused, match=r"^serve\.toml is not TOML.*line 1"):
        read_config(_file(tmp_path, "threads = \n"))
    (tmp_path / "serve.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigRefused, match="is not TOML"):
        read_config(tmp_path / "serve.toml")
