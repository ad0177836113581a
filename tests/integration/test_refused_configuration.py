"""A number of the configuration beyond its limits is refused, in words fit for a stranger."""

from collections.abc import Iterator

import pytest

from salience_service.config import ServeConfig, read_config
from salience_service.errors import ConfigRefused
from tests.support.error_words import assert_fit_for_a_stranger


def limits_of_the_configuration() -> Iterator[tuple[str, float]]:
    """Each number of the configuration, one step beyond each of its limits."""
    for name, key in ServeConfig.model_fields.items():
        step = 1 if key.annotation is int else 1e-9
        for limit in key.metadata:
            for bound, sign in (("ge", -1), ("le", 1)):
                if hasattr(limit, bound):
                    yield name, getattr(limit, bound) + sign * step
            if hasattr(limit, "gt"):
                yield name, limit.gt


@pytest.mark.parametrize(("key", "value"), [*limits_of_the_configuration()])
def test_a_configuration_beyond_a_limit_is_refused_in_clean_words(key: str, value: float) -> None:
    with pytest.raises(ConfigRefused, match=f"{key} = ") as refused:
        read_config(**{key: value})
    assert_fit_for_a_stranger(str(refused.value))


def test_every_number_of_the_configuration_has_both_limits() -> None:
    beyond_limits = [name for name, _ in limits_of_the_configuration()]
    numbers = [n for n, key in ServeConfig.model_fields.items() if key.annotation in (int, float)]
    assert {name: beyond_limits.count(name) for name in numbers} == dict.fromkeys(numbers, 2)
