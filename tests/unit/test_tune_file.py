"""Tune files: what is written is read again; a wrong one is refused, one for elsewhere unused."""

import hashlib
import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest

from salience_service.bundle.reader import Bundle, open_bundle
from salience_service.bundle.repository import find_bundles
from salience_service.config import ServeConfig
from salience_service.errors import BundleRefused
from salience_service.models.tuning import UNTUNED, Tuning
from salience_service.runtime.device import Device
from salience_service.tune.file import (
    MAX_BYTES,
    MOST_ENTRIES,
    read_tuning,
    tune_path,
    tuning_for,
    write_tuning,
)
from tests.support.bundles import tiny_bundle

CPU = Device()
TUNING = Tuning(1, {(4, 4): 8, (8, 8): 2}, 16, {"conv": 64})


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    tiny_bundle(tmp_path / "tiny" / "1")
    return open_bundle(tmp_path / "tiny" / "1")


def stated(bundle: Bundle, **changes: object) -> None:
    """Writes a tune file by hand; a key that is changed to None is left out."""
    held = {
        "schema_version": 2,
        "bundle_digest": bundle.digest,
        "provider": "cpu",
        "precision": "float32",
        "calls": 1,
        "threads": 1,
        **changes,
    }
    kept = {key: value for key, value in held.items() if value is not None}
    tune_path(bundle).write_text(json.dumps(kept), "utf-8")


def test_what_is_written_is_read_again_with_the_digest_of_its_bytes(bundle: Bundle) -> None:
    path = write_tuning(bundle, TUNING, CPU)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert read_tuning(bundle, CPU) == replace(TUNING, digest=digest)


def test_the_same_choice_has_the_same_digest_whatever_its_order(bundle: Bundle) -> None:
    write_tuning(bundle, TUNING, CPU)
    first = read_tuning(bundle, CPU).digest
    turned = replace(TUNING, masked=dict(reversed(TUNING.masked.items())))
    write_tuning(bundle, turned, CPU)
    assert read_tuning(bundle, CPU).digest == first
    write_tuning(bundle, replace(TUNING, threads=2), CPU)
    assert read_tuning(bundle, CPU).digest != first


def test_the_file_lies_beside_the_bundle_which_stays_what_it_was(bundle: Bundle) -> None:
    path = write_tuning(bundle, TUNING, CPU)
    assert path == bundle.directory.parent / "1.tune.json"
    assert sorted(each.name for each in path.parent.iterdir()) == ["1", "1.tune.json"]
    found = find_bundles(bundle.directory.parents[1])
    assert (found.accepted, found.refused) == ((bundle,), ())


def test_no_version_is_called_as_a_tune_file_is(tmp_path: Path) -> None:
    tiny_bundle(tmp_path / "tiny" / "1")
    with pytest.raises(BundleRefused, match=r"version '1\.tune\.json' ends as tune files do"):
        tiny_bundle(tmp_path / "tiny" / "1.tune.json", "tiny", "1.tune.json")
    (tmp_path / "tiny" / "1.tune.json").mkdir(exist_ok=True)
    with pytest.raises(BundleRefused, match="a directory or a device, not a plain file"):
        read_tuning(open_bundle(tmp_path / "tiny" / "1"), CPU)


def test_without_a_file_all_is_as_configured(bundle: Bundle) -> None:
    assert read_tuning(bundle, CPU) == UNTUNED == Tuning()


def test_a_file_for_another_bundle_is_refused_and_not_passed_over(bundle: Bundle) -> None:
    stated(bundle, bundle_digest="0" * 64)
    with pytest.raises(BundleRefused, match=r"tiny 1 is for the bundle 000000000000,.*tune again"):
        read_tuning(bundle, CPU)


@pytest.mark.parametrize("other", [{"provider": "cuda"}, {"precision": "float16"}, {"calls": 5}])
def test_a_file_for_another_provider_precision_or_number_of_calls_is_not_used_and_the_log_says_so(
    bundle: Bundle, other: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    stated(bundle, **other)
    assert read_tuning(bundle, CPU) == UNTUNED
    (record,) = caplog.records
    assert str(next(iter(other.values()))) in record.getMessage()
    said = "not cpu in float32 with 1 calls in flight: it is not used"
    assert record.getMessage().endswith(said)


def test_a_file_for_another_kind_of_gpu_is_not_used_and_the_log_says_so(
    bundle: Bundle, caplog: pytest.LogCaptureFixture
) -> None:
    cuda = Device("cuda", numbers=(3, 1))
    path = write_tuning(bundle, TUNING, cuda, {3: "NVIDIA H200"}.__getitem__)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert read_tuning(bundle, cuda, lambda _: "NVIDIA H200") == replace(TUNING, digest=digest)
    assert not caplog.records
    assert read_tuning(bundle, cuda, lambda _: "Tesla T4") == UNTUNED
    said = "is for cuda on NVIDIA H200 in float32 with 1 calls in flight, not cuda on Tesla T4 in"
    assert said in caplog.text


def test_more_threads_than_cores_are_used_and_the_log_says_so(
    bundle: Bundle, caplog: pytest.LogCaptureFixture
) -> None:
    stated(bundle, threads=1024)
    assert read_tuning(bundle, CPU).threads == 1024
    assert "has 1024 threads for" in caplog.text


@pytest.mark.parametrize("key", ["batch_size", "threads"])
def test_what_is_configured_goes_before_the_file_as_a_whole(
    bundle: Bundle, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    write_tuning(bundle, TUNING, ServeConfig().device)
    assert tuning_for(bundle, ServeConfig()).digest
    assert tuning_for(bundle, ServeConfig.model_validate({key: 3})) == UNTUNED
    assert "tiny 1 is not used: batch_size or threads are configured" in caplog.text


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"schema_version": 1}, "schema_version = 1"),
        ({"calls": 0}, "calls = 0"),
        ({"calls": 17}, "calls = 17"),
        ({"calls": None}, "calls = .*required"),
        ({"colour": "red"}, "colour = red: Extra inputs are not permitted"),
        ({"threads": -1}, "threads = -1"),
        ({"threads": 1025}, "threads = 1025"),
        ({"threads": "2"}, "threads = 2: Input should be a valid integer"),
        ({"threads": None}, "threads = .*required"),
        ({"bundle_digest": "f" * 63}, "bundle_digest = "),
        ({"provider": None}, "provider = .*required"),
        ({"masked": {"4x4": 0}}, r"masked\.4x4 = 0"),
        ({"masked": {"4x4": 1025}}, r"masked\.4x4 = 1025"),
        ({"masked": {"4x4": True}}, r"masked\.4x4"),
        ({"masked": {"4": 8}}, r"masked\.4\.\[key\]"),
        ({"masked": {"04x4": 8}}, r"masked\.04x4\.\[key\]"),
        ({"masked": {f"{n}x1": 1 for n in range(1, MOST_ENTRIES + 2)}}, "masked = .*at most 1024"),
        ({"pixel_masked": 0}, "pixel_masked = 0"),
        ({"tails": {"conv": 1025}}, r"tails\.conv = 1025"),
        ({"tails": {"elsewhere": 8}}, "names tap 'elsewhere', which the bundle has not"),
        ({"tails": {f"{n}": 1 for n in range(MOST_ENTRIES + 1)}}, "tails = .*at most 1024"),
    ],
)
def test_a_file_that_is_not_as_it_should_be_is_refused(
    bundle: Bundle, changes: dict[str, object], said: str
) -> None:
    stated(bundle, **changes)
    with pytest.raises(BundleRefused, match=said) as refused:
        read_tuning(bundle, CPU)
    assert str(bundle.directory.parent) not in str(refused.value)
    assert "delete it" in str(refused.value)


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"\xff\xfe", b"null"])
def test_what_is_no_object_is_refused(bundle: Bundle, text: bytes) -> None:
    tune_path(bundle).write_bytes(text)
    with pytest.raises(BundleRefused, match="is not as it should be"):
        read_tuning(bundle, CPU)


def test_a_file_is_read_up_to_its_limit(bundle: Bundle) -> None:
    write_tuning(bundle, TUNING, CPU)
    path = tune_path(bundle)
    path.write_bytes(path.read_bytes().ljust(MAX_BYTES))
    assert read_tuning(bundle, CPU).masked == TUNING.masked
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(BundleRefused, match="has more than 65536 bytes"):
        read_tuning(bundle, CPU)


def test_long_words_of_a_file_are_cut_short_in_the_refusal(bundle: Bundle) -> None:
    stated(bundle, **{"x" * 50_000: "y" * 5_000})
    with pytest.raises(BundleRefused) as refused:
        read_tuning(bundle, CPU)
    assert len(str(refused.value)) < 500


def test_a_link_is_no_tune_file(bundle: Bundle, tmp_path: Path) -> None:
    write_tuning(bundle, TUNING, CPU).rename(tmp_path / "elsewhere.json")
    tune_path(bundle).symlink_to(tmp_path / "elsewhere.json")
    with pytest.raises(BundleRefused, match="is a link"):
        read_tuning(bundle, CPU)
