"""The models directory: NAME/VERSION, versions in the order people read them."""

from pathlib import Path

import pytest

from salience_service.bundle.repository import find_bundles, version_key
from salience_service.errors import BundleRefused
from tests.support.bundles import tiny_bundle


def places(found) -> list[str]:
    return [f"{each.manifest.name}/{each.manifest.version}" for each in found.accepted]


def test_bundles_are_found_by_name_and_version_oldest_first(tmp_path):
    for name, version in [("b", "1.10"), ("b", "1.9"), ("b", "1.9.1"), ("a", "2"), ("a", "10")]:
        tiny_bundle(tmp_path / name / version, name, version)
    found = find_bundles(tmp_path)
    assert places(found) == ["a/2", "a/10", "b/1.9", "b/1.9.1", "b/1.10"]
    assert found.refused == ()


def test_numbers_in_versions_order_as_numbers():
    versions = ["2024-02-10", "1", "1.2", "1.10", "1.10.1", "9a", "10a", "2024-11-01"]
    assert sorted(versions, key=version_key) == [
        "1", "1.2", "1.10", "1.10.1", "9a", "10a", "2024-02-10", "2024-11-01",
    ]  # fmt: skip


def test_a_refused_bundle_hides_no_other(tmp_path):
    tiny_bundle(tmp_path / "good" / "1", "good", "1")
    tiny_bundle(tmp_path / "good" / "2", "good", "2")
    (tmp_path / "good" / "2" / "weights.bin").unlink()
    (tmp_path / "empty" / "1").mkdir(parents=True)
    found = find_bundles(tmp_path)
    assert places(found) == ["good/1"]
    refused = {each.name: each.reason for each in found.refused}
    assert refused == {
        "empty/1": "'manifest.json' is missing from the bundle",
        "good/2": "'weights.bin' is missing from the bundle",
    }


def test_a_link_that_cannot_be_followed_hides_no_bundle(tmp_path):
    tiny_bundle(tmp_path / "good" / "1", "good", "1")
    for place in (tmp_path / "far", tmp_path / "good" / "2"):
        place.symlink_to("x" * 300)  # As a link to where this user may not look, and for root too.
    found = find_bundles(tmp_path)
    assert places(found) == ["good/1"]
    refused = {each.name: each.reason for each in found.refused}
    assert refused == {
        "far": "the model's directory cannot be read: File name too long",
        "good/2": "'manifest.json' is missing from the bundle",
    }


def test_names_that_are_not_names_are_refused(tmp_path):
    tiny_bundle(tmp_path / "Upper" / "1")
    tiny_bundle(tmp_path / "tiny" / "v 1")
    found = find_bundles(tmp_path)
    assert found.accepted == ()
    assert [each.name for each in found.refused] == ["Upper", "tiny/v 1"]
    assert all("is not a name" in each.reason for each in found.refused)


def test_a_bundle_in_the_place_of_another_is_refused(tmp_path):
    tiny_bundle(tmp_path / "tiny" / "2", "tiny", "1")
    tiny_bundle(tmp_path / "other" / "1", "tiny", "1")
    found = find_bundles(tmp_path)
    assert found.accepted == ()
    assert [each.reason.split(":")[0] for each in found.refused] == [
        "its manifest says tiny/1, its place other/1",
        "its manifest says tiny/1, its place tiny/2",
    ]


def test_plain_files_and_hidden_directories_are_passed_over(tmp_path):
    tiny_bundle(tmp_path / "tiny" / "1")
    (tmp_path / "README").write_text("models")
    (tmp_path / "tiny" / "notes.txt").write_text("notes")
    (tmp_path / ".git").mkdir()
    (tmp_path / "tiny" / ".part").mkdir()
    found = find_bundles(tmp_path)
    assert (places(found), found.refused) == (["tiny/1"], ())


def test_an_empty_directory_holds_nothing(tmp_path):
    assert find_bundles(tmp_path).accepted == ()


@pytest.mark.parametrize("name", ["none", "file"])
def test_a_models_directory_that_is_none_is_refused_without_its_path(tmp_path: Path, name):
    (tmp_path / "file").write_text("")
    with pytest.raises(BundleRefused, match="the models directory cannot be read") as refused:
        find_bundles(tmp_path / name)
    assert str(tmp_path) not in str(refused.value)
