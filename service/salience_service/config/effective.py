"""The configuration in effect, a line a key: from the file, the command line, the defaults."""

from collections.abc import Iterator, Mapping

from salience_service.config.reference import literal
from salience_service.config.serve import ServeConfig


def effective(config: ServeConfig) -> Iterator[str]:
    """Lines "table.key = value"; tables left out are told as such.

    No secret is among them: those lie in files, of which only the names are here.
    """
    yield from _lines("", config.model_dump(mode="json"))


def _lines(path: str, value: object) -> Iterator[str]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _lines(f"{path}.{key}" if path else key, inner)
    elif isinstance(value, list) and any(isinstance(each, Mapping) for each in value):
        for number, inner in enumerate(value):
            yield from _lines(f"{path}[{number}]", inner)
    elif value is None:
        yield f"# {path}: left out"
    else:
        yield f"{path} = {literal(value)}"
