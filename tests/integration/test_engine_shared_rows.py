"""Several targets of one request: rows run once, maps as if each had been asked for alone."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType

import numpy as np
import pytest

from salience_client import Client, Explanation, NotPossible, Preprocessed
from salience_service.bundle.reader import Bundle
from salience_service.interpolation import upsample
from salience_service.methods import METHODS
from salience_service.methods.options import OptionKind, describe
from tests.support.engines import client_over
from tests.support.small import small

TARGETS = [3, 7, "not:class 1", "class 2-class 5"]
SHARING = [name for name, each in METHODS.items() if not each.needs_gradient]


@pytest.fixture(scope="module")
def client(tiny_bundle: Bundle) -> Iterator[Client]:
    with client_over(tiny_bundle) as made:
        yield made


def explained(
    client: Client,
    method: str,
    targets: object,
    options: Mapping[str, str | bool] = MappingProxyType({}),
    **asked: object,
) -> Explanation:
    noise = np.random.default_rng(5).normal(size=(3, 8, 8)).astype(np.float32)
    image = Preprocessed(upsample(noise, 32, 32))
    return client.explain(
        image,
        model="softmax",
        methods=small(method, **options),
        targets=targets,
        scale="raw",
        **asked,
    )


@pytest.mark.parametrize("method", SHARING)
def test_rows_of_several_targets_run_once(client: Client, method: str) -> None:
    one, several = (explained(client, method, targets) for targets in (TARGETS[:1], TARGETS))
    assert several.finished.rows == one.finished.rows


def choices() -> Iterator[tuple[str, str, str | bool]]:
    """Every word and flag that an option of a method may have, but for its default."""
    for name in SHARING:
        for option in describe(METHODS[name].options):
            words = option.choices if option.kind is OptionKind.CHOICE else ()
            flags = (False, True) if option.kind is OptionKind.FLAG else ()
            yield from (
                (name, option.name, one) for one in (*words, *flags) if one != option.default
            )


@pytest.mark.parametrize(("method", "option", "value"), [*choices()])
def test_so_they_do_whatever_the_method_is_told(
    client: Client, method: str, option: str, value: str | bool
) -> None:
    try:
        one, several = (
            explained(client, method, targets, options={option: value})
            for targets in (TARGETS[:1], TARGETS)
        )
    except NotPossible as reason:
        pytest.skip(str(reason))
    assert several.finished.rows == one.finished.rows


@pytest.mark.parametrize("method", SHARING)
def test_a_map_has_the_same_bits_alone_and_beside_other_targets(
    client: Client, method: str
) -> None:
    several = explained(client, method, TARGETS)
    for target, together in zip(TARGETS, several.maps, strict=True):
        (alone,) = explained(client, method, [target]).maps
        np.testing.assert_array_equal(together.array, alone.array)


def test_each_map_gets_its_own_scores(client: Client) -> None:
    several = explained(client, "score-cam", TARGETS, scores=["ad", "ai", "ag"])
    for target, together in zip(TARGETS, several.maps, strict=True):
        (alone,) = explained(client, "score-cam", [target], scores=["ad", "ai", "ag"]).maps
        assert together.scores is not None
        assert alone.scores is not None
        assert together.scores.masked_probability == alone.scores.masked_probability


def test_progress_ends_at_what_was_expected(client: Client) -> None:
    noise = np.zeros((3, 32, 32), np.float32)
    from salience_client import Progress

    told = [
        event
        for event in client.stream(
            Preprocessed(noise),
            model="softmax",
            methods=["score-cam", small("grad-cam")],
            targets=TARGETS,
        )
        if isinstance(event, Progress)
    ]
    assert told[0].rows_expected == 1 + told[-1].rows_done - 1
    assert told[-1].rows_done == told[-1].rows_expected
