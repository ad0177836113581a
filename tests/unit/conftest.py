"""Models directories that unit tests open."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.model_versions import FakeLoad
from tests.support.opened_directory import Opened, opening


@pytest.fixture
def load() -> FakeLoad:
    """Loads at a test's word."""
    return FakeLoad()


@pytest.fixture
def opened(tmp_path: Path, load: FakeLoad) -> Iterator[Opened]:
    """Opens the directory `tmp_path`, with what the test states."""
    with opening(tmp_path, load) as open_with:
        yield open_with
