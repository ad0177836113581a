"""Models directories that are opened with a fake loader, looked at, and asked what serves."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from salience_service.directory.models_directory import ModelsDirectory
from salience_service.models.repository import ModelRepository
from salience_service.models.versions import State
from tests.support.model_versions import FakeLoad, config_of

Opened = Callable[..., tuple[ModelsDirectory, ModelRepository]]
"""Opens a directory, with keys of `[repository]` as given."""


@contextmanager
def opening(models: Path, load: FakeLoad) -> Iterator[Opened]:
    """What opens that directory; all that it opened is closed at the end of the block."""
    directories = []

    def open_with(**settings: object) -> tuple[ModelsDirectory, ModelRepository]:
        config = config_of(**settings)
        repository = ModelRepository(pins=config.repository.answers)
        directory = ModelsDirectory(models, config, repository, load)
        directories.append(directory)
        directory.open()
        return directory, repository

    yield open_with
    for directory in directories:
        directory.close()


def served(repository: ModelRepository) -> list[str]:
    """NAME/VERSION of what serves."""
    return [f"{model.name}/{model.version}" for model in repository.models()]


def settle(directory: ModelsDirectory) -> None:
    """Two looks: what was copied between the first and this is left alone by the first."""
    directory.look()
    directory.look()


def state_of(directory: ModelsDirectory, version: str) -> tuple[State, str]:
    """State and reason of the one version of that name."""
    (found,) = [each for each in directory.versions() if each.name.version == version]
    return found.state, found.reason


def state_of_all(directory: ModelsDirectory) -> dict[str, State]:
    """State by NAME/VERSION."""
    return {f"{each.name.model}/{each.name.version}": each.state for each in directory.versions()}
