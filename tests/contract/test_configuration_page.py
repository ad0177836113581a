"""docs/configuration.md says what the sections say, and every key says something."""

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from salience_service.config import ServeConfig, read_config
from salience_service.config.reference import literal, reference
from salience_service.config.section import Section

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "configuration.md"


def sections(section: type[Section] = ServeConfig) -> Iterator[type[Section]]:
    """A section and all that lie inside it."""
    yield section
    for field in section.model_fields.values():
        for inner in _sections_in(field.annotation):
            yield from sections(inner)


def _sections_in(annotation: object) -> Iterator[type[Section]]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        yield annotation
    for part in get_args(annotation):
        yield from _sections_in(part)


def test_the_page_is_the_one_that_the_sections_make() -> None:
    assert PAGE.read_text("utf-8") == reference(), "run `make config-docs`"


def test_every_section_and_every_key_is_documented() -> None:
    undocumented = [
        f"{section.__name__}.{name}"
        for section in sections()
        for name, key in section.model_fields.items()
        if not key.description
    ]
    assert not undocumented
    assert not [section.__name__ for section in sections() if not section.__doc__]


def test_every_key_of_every_section_is_on_the_page() -> None:
    page = reference()
    for section in sections():
        for name in section.model_fields:
            assert f"| `{name}` |" in page or f"{name}]`" in page, (section.__name__, name)


@pytest.mark.parametrize("value", [True, 12, 65_536, 0.25, 'a "b" ü', ["x", "y"], [0], []])
def test_defaults_are_written_as_toml_has_them(value: object) -> None:
    assert tomllib.loads(f"key = {literal(value)}") == {"key": value}


@pytest.mark.parametrize(
    "path", sorted((ROOT / "deploy").glob("*.toml")), ids=lambda each: each.name
)
def test_every_configuration_in_deploy_is_taken(path: Path) -> None:
    assert read_config(path).address
