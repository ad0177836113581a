"""Every place where the service raises an error of ours, read as code: what its text is made of.

`test_refusals.py` provokes what can be provoked; this walks the rest, so that no text can
come to hold a nested error's words (ONNX Runtime names files and addresses), a path, a
process or an object's repr.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import salience_service
from salience_service import errors

ROOT = Path(salience_service.__file__).parent
TOLD_AT_THE_START = ("config", "bundle", "tune", "life")
"""Rooms whose refusals are told to whoever starts a server or adds a model, never to a caller."""
KINDS = {name for name, kind in vars(errors).items() if isinstance(kind, type)}
INSIDE = {"path", "directory", "file", "filename", "pid", "getpid", "self", "cls", "traceback"}
"""Names whose value, put into a text as it is, would tell of the server's inside."""
BY_THE_SYSTEM = {"strerror"}
"""What of a nested error may be told: the operating system's own short words."""

Site = tuple[str, ast.Call, frozenset[str]]


def sites() -> Iterator[Site]:
    """Each call that makes an error of ours: where, the call, and the errors caught around it."""
    for file in sorted(ROOT.rglob("*.py")):
        place = file.relative_to(ROOT)
        if place.parts[0] not in TOLD_AT_THE_START:
            yield from _made(str(place), ast.parse(file.read_text("utf-8")), frozenset())


def _made(place: str, node: ast.AST, caught: frozenset[str]) -> Iterator[Site]:
    if isinstance(node, ast.ExceptHandler) and node.name:
        caught |= {node.name}
    if isinstance(node, ast.Call) and _name(node.func) in KINDS:
        yield f"{place}:{node.lineno}", node, caught
    for child in ast.iter_child_nodes(node):
        yield from _made(place, child, caught)


def _name(function: ast.expr) -> str:
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


SITES = list(sites())


def _told(call: ast.Call) -> Iterator[ast.expr]:
    """The values that go into an error: its text, and what is told beside it."""
    for argument in (*call.args, *(keyword.value for keyword in call.keywords)):
        for node in ast.walk(argument):
            if isinstance(node, ast.FormattedValue):
                yield node.value
            elif isinstance(node, ast.Call) and _name(node.func) in ("str", "repr", "format"):
                yield from node.args
        if isinstance(argument, ast.Name | ast.Attribute | ast.Call):
            yield argument


def _tells_nested(value: ast.expr, caught: frozenset[str]) -> bool:
    if isinstance(value, ast.Attribute) and value.attr in BY_THE_SYSTEM:
        return False
    names = {node.id for node in ast.walk(value) if isinstance(node, ast.Name)}
    return bool(names & caught)


def _tells_inside(value: ast.expr) -> bool:
    """Whether a value is, itself, one of the names; what is read off it may be told."""
    if isinstance(value, ast.Attribute):
        return value.attr.strip("_") in INSIDE
    if isinstance(value, ast.Call):
        return _name(value.func) in INSIDE
    return isinstance(value, ast.Name) and value.id in INSIDE


def test_there_are_many_places_to_look_at() -> None:
    rooms = {place.split("/", maxsplit=1)[0] for place, _, _ in SITES}
    assert len(SITES) > 100
    assert {"rpc", "explanation", "methods", "image", "targets", "runtime"} <= rooms


@pytest.mark.parametrize("site", SITES, ids=[place for place, _, _ in SITES])
def test_no_text_holds_the_words_of_a_nested_error_or_anything_from_inside(site: Site) -> None:
    _, call, caught = site
    for value in _told(call):
        assert not _tells_nested(value, caught), ast.unparse(value)
        assert not _tells_inside(value), ast.unparse(value)


FAULTS = [
    "try:\n    run()\nexcept Exception as fault:\n    raise ComputeFailed(f'it said {fault}')",
    "try:\n    run()\nexcept Exception as fault:\n    raise ComputeFailed(str(fault))",
    "try:\n    run()\nexcept Exception as fault:\n    raise ComputeFailed(f'{fault.args[0]}')",
    "try:\n    run()\nexcept OSError as fault:\n    raise NotFound('no', field=fault.filename)",
    "raise BundleRefused(f'{self.path} is not there')",
    "raise errors.NotPossible(f'process {os.getpid()} cannot')",
    "raise InvalidRequest(f'{self} is wrong')",
]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_text_that_tells_of_the_inside_is_found(fault: str) -> None:
    (site,) = _made("planted", ast.parse(fault), frozenset())
    with pytest.raises(AssertionError):
        test_no_text_holds_the_words_of_a_nested_error_or_anything_from_inside(site)
