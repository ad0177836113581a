"""Servers that integration tests share, each kept while a file's tests run."""

from collections.abc import Iterator

import grpc
import pytest

from tests.support.principals import Place, guarded_ports


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Ports that know principals of every right; a file's tests are strangers and callers there."""
    with guarded_ports(tmp_path_factory.mktemp("access")) as made:
        yield made


@pytest.fixture
def channels(place: Place) -> Iterator[list[grpc.Channel]]:
    """A channel to each of its ports."""
    with place.channels() as made:
        yield made
