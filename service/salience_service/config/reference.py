"""The reference of every key, as Markdown, made of the sections themselves: it cannot be wrong."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from salience_service.config.serve import ServeConfig

Schema = Mapping[str, Any]
"""A JSON schema, or a part of one."""

_HEAD = """\
# Configuration

One TOML file: `salience serve models/ --config serve.toml`. Every key has a default unless it is
said to be required, and a key that is not here is refused. `salience serve models/ --config
serve.toml --check` reads the file and what it names, opens every bundle, says what would be
served, and binds no port.

Words of the command line go over the file. Secrets (keys, tokens) lie in files that the
configuration names, never in it. Sizes are in bytes, times in seconds.

This page is generated: `make config-docs` writes it again.
"""
_LIMITS = {
    "minimum": "at least {}",
    "exclusiveMinimum": "more than {}",
    "maximum": "at most {}",
    "minItems": "at least {} of them",
    "maxItems": "at most {} of them",
    "maxProperties": "at most {} of them",
    "minLength": "of {} characters or more",
    "maxLength": "at most {} characters",
    "pattern": "matching `{}`",
}
_TYPES = {"boolean": "true or false", "integer": "integer", "number": "number", "string": "text"}


def reference() -> str:
    """The page `docs/configuration.md`."""
    whole = ServeConfig.model_json_schema()
    sections = "\n".join(_section("", whole, whole["$defs"], _HEAD + "\n## At the top\n"))
    return sections.rstrip() + "\n"


def _section(path: str, section: Schema, known: Schema, head: str) -> Iterator[str]:
    """Its keys as a table, then the sections inside it."""
    inner = dict[str, tuple[Schema, str, str]]()
    rows = list[str]()
    for name, field in section["properties"].items():
        if found := _inner(field, known):
            inner[name] = (*found, field.get("description", ""))
        else:
            rows.append(_row(name, field, section, known))
    yield head
    if rows:
        yield "| key | is | default | |\n|---|---|---|---|\n" + "\n".join(rows) + "\n"
    for name, (schema, brackets, said) in inner.items():
        table = f"{path}{name}"
        title = f"## `{brackets.format(table)}`\n"
        words = f"{_flat(said)}\n\n{_paragraphs(schema.get('description', ''))}\n"
        yield from _section(f"{table}.", schema, known, f"{title}\n{words}")


def _row(name: str, field: Schema, section: Schema, known: Schema) -> str:
    default = (
        "required"
        if name in section.get("required", ())
        else f"`{literal(field.get('default', {}))}`"
    )
    cells = (f"`{name}`", _kind(field, known), default, _flat(field["description"]))
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _inner(field: Schema, known: Schema) -> tuple[Schema, str] | None:
    """The section that a key holds, and how its table is written."""
    for option in _options(field):
        if schema := _referred(option, known):
            return schema, "[{}]"
        if schema := _referred(option.get("items", {}), known):
            return schema, "[[{}]]"
    return None


def _referred(field: Schema, known: Schema) -> Schema | None:
    schema = known.get(str(field.get("$ref", "")).rpartition("/")[2])
    return schema if schema and "properties" in schema else None


def _options(field: Schema) -> list[Schema]:
    """What a value may be, without "nothing"."""
    return [each for each in field.get("anyOf", [field]) if each.get("type") != "null"]


def _kind(field: Schema, known: Schema) -> str:
    """Type and limits of a value, in words."""
    if "anyOf" in field:
        return ", or ".join(_kind(option, known) for option in _options(field))
    if "$ref" in field:
        return _kind(known[field["$ref"].rpartition("/")[2]], known)
    words = [_noun(field, known)]
    if "minimum" in field and "maximum" in field:
        words += [f"{_plain(field['minimum'])} to {_plain(field['maximum'])}"]
        field = {key: field[key] for key in field if key not in ("minimum", "maximum")}
    words += [text.format(_plain(field[key])) for key, text in _LIMITS.items() if key in field]
    return ", ".join(words)


def _noun(field: Schema, known: Schema) -> str:
    if "enum" in field or "const" in field:
        return " or ".join(f"`{literal(each)}`" for each in field.get("enum", [field.get("const")]))
    if field["type"] == "array":
        return f"list of ({_kind(field['items'], known)})"
    if field["type"] == "object":
        return f"table of ({_kind(field['additionalProperties'], known)})"
    return _TYPES[field["type"]]


def literal(value: object) -> str:
    """A value as TOML has it."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return json.dumps(value, ensure_ascii=False)
    return _plain(value)


def _plain(value: object) -> str:
    """Numbers of many digits in groups, as TOML may have them."""
    return f"{value:_}" if isinstance(value, int) else f"{value}"


def _flat(text: str) -> str:
    return " ".join(text.split())


def _paragraphs(text: str) -> str:
    return "\n\n".join(map(_flat, text.split("\n\n")))
