"""The tune file of a bundle: `VERSION.tune.json` beside the directory `VERSION`, not in it.

A bundle is digested as a whole; what was measured on one machine is no part of it. The file
names the bundle it is for, so that a bundle exported anew never runs at sizes that were
measured for another, and holds what was chosen alone: two runs of the tuner that choose
alike write the same bytes, and so the same digest.
"""

import hashlib
import logging
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from salience_service.bundle.manifest import TUNE_FILE_SUFFIX
from salience_service.bundle.reader import Bundle
from salience_service.config import ServeConfig
from salience_service.config.serve import MOST_CALLS
from salience_service.errors import BundleRefused
from salience_service.host_threads import usable_cores
from salience_service.models.tuning import LARGEST_BATCH, MOST_THREADS, UNTUNED, Tuning
from salience_service.runtime.device import Device
from salience_service.runtime.gpu import gpu_name

MAX_BYTES = 64 * 1024
"""A file with sizes for a hundred taps takes 5 KiB."""
MOST_ENTRIES = 1024
_REMEDY = "tune again (`salience bench --tune`) or delete it"
_log = logging.getLogger(__name__)

_Rows = Annotated[int, Field(ge=1, le=LARGEST_BATCH)]
_Shape = Annotated[str, Field(pattern=r"^[1-9][0-9]{0,4}x[1-9][0-9]{0,4}$")]


class TuneFile(BaseModel):
    """What the file holds. Valid once constructed."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True
    )

    schema_version: Literal[2]
    bundle_digest: str = Field(pattern=r"^[0-9a-f]{64}$")
    """SHA-256 of the manifest of the bundle that was measured."""
    provider: str
    """What it was measured on: "cpu", "cuda" or "tensorrt"."""
    precision: str
    """Of the numbers there: "float32", "tf32" or "float16"."""
    calls: int = Field(ge=1, le=MOST_CALLS)
    """Calls in flight there."""
    gpu: str = Field("", max_length=256)
    """The first GPU's name there; empty on a CPU."""
    threads: int = Field(ge=0, le=MOST_THREADS)
    """CPU threads of a run of rows; 0 = left to the runtime."""
    masked: dict[_Shape, _Rows] = Field(default_factory=dict, max_length=MOST_ENTRIES)
    """Rows of a call, by height and width of maps: "7x7"."""
    pixel_masked: _Rows | None = None
    """Rows of a call."""
    tails: dict[str, _Rows] = Field(default_factory=dict, max_length=MOST_ENTRIES)
    """Rows of a call, by tap."""

    def tuning(self, digest: str) -> Tuning:
        """The value; `digest` is the file's own."""
        masked = {_sizes_of(shape): rows for shape, rows in self.masked.items()}
        return Tuning(self.threads, masked, self.pixel_masked or 0, self.tails, digest)


def tune_path(bundle: Bundle) -> Path:
    """Where the tune file of a bundle lies, or would."""
    return bundle.directory.with_name(bundle.directory.name + TUNE_FILE_SUFFIX)


def tuning_for(bundle: Bundle, config: ServeConfig) -> Tuning:
    """The tuning that a server runs a bundle by.

    A batch size or threads in the configuration go before the file as a whole, which is then
    not read: a tuning digest in a map's provenance always tells all sizes and the threads.

    Raises:
        BundleRefused: see `read_tuning`.
    """
    if not (config.batch_size or config.threads):
        return read_tuning(bundle, config.device)
    if os.path.lexists(tune_path(bundle)):
        _log.info("%s is not used: batch_size or threads are configured", _name(bundle))
    return UNTUNED


def read_tuning(bundle: Bundle, device: Device, gpu: Callable[[int], str] = gpu_name) -> Tuning:
    """The tuning of a bundle on a device; an empty one where there is no file for it.

    A file for another provider, precision, number of calls in flight or kind of GPU is passed
    over, and the log says so.

    Args:
        bundle: whose.
        device: that it will run on.
        gpu: names the GPU of a number.

    Raises:
        ComputeFailed: the GPU cannot be asked.
        BundleRefused: the file cannot be read, is not what a tune file is, or is for another
            bundle: going on without it would change the bits of maps in silence.
    """
    if not os.path.lexists(tune_path(bundle)):
        return UNTUNED
    try:
        text = _text(tune_path(bundle))
        file = _parsed(text)
        _check_fits(file, bundle)
    except BundleRefused as fault:
        raise BundleRefused(f"{_name(bundle)} {fault}: {_REMEDY}") from fault
    wanted = _words(device.provider, device.precision, device.calls, _gpu(device, gpu))
    found = _words(file.provider, file.precision, file.calls, file.gpu)
    if wanted != found:
        _log.warning("%s is for %s, not %s: it is not used", _name(bundle), found, wanted)
        return UNTUNED
    if file.threads > (cores := usable_cores()):
        _log.warning(
            "%s has %d threads for %d cores: tune here", _name(bundle), file.threads, cores
        )
    return file.tuning(hashlib.sha256(text).hexdigest())


def write_tuning(
    bundle: Bundle, tuning: Tuning, device: Device, gpu: Callable[[int], str] = gpu_name
) -> Path:
    """Writes the tune file of a bundle, whole or not at all; returns where it lies."""
    file = TuneFile(
        schema_version=2,
        bundle_digest=bundle.digest,
        provider=device.provider,
        precision=device.precision,
        calls=device.calls,
        gpu=_gpu(device, gpu),
        threads=tuning.threads,
        masked={"x".join(map(str, each)): tuning.masked[each] for each in sorted(tuning.masked)},
        pixel_masked=tuning.pixel_masked or None,
        tails=dict(sorted(tuning.tails.items())),
    )
    path = tune_path(bundle)
    # Entries of a models directory whose names begin with a dot are passed over.
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        unfinished.write_text(file.model_dump_json(indent=2) + "\n", "utf-8")
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    return path


def _name(bundle: Bundle) -> str:
    return f"the tune file of {bundle.manifest.name} {bundle.manifest.version}"


def _gpu(device: Device, name: Callable[[int], str]) -> str:
    return "" if device.provider == "cpu" else name(device.numbers[0])


def _words(provider: str, precision: str, calls: int, gpu: str) -> str:
    where = f"{provider} on {gpu}" if gpu else provider
    return f"{where} in {precision} with {calls} calls in flight"


def _text(path: Path) -> bytes:
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            raise BundleRefused("is a link, a directory or a device, not a plain file")
        with path.open("rb") as stream:
            text = stream.read(MAX_BYTES + 1)
    except OSError as fault:
        raise BundleRefused(f"cannot be read ({fault.strerror})") from fault
    if len(text) > MAX_BYTES:
        raise BundleRefused(f"has more than {MAX_BYTES} bytes")
    return text


def _parsed(text: bytes) -> TuneFile:
    try:
        return TuneFile.model_validate_json(text)
    except ValidationError as fault:
        faults = "; ".join(map(_in_words, fault.errors(include_url=False)[:3]))
        raise BundleRefused(f"is not as it should be ({faults})") from fault


def _in_words(fault: object) -> str:
    """One of pydantic's faults, with the key and the value, both cut short."""
    assert isinstance(fault, dict)
    key = ".".join(map(str, fault["loc"]))[:80]
    return f"{key} = {str(fault['input'])[:40]}: {fault['msg']}" if key else str(fault["msg"])


def _check_fits(file: TuneFile, bundle: Bundle) -> None:
    """The file must be for this very bundle."""
    if file.bundle_digest != bundle.digest:
        raise BundleRefused(
            f"is for the bundle {file.bundle_digest[:12]}, not for {bundle.digest[:12]}"
        )
    for tap in file.tails:
        if bundle.manifest.tap(tap) is None:
            raise BundleRefused(f"names tap {tap[:80]!r}, which the bundle has not")


def _sizes_of(shape: str) -> tuple[int, ...]:
    return tuple(int(size) for size in shape.split("x"))
