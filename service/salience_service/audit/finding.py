"""Finds the records of an image in a trail, by the key alone: the trail holds no image."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeGuard

from salience_service.audit.files import Unreadable, file_numbers, file_path, lines_of
from salience_service.audit.keys import AuditKeys
from salience_service.audit.line import Kind, Line
from salience_service.audit.record import image_digest
from salience_service.errors import ConfigRefused
from salience_service.request import DicomImage, EncodedImage


def records_of(directory: Path, keys: AuditKeys, image: bytes) -> Iterator[Mapping[str, Any]]:
    """Every genuine record of an explanation of an image file that has ended.

    Args:
        directory: of the trail.
        keys: its keys.
        image: bytes of the file, as they were sent.

    Raises:
        ConfigRefused: the directory cannot be read.
    """
    wanted = {image_digest(keys, kind(image)) for kind in (EncodedImage, DicomImage)}
    try:
        for number in file_numbers(directory):
            for line in lines_of(file_path(directory, number), keys.chain):
                if _has_ended(line) and line.fields["image"] in wanted:
                    yield line.fields
    except OSError as fault:
        raise ConfigRefused(f"the audit directory cannot be read: {fault.strerror}") from fault


def _has_ended(line: Line | Unreadable) -> TypeGuard[Line]:
    return isinstance(line, Line) and line.genuine and line.kind == Kind.ENDED
