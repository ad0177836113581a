"""The process's word on TF32: said once, and never against what the environment says."""

import pytest

from salience_service.errors import ConfigRefused
from salience_service.runtime.device import Device
from salience_service.runtime.tf32 import OVERRIDE, Tf32Word


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_tensorrt_keeps_tf32_off_unless_it_is_asked_for(precision: str) -> None:
    environment: dict[str, str] = {}
    Tf32Word(environment).say(Device("tensorrt", precision=precision))  # type: ignore[arg-type]
    assert environment == {OVERRIDE: "0"}


def test_tensorrt_may_take_tf32_where_it_is_asked_for() -> None:
    environment: dict[str, str] = {}
    Tf32Word(environment).say(Device("tensorrt", precision="tf32"))
    assert environment == {}


@pytest.mark.parametrize("device", [Device(), Device("cuda"), Device("cuda", precision="tf32")])
def test_others_leave_the_environment_as_it_is(device: Device) -> None:
    environment: dict[str, str] = {}
    Tf32Word(environment).say(device)
    assert environment == {}


@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_tf32_against_the_environment_is_refused(provider: str) -> None:
    with pytest.raises(ConfigRefused, match=f"{OVERRIDE}=0 keeps it off: unset"):
        Tf32Word({OVERRIDE: "0"}).say(Device(provider, precision="tf32"))


def test_float32_against_the_environment_is_refused() -> None:
    with pytest.raises(ConfigRefused, match=f"{OVERRIDE}=1 allows TF32"):
        Tf32Word({OVERRIDE: "1"}).say(Device("tensorrt"))


def test_a_process_has_one_word_for_tensorrt() -> None:
    word = Tf32Word({})
    word.say(Device("tensorrt", precision="tf32"))
    word.say(Device("tensorrt", precision="tf32"))
    with pytest.raises(ConfigRefused, match="another engine of this process settled it"):
        word.say(Device("tensorrt"))
