"""TF32: refused where a device has none; said once, never against what the environment says."""

import pytest

from salience_service.errors import ConfigRefused
from salience_service.runtime.device import Device
from salience_service.runtime.tf32 import OVERRIDE, Tf32Word, check_tf32


@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_tf32_is_kept_off_unless_it_is_asked_for(provider: str, precision: str) -> None:
    environment: dict[str, str] = {}
    Tf32Word(environment).say(Device(provider, precision=precision))  # type: ignore[arg-type]
    assert environment == {OVERRIDE: "0"}


@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_tf32_may_be_taken_where_it_is_asked_for(provider: str) -> None:
    environment: dict[str, str] = {}
    Tf32Word(environment).say(Device(provider, precision="tf32"))
    assert environment == {}


def test_the_cpu_leaves_the_environment_as_it_is() -> None:
    environment: dict[str, str] = {}
    Tf32Word(environment).say(Device())
    assert environment == {}


@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_gradients_in_float32_beside_a_model_in_tf32_leave_its_word(provider: str) -> None:
    environment: dict[str, str] = {}
    word, device = Tf32Word(environment), Device(provider, precision="tf32")
    word.say(device)
    word.say(Device("cuda"))
    word.say(device)
    assert environment == {}


@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_tf32_against_the_environment_is_refused(provider: str) -> None:
    with pytest.raises(ConfigRefused, match=f"{OVERRIDE}=0 keeps it off: unset"):
        Tf32Word({OVERRIDE: "0"}).say(Device(provider, precision="tf32"))


def test_float32_against_the_environment_is_refused() -> None:
    with pytest.raises(ConfigRefused, match=f"{OVERRIDE}=1 allows TF32"):
        Tf32Word({OVERRIDE: "1"}).say(Device("tensorrt"))


@pytest.mark.parametrize(("first", "then"), [("tf32", "float32"), ("float32", "tf32")])
def test_a_process_has_one_word(first: str, then: str) -> None:
    word = Tf32Word({})
    word.say(Device("tensorrt", precision=first))  # type: ignore[arg-type]
    word.say(Device("tensorrt", precision=first))  # type: ignore[arg-type]
    with pytest.raises(ConfigRefused, match="another model of this process settled it"):
        word.say(Device("tensorrt", precision=then))  # type: ignore[arg-type]


@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_tf32_is_refused_where_one_of_the_devices_has_none(provider: str) -> None:
    machine = {0: (8, 0), 1: (9, 0), 3: (7, 5)}
    check_tf32(Device(provider, numbers=(0, 1), precision="tf32"), machine.__getitem__)
    with pytest.raises(ConfigRefused, match=r"device 3 has compute capability 7\.5.*use 'float32'"):
        check_tf32(Device(provider, numbers=(0, 3), precision="tf32"), machine.__getitem__)


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_of_other_precisions_no_device_is_asked(precision: str) -> None:
    check_tf32(Device("cuda", precision=precision), {}.__getitem__)  # type: ignore[arg-type]
