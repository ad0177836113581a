"""Finds records in a trail: of an image, by the key alone, for it holds none; and of actions."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from salience_service.audit.files import file_numbers, file_path, lines_of
from salience_service.audit.keys import AuditKeys
from salience_service.audit.line import Kind, Line
from salience_service.audit.record import image_digest
from salience_service.errors import ConfigRefused
from salience_service.request import DicomImage, EncodedImage

_ADMIN = "/salience.v1.AdminService/"


def records_of(directory: Path, keys: AuditKeys, image: bytes) -> Iterator[Mapping[str, Any]]:
    """Every genuine record of an explanation of an image file: of its end, or its beginning.

    The beginnings come last: of those explanations of which no end is recorded, for they run, or
    the server was killed.

    Args:
        directory: of the trail.
        keys: its keys.
        image: bytes of the file, as they were sent.

    Raises:
        ConfigRefused: the directory cannot be read.
    """
    wanted = {image_digest(keys, kind(image)) for kind in (EncodedImage, DicomImage)}
    begun: dict[int, Mapping[str, Any]] = {}
    for line in _standing(directory, keys, lambda line: line.fields.get("image") in wanted):
        if line.kind == Kind.BEGAN:
            begun[line.number] = line.fields
        elif line.kind == Kind.ENDED:
            begun.pop(line.fields["began"] or 0, None)
            yield line.fields
    yield from begun.values()


def actions_of(directory: Path, keys: AuditKeys) -> Iterator[Mapping[str, Any]]:
    """Every genuine record of the administration: each beginning, outcome and call turned away.

    Args:
        directory: of the trail.
        keys: its keys.

    Raises:
        ConfigRefused: the directory cannot be read.
    """
    return (line.fields for line in _standing(directory, keys, _is_administration))


def _is_administration(line: Line) -> bool:
    if line.kind == Kind.TURNED_AWAY:
        return str(line.fields.get("rpc", "")).startswith(_ADMIN)
    return line.kind in (Kind.ACTION_BEGAN, Kind.ACTION_ENDED)


def _standing(
    directory: Path, keys: AuditKeys, is_wanted: Callable[[Line], bool]
) -> Iterator[Line]:
    """The genuine lines that are wanted, but those that a later line withdraws."""
    found, withdrawn = list[Line](), set[int]()
    for line in _genuine(directory, keys):
        withdrawn.update(line.fields.get("withdrawn", ()))
        if is_wanted(line):
            found.append(line)
    return (line for line in found if line.number not in withdrawn)


def _genuine(directory: Path, keys: AuditKeys) -> Iterator[Line]:
    try:
        for number in file_numbers(directory):
            with suppress(FileNotFoundError):  # The server deleted it meanwhile.
                for line in lines_of(file_path(directory, number), keys.chain):
                    if isinstance(line, Line) and line.genuine:
                        yield line
    except OSError as fault:
        raise ConfigRefused(f"the audit directory cannot be read: {fault.strerror}") from fault
