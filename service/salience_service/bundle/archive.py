"""Zip archives of stored entries: which those are, and what is raised of damaged archives."""

import zipfile

NOT_UNPACKABLE = (zipfile.BadZipFile, OSError, RuntimeError, ValueError, EOFError)
"""What the standard library raises of them. RuntimeError: encrypted. EOFError: cut short."""


def is_stored(entry: zipfile.ZipInfo) -> bool:
    """Whether it is not compressed: decompressors raise what they like, and take what they like."""
    return entry.compress_type == zipfile.ZIP_STORED and entry.compress_size == entry.file_size
