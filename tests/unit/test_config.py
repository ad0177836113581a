"""The server's configuration: defaults, one TOML file, clear refusals."""

from pathlib import Path

import pytest

from salience_service.config import ServeConfig, read_config
from salience_service.errors import ConfigRefused
from salience_service.runtime.device import Device


def _file(directory: Path, text: str) -> Path:
    path = directory / "serve.toml"
    path.write_text(text, "utf-8")
    return path


def test_without_a_file_the_server_stays_on_this_machine_on_the_cpu() -> None:
    config = read_config()
    assert config.address.startswith("127.0.0.1:")
    assert (config.provider, config.masked_batch_size, config.max_explanations) == ("cpu", 8, 64)


def test_by_default_nothing_is_cached_and_rows_and_bytes_are_bounded() -> None:
    config = read_config()
    assert (config.cache_bytes, config.max_queued_rows) == (0, 400_000)
    assert config.max_queued_bytes == 3 * 2**30


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
        ("precision", "half"),
        ("calls_in_flight", -1),
        ("calls_in_flight", 5),
        ("threads", "4"),
        ("reflection", 1),
        ("max_explanations", 0),
        ("max_queued_rows", 0),
        ("max_queued_bytes", 2**20),
        ("cache_bytes", -1),
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


@pytest.mark.parametrize(
    ("provider", "calls", "cache"), [("cpu", 1, ""), ("cuda", 2, ""), ("tensorrt", 2, "engines")]
)
def test_a_device_is_made_of_the_configuration(provider: str, calls: int, cache: str) -> None:
    config = read_config(provider=provider, devices=[0, 3], threads=2, engine_cache_directory=cache)
    kept = Path(cache) if cache else None
    assert config.device == Device(provider, 2, (0, 3), calls, "float32", kept)


def test_devices_are_a_list_in_the_file(tmp_path: Path) -> None:
    path = _file(tmp_path, 'provider = "cuda"\nprecision = "tf32"\ndevices = [1, 0]\n')
    assert read_config(path).device == Device("cuda", 0, (1, 0), 2, "tf32")
    assert read_config(path, calls_in_flight=4).device.calls == 4


@pytest.mark.parametrize("devices", [[], [-1], [0, 0], list(range(17)), [0.5], "0", [True, False]])
def test_devices_are_numbers_from_0_each_once_and_16_at_most(devices: object) -> None:
    with pytest.raises(ConfigRefused, match="devices"):
        read_config(provider="cuda", devices=devices)


def test_sixteen_devices_are_taken() -> None:
    assert len(read_config(provider="cuda", devices=list(range(16))).device.lanes()) == 32


@pytest.mark.parametrize("precision", ["tf32", "float16"])
def test_the_cpu_has_no_lower_precision(precision: str) -> None:
    with pytest.raises(ConfigRefused, match=f"precision = '{precision}' needs.*on cpu use"):
        read_config(precision=precision)
    for provider in ("cuda", "tensorrt"):
        assert read_config(provider=provider, precision=precision).device.precision == precision


@pytest.mark.parametrize("provider", ["cpu", "cuda"])
def test_only_tensorrt_keeps_engines(provider: str) -> None:
    with pytest.raises(ConfigRefused, match="engine_cache_directory needs provider = 'tensorrt'"):
        read_config(provider=provider, engine_cache_directory="engines")


def test_the_cpu_keeps_no_images_of_its_own() -> None:
    with pytest.raises(ConfigRefused, match="device_resident_images needs"):
        read_config(device_resident_images=True)
    assert read_config(provider="cuda", device_resident_images=True).device.keeps_sources
