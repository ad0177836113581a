"""Zip archives that open and cannot be unpacked."""

import io
import zipfile


def encrypted(archive: bytes) -> bytes:
    """The archive, whose first entry now says that it needs a password."""
    data = bytearray(archive)
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + flags] |= 1
    return bytes(data)


def badly_deflated(archive: bytes) -> bytes:
    """Its entries compressed; what the last holds makes no sense."""
    return _badly_compressed(archive, zipfile.ZIP_DEFLATED, 0)


def bad_lzma(archive: bytes) -> bytes:
    """The same of LZMA, which begins with nine bytes of settings."""
    return _badly_compressed(archive, zipfile.ZIP_LZMA, 9)


def _badly_compressed(archive: bytes, kind: int, whole: int) -> bytes:
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(archive)) as plain,
        zipfile.ZipFile(buffer, "w", kind) as compressed,
    ):
        for name in plain.namelist():
            compressed.writestr(name, plain.read(name))
        last = compressed.infolist()[-1]
    data = bytearray(buffer.getvalue())
    at = last.header_offset + 30 + len(last.filename)  # the header has no extra field
    data[at + whole : at + last.compress_size] = b"\xff" * (last.compress_size - whole)
    return bytes(data)


BREAKERS = {"encrypted": encrypted, "badly deflated": badly_deflated, "bad LZMA": bad_lzma}
"""Ways to break an archive, by what is wrong with it."""
