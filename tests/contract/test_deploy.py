"""What deploy/ says of a server's life holds: it is given the time to drain, and started again."""

import configparser
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from salience_service.config import ServeConfig, read_config
from salience_service.life import exit_codes
from salience_service.life.process_end import EXIT_SLACK_SECONDS
from salience_service.life.restarts import RestartPolicy
from salience_service.rpc.calls.open_calls import MOST_HALF_SENT

TOKEN_FILE = "SALIENCE_TOKEN_FILE"
"""Without it the health of a model is told to nobody, and no pod would ever be ready."""
ONE_MODEL_BYTES = 2**29
"""Of the process with EfficientNet-Lite0, 470 MB."""
DEPLOY = Path(__file__).parents[2] / "deploy"


@pytest.fixture
def config() -> ServeConfig:
    return read_config(DEPLOY / "hospital.toml")


@pytest.fixture
def least(config: ServeConfig) -> float:
    """Seconds that a server may take to stop."""
    return config.drain_seconds + EXIT_SLACK_SECONDS


def unit(section: str = "Service") -> configparser.SectionProxy:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(DEPLOY / "salience.service", "utf-8")
    return parser[section]


def pod() -> dict[str, Any]:
    deployment, _ = yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text("utf-8"))
    spec: dict[str, Any] = deployment["spec"]["template"]["spec"]
    return spec


def composed() -> dict[str, Any]:
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))["services"]
    found: dict[str, Any] = services["salience"]
    return found


def test_the_example_configuration_is_safe(config: ServeConfig) -> None:
    assert config.tls
    assert config.access
    assert config.audit
    assert not config.insecure
    assert (config.bundles.unsigned, bool(config.bundles.trusted_keys)) == ("refuse", True)
    everyone = {call for one in config.access.principals for call in one.calls}
    assert everyone == {"describe", "explain", "admin"}
    assert not any({"admin", "explain"} <= set(one.calls) for one in config.access.principals)


def test_systemd_gives_it_the_time_to_drain_and_starts_it_again(least: float) -> None:
    service = unit()
    assert float(service["TimeoutStopSec"]) > least
    assert service["Restart"] == "on-failure"
    assert int(service["RestartPreventExitStatus"]) == exit_codes.MISUSED


def test_systemd_tries_what_is_refused_as_often_as_the_supervisor_does_and_no_more() -> None:
    """It does not tell a first start from one after a crash, which may be refused for a while."""
    limit, policy = unit("Unit"), RestartPolicy()
    assert int(limit["StartLimitBurst"]) == policy.most
    assert float(limit["StartLimitIntervalSec"]) == policy.window


def test_kubernetes_gives_it_the_time_to_drain_and_asks_its_health(least: float) -> None:
    spec = pod()
    container = spec["containers"][0]
    before = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert spec["terminationGracePeriodSeconds"] > before + least
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["exec"]["command"][:2] == ["salience", "health"]
    assert len(container["livenessProbe"]["exec"]["command"]) == 2, "a model's end is no death"
    (token,) = [each["value"] for each in container["env"] if each["name"] == TOKEN_FILE]
    etc = next(volume for volume in spec["volumes"] if volume["name"] == "etc")
    assert token in {f"/etc/salience/{item['path']}" for item in etc["secret"]["items"]}


def test_kubernetes_leaves_an_engine_cache_to_its_owner() -> None:
    """By default each mount gives the group all rights, and such a cache is refused."""
    assert pod()["securityContext"]["fsGroupChangePolicy"] == "OnRootMismatch"


def test_what_systemd_is_told_on_a_gpu_are_groups_of_devices_for_paths_take_no_wildcard() -> None:
    text = (DEPLOY / "salience.service").read_text("utf-8")
    assert re.findall(r"DeviceAllow=(\S+) (\w+)", text) == [("char-nvidia*", "rw")]
    assert "#   PrivateDevices=no\n" in text


def test_what_is_installed_for_systemd_are_versions_known_to_work_together() -> None:
    text = (DEPLOY / "salience.service").read_text("utf-8")
    assert re.findall(r"pip install (.*\S) '", text) == ["--constraint constraints.txt"]


def test_compose_gives_it_the_time_to_drain_and_starts_it_again(least: float) -> None:
    service = composed()
    assert float(service["stop_grace_period"].removesuffix("s")) > least
    assert service["restart"] == "unless-stopped"


def test_containers_run_without_rights_on_a_root_that_nothing_writes() -> None:
    service, container = composed(), pod()["containers"][0]
    assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
    security = container["securityContext"]
    assert security["readOnlyRootFilesystem"]
    assert not security["allowPrivilegeEscalation"]
    assert pod()["securityContext"]["runAsNonRoot"]


def test_torch_may_write_its_cache_on_a_root_that_nothing_writes() -> None:
    """It loads no program without a temporary directory."""
    assert "/tmp" in composed()["tmpfs"]
    assert "/tmp" in {mount["mountPath"] for mount in pod()["containers"][0]["volumeMounts"]}
    assert "--perms 1777 --tmpfs /tmp" in (DEPLOY / "run_without_docker.sh").read_text("utf-8")
    for text in ("docs/deploy.md", "Dockerfile"):
        runs = re.findall(r"docker run .*", (DEPLOY.parent / text).read_text("utf-8"))
        assert runs
        assert not [run for run in runs if "--tmpfs /tmp" not in run]


def test_what_a_server_may_hold_fits_the_memory_of_a_container(config: ServeConfig) -> None:
    calls = config.connections.max_calls + MOST_HALF_SENT
    held = config.max_queued_bytes + config.cache_bytes + calls * config.max_message_bytes
    limits = composed()["mem_limit"], pod()["containers"][0]["resources"]["limits"]["memory"]
    assert limits == ("8g", "8Gi")
    assert held + ONE_MODEL_BYTES <= 8 * 2**30


def test_compose_has_room_for_the_threads_of_every_tap_on_64_cores() -> None:
    """One model took 608; as many more for five others."""
    assert composed()["pids_limit"] > 6 * 608


def test_every_file_that_the_configuration_names_is_mounted(config: ServeConfig) -> None:
    assert config.tls
    assert config.access
    assert config.audit
    volumes = {volume["name"]: volume for volume in pod()["volumes"]}
    given = {f"/etc/salience/{item['path']}" for item in volumes["etc"]["secret"]["items"]}
    named = {config.tls.certificate, config.tls.key, config.access.tokens_file}
    assert named | {config.audit.key_file} <= given
    assert any(Path(path).is_relative_to(config.bundles.trusted_keys[0]) for path in given)
    mounts = {mount["mountPath"] for mount in pod()["containers"][0]["volumeMounts"]}
    assert any(Path(config.audit.directory).is_relative_to(mount) for mount in mounts)


def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    text = (DEPLOY / "salience.service").read_text("utf-8")
    start = unit()["ExecStart"].split()[0]
    user = "root" if os.geteuid() == 0 else os.environ.get("USER", "nobody")
    text = text.replace(start, "/bin/true").replace("=salience\n", f"={user}\n", 2)
    (tmp_path / "salience.service").write_text(text, "utf-8")
    done = subprocess.run(
        ["systemd-analyze", "verify", "--recursive-errors=no", tmp_path / "salience.service"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    newer = ("RestartSteps", "RestartMaxDelaySec")  # Of systemd 254; older ones pass over them.
    said = [line for line in done.stderr.splitlines() if "salience.service" in line]
    assert not [line for line in said if not any(key in line for key in newer)]
