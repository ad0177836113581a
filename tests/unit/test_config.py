"""The server's configuration: defaults, one TOML file, clear refusals."""

import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from salience_service.config import read_config
from salience_service.errors import ConfigRefused
from salience_service.runtime.device import Device


def _file(directory: Path, text: str) -> Path:
    path = directory / "serve.toml"
    path.write_text(text, "utf-8")
    return path


def test_without_a_file_the_server_stays_on_this_machine_on_the_cpu() -> None:
    config = read_config()
    assert config.address.startswith("127.0.0.1:")
    assert (config.provider, config.masked_batch_size, config.max_explanations) == ("cpu", 2, 64)


def test_by_default_nothing_is_cached_and_rows_and_bytes_are_bounded() -> None:
    config = read_config()
    assert (config.cache_bytes, config.max_queued_rows) == (0, 400_000)
    assert config.max_queued_bytes == 3 * 2**30


def test_keys_of_the_file_are_read_and_overrides_go_over_them(tmp_path: Path) -> None:
    path = _file(tmp_path, 'address = "[::1]:0"\nthreads = 2\ndrain_seconds = 5\n')
    config = read_config(path, threads=3, provider=None)
    assert (config.address, config.threads, config.provider) == ("[::1]:0", 3, "cpu")
    assert config.drain_seconds == 5


@pytest.mark.parametrize(("provider", "rows"), [("cpu", 2), ("cuda", 64), ("tensorrt", 64)])
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
        ("calls_in_flight", 17),
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
    threads = 1024  # No machine has cores for two calls of so many.
    stated = {"devices": [0, 3], "threads": threads, "engine_cache_directory": cache}
    kept = Path(cache) if cache else None
    device = read_config(provider=provider, **stated).device
    assert device == Device(provider, threads, (0, 3), calls, "float32", kept)


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


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[watchdog]\nstuck = 1", "unknown key 'watchdog.stuck': known are stuck_call_seconds, "),
        ("[access.jwt]\nissuers = 'x'", "unknown key 'access.jwt.issuers': known are issuer, "),
        (
            "[[access.principals]]\nname = 'a'\n[[access.principals]]\nname = 'b'\nmodel = 'x'",
            "unknown key 'access.principals[1].model': known are name, ",
        ),
        ("[watchdog]\nstuck_call_seconds = -1", "watchdog.stuck_call_seconds = -1: "),
        ("watchdog = 1", "watchdog = 1: it must be a table"),
        ("[[watchdog]]\nstuck_call_seconds = 1", "it must be a table"),
        ("[tls]", "tls.certificate is required; tls.key is required"),
        ("[access]\nprincipals = [5]", "access.principals[0] = 5: it must be a table"),
        (
            "[supervisor]\nfirst_wait_seconds = 5\nlongest_wait_seconds = 1",
            "supervisor: longest_wait_seconds = 1 is less than first_wait_seconds = 5",
        ),
        ("[repository.policies]\nx = [1]", "repository.policies.x[0] = 1: "),
        ("[repository.policies]\nx = []", "repository.policies.x = []: give at least 1; "),
        ("[repository]\npolicy = 'newest'", "repository.policy = 'newest': 'all', "),
    ],
)
def test_faults_in_tables_and_lists_are_told_by_their_place(
    tmp_path: Path, text: str, told: str
) -> None:
    with pytest.raises(ConfigRefused) as refused:
        read_config(_file(tmp_path, text))
    assert told in str(refused.value)


@pytest.mark.parametrize(
    ("devices", "said"),
    [([], "devices = []: give at least 1"), (range(17), "give at most 16, not 17")],
)
def test_a_list_of_too_few_or_too_many_is_refused_in_toml_s_words(
    tmp_path: Path, devices: Sequence[int], said: str
) -> None:
    with pytest.raises(ConfigRefused, match=re.escape(said)) as refused:
        read_config(_file(tmp_path, f"devices = {list(devices)}\n"))
    assert "uple" not in str(refused.value)


def test_a_list_with_a_faulty_item_is_not_called_too_short(tmp_path: Path) -> None:
    with pytest.raises(ConfigRefused) as refused:
        read_config(_file(tmp_path, "[[access.principals]]\nname = 1\n"))
    assert str(refused.value) == "access.principals[0].name = 1: Input should be a valid string"


def test_a_long_value_is_cut_in_its_message(tmp_path: Path) -> None:
    with pytest.raises(ConfigRefused) as refused:
        read_config(_file(tmp_path, f"threads = '{'x' * 10_000}'"))
    assert len(str(refused.value)) < 200


def test_a_supervised_server_needs_a_port_that_stays_the_same() -> None:
    config = read_config(address="127.0.0.1:0")
    with pytest.raises(ConfigRefused, match="needs a port that stays the same"):
        _ = config.restart_policy
    assert read_config(address="127.0.0.1:50051").restart_policy.most == 5


def test_an_override_of_a_tables_key_leaves_the_rest_of_the_table(tmp_path: Path) -> None:
    path = _file(tmp_path, '[bundles]\ntrusted_keys = ["keys"]\n')
    config = read_config(path, **{"bundles.unsigned": "allow"})
    assert config.bundles.trusted_keys == ("keys",)
    assert config.bundles.unsigned == "allow"
    assert read_config(**{"bundles.unsigned": "allow"}).bundles.unsigned == "allow"
    assert read_config(path, **{"bundles.unsigned": None}).bundles.unsigned == "refuse"


def test_an_override_of_a_table_that_is_none_leaves_the_fault_to_be_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigRefused, match="bundles = 3"):
        read_config(_file(tmp_path, "bundles = 3\n"), **{"bundles.unsigned": "allow"})


def test_an_audit_answers_nothing_unrecorded_unless_that_is_said(
    tmp_path: Path,
) -> None:
    """By default; and a directory and a key must be named."""
    stated = '[audit]\ndirectory = "trail"\nkey_file = "key"\n'
    config = read_config(_file(tmp_path, stated)).audit
    assert config is not None
    assert (config.on_failure, config.durable, config.keep_files) == ("refuse", True, 0)
    assert read_config().audit is None
    for lacking in ('[audit]\ndirectory = "trail"\n', '[audit]\nkey_file = "key"\n'):
        with pytest.raises(ConfigRefused, match="audit"):
            read_config(_file(tmp_path, lacking))
