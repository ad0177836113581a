"""The guard of a bundle's torch program: what torch's loader would run is refused unread.

`torch.export.load` trusts its file. It unpickles sample inputs, tensors marked
`use_pickle`, custom and opaque constants and two older layouts; it loads compiled
libraries; and `program_graph.py` lists what it does with text. So the archive is read
here with the standard library alone, held against a list of what may be in it, and
written anew from what was checked: torch never sees the file itself, nor an entry that
another zip reader would find in it.
"""

import io
import json
import pickletools
import re
import zipfile
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from salience_service.bundle.archive import NOT_UNPACKABLE, is_stored
from salience_service.bundle.program_graph import checked_graph, checked_payloads
from salience_service.errors import BundleRefused
from salience_service.nesting import not_deep

MAX_ENTRIES = 20_000
MAX_JSON_BYTES = 64 << 20
MAX_NOTE_BYTES = 64
MODEL = "models/model.json"
WEIGHTS, CONSTANTS = "data/weights/", "data/constants/"
WEIGHTS_CONFIG = f"{WEIGHTS}model_weights_config.json"
CONSTANTS_CONFIG = f"{CONSTANTS}model_constants_config.json"
SAMPLE_INPUTS = "data/sample_inputs/model.pt"
_NOTES = ("archive_format", "archive_version", "byteorder", ".data/version")
_SERIAL = ".data/serialization_id"
_JSON = (MODEL, WEIGHTS_CONFIG, CONSTANTS_CONFIG)
_ROOT = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")
_TENSOR = re.compile(r"data/(weights/weight|constants/tensor)_[0-9]{1,6}")
_ENDLESS_PICKLE = 10_000
_Entries = Mapping[str, bytes]


def check_program(path: Path) -> None:
    """Refuses a torch program that holds anything but a plain graph and raw weights.

    Raises:
        BundleRefused: what was found; nothing of the file was loaded or run.
    """
    read_program(path)


def read_program(path: Path) -> bytes:
    """The checked program as an archive for `torch.export.load`, written anew.

    Raises:
        BundleRefused: as `check_program`.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = _read(archive, path.stat().st_size)
    except NOT_UNPACKABLE as fault:
        raise _refusal("it is not a zip archive") from fault
    sizes = {name: len(data) for name, data in entries.items() if _TENSOR.fullmatch(name)}
    checked = dict(entries)
    checked[MODEL] = _dump(checked_graph(_load(entries, MODEL)))
    for config, folder in ((WEIGHTS_CONFIG, WEIGHTS), (CONSTANTS_CONFIG, CONSTANTS)):
        checked[config] = _dump(checked_payloads(_load(entries, config), folder, sizes))
    return _archive(checked)


def _read(archive: zipfile.ZipFile, file_size: int) -> dict[str, bytes]:
    """Every entry by its name under the root, once its size and name were found harmless."""
    infos = archive.infolist()
    if len(infos) > MAX_ENTRIES:
        raise _refusal(f"it has {len(infos)} entries; at most {MAX_ENTRIES} are read")
    # Stored entries cannot unpack to more than the file, unless they overlap.
    if sum(info.file_size for info in infos) > file_size:
        raise _refusal("its entries claim more bytes than the file has")
    names = _names(infos)
    entries = {}
    for name, info in names.items():
        _check_entry(name, info)
        entries[name] = archive.read(info)
        _check_content(name, entries[name])
    for needed in (*_NOTES[:2], *_JSON):
        if needed not in entries:
            raise _refusal(f"it lacks {needed!r}")
    return entries


def _names(infos: list[zipfile.ZipInfo]) -> dict[str, zipfile.ZipInfo]:
    roots = {info.orig_filename.partition("/")[0] for info in infos}
    if len(roots) != 1 or not _ROOT.fullmatch(roots.pop()):
        raise _refusal("its entries do not lie in one plain folder")
    names: dict[str, zipfile.ZipInfo] = {}
    for info in infos:
        name = info.orig_filename.partition("/")[2]
        if name in names:
            raise _refusal(f"{name[:80]!r} is in it twice")
        names[name] = info
    return names


def _check_entry(name: str, info: zipfile.ZipInfo) -> None:
    known = (*_NOTES, _SERIAL, SAMPLE_INPUTS, *_JSON)
    if name not in known and not _TENSOR.fullmatch(name):
        raise _refusal(f"it holds {name[:80]!r}, which a plain program has not")
    if not is_stored(info):
        raise _refusal(f"{name!r} is compressed; torch writes entries as they are")
    limit = MAX_JSON_BYTES if name in _JSON else MAX_NOTE_BYTES
    if not _TENSOR.fullmatch(name) and name != SAMPLE_INPUTS and info.file_size > limit:
        raise _refusal(f"{name!r} has {info.file_size} bytes; at most {limit} are read")
    if name == SAMPLE_INPUTS and info.file_size:
        raise _refusal("it holds sample inputs, a pickle: export the model again without them")


def _check_content(name: str, data: bytes) -> None:
    if name == "archive_format" and data != b"pt2":
        raise _refusal(f"its format is {data!r}, not 'pt2'")
    if name in (*_NOTES, _SERIAL) and not re.fullmatch(rb"[0-9a-z]*\n?", data):
        raise _refusal(f"{name!r} is not a plain word")
    if _TENSOR.fullmatch(name) and (data.startswith(b"PK\x03\x04") or _is_pickle(data)):
        raise _refusal(f"{name!r} is a pickle where raw numbers belong")


def _is_pickle(data: bytes) -> bool:
    """Whether the bytes are one whole pickle of any protocol; parsed, never run.

    Raw weights begin by chance like a pickle once in ten thousand, so the first bytes
    prove nothing; nothing but a pickle parses to its very end.
    """
    stream = io.BytesIO(data)
    try:
        steps = sum(1 for _ in islice(pickletools.genops(stream), _ENDLESS_PICKLE))
    except Exception:  # pickletools raises what its readers meet, of many kinds
        return False
    return steps == _ENDLESS_PICKLE or stream.tell() == len(data)


def _load(entries: _Entries, name: str) -> Any:
    try:
        return json.loads(not_deep(entries[name]))
    except ValueError as fault:
        raise _refusal(f"{name!r} is not JSON") from fault


def _dump(tree: Any) -> bytes:
    return json.dumps(tree).encode()


def _archive(entries: _Entries) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in {**entries, SAMPLE_INPUTS: b""}.items():
            archive.writestr(zipfile.ZipInfo(f"program/{name}"), data)
    return buffer.getvalue()


def _refusal(found: str) -> BundleRefused:
    return BundleRefused(f"the torch program is refused before it is loaded: {found}")
