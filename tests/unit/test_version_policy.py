"""Which versions of a model serve, and what a configuration may say of it."""

import pytest

from salience_service.config import read_config
from salience_service.directory.policy import VersionPolicy
from salience_service.errors import ConfigRefused

VERSIONS = ["1.9", "1", "1.10", "2"]


@pytest.mark.parametrize(
    ("words", "chosen"),
    [
        ("all", ("2", "1.10", "1.9", "1")),
        ("latest 1", ("2",)),
        ("latest 3", ("2", "1.10", "1.9")),
        ("latest 99", ("2", "1.10", "1.9", "1")),
        (("1", "1.10", "gone"), ("1.10", "1")),
        ((), ()),
    ],
)
def test_versions_are_chosen_newest_first(words: str, chosen: tuple[str, ...]) -> None:
    assert VersionPolicy.read(words).chosen(VERSIONS) == chosen


def test_the_repository_section_is_read(tmp_path) -> None:
    path = tmp_path / "serve.toml"
    path.write_text(
        '[repository]\npolicy = "latest 2"\npoll_seconds = 5\nmax_versions = 3\n'
        '[repository.policies]\nresnet = ["1", "3"]\nvgg = "all"\n'
        '[repository.answers]\nresnet = "1"\n'
    )
    settings = read_config(path).repository
    assert (settings.policy, settings.poll_seconds, settings.max_versions) == ("latest 2", 5, 3)
    assert settings.policies == {"resnet": ("1", "3"), "vgg": "all"}
    assert settings.answers == {"resnet": "1"}


@pytest.mark.parametrize("policy", ['"latest 0"', '"latest"', '"newest"', '["../1"]', '["A"]', "3"])
def test_a_policy_that_is_none_is_refused(tmp_path, policy: str) -> None:
    path = tmp_path / "serve.toml"
    path.write_text(f"[repository]\npolicy = {policy}\n")
    with pytest.raises(ConfigRefused, match=r"repository\.policy"):
        read_config(path)


@pytest.mark.parametrize("name", ["ResNet", "..", "a/b", "x y", "a" * 65])
def test_a_policy_of_what_can_be_no_model_is_refused(tmp_path, name: str) -> None:
    path = tmp_path / "serve.toml"
    path.write_text(f'[repository.policies]\n"{name}" = "all"\n')
    with pytest.raises(ConfigRefused, match=r"repository\.policies: .* is no model: a-z, 0-9"):
        read_config(path)


@pytest.mark.parametrize("address", ["0.0.0.0:50052", "[::]:0", "server.example:1"])
def test_the_admin_port_is_not_opened_to_other_machines_without_tls_and_access(
    tmp_path, address: str
) -> None:
    path = tmp_path / "serve.toml"
    path.write_text(f'insecure = true\n[admin]\naddress = "{address}"\n')
    with pytest.raises(ConfigRefused, match=r"admin\.address .* \[tls\] and \[access\]"):
        read_config(path)


def test_by_default_nobody_administers() -> None:
    assert read_config().admin is None
