"""Writes a bundle: its files into a hidden directory, proved, then all at once under its name."""

import hashlib
import importlib.metadata
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from salience_export.contract import ModelContract
from salience_export.destination import Destination
from salience_export.errors import ExportError
from salience_export.golden import TOLERANCE, write_golden
from salience_export.graph_files import write_graphs
from salience_export.parity import Parity, measure_parity
from salience_export.precision.costs import MeasuredPrecision, costs, measure_precisions
from salience_export.report import ExportReport
from salience_export.source import SourceModel
from salience_export.trial import Trial
from salience_service.bundle.manifest import (
    BundleFile,
    Golden,
    Manifest,
    Source,
)
from salience_service.bundle.manifest_json import to_json
from salience_service.bundle.program import check_program
from salience_service.bundle.reader import open_bundle, read_golden
from salience_service.bundle.signing import sign_bundle
from salience_service.errors import BundleRefused, SalienceError

MANIFEST, GOLDEN, PROGRAM = "manifest.json", "golden.npz", "gradient.pt2"

_WRITERS = ("salience", "onnx", "onnxruntime", "numpy")
_WRITERS_OF_TORCH = (*_WRITERS, "torch", "onnxscript")


def export_bundle(
    open_source: Callable[[], SourceModel],
    contract: ModelContract,
    destination: Destination,
    key: Ed25519PrivateKey | None = None,
) -> ExportReport:
    """Writes the bundle of a source, whole or not at all.

    Args:
        open_source: opens it; called once the destination is known to be free.
        contract: what the source does not say of itself.
        destination: where the bundle goes.
        key: signs it, where one is given.

    Raises:
        ExportError: the version exists, the source cannot be exported, or the written
            graphs differ from it.
    """
    began = time.perf_counter()
    final = destination.directory
    if final.exists():
        raise ExportError(
            f"{destination.name} {destination.version} exists already; choose another version"
        )
    source = open_source()
    draft = _draft(final)
    try:
        manifest, parity, precisions = _write(draft, source, contract, destination)
        digest = _prove(draft)
        if key is not None:
            sign_bundle(draft, key)
        draft.chmod(0o755)
        _show(draft, final)
    except (SalienceError, OSError) as error:
        raise _not_written(error) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        with suppress(OSError):  # only an empty directory goes
            final.parent.rmdir()
    seconds = time.perf_counter() - began
    return ExportReport(final, manifest, digest, parity, seconds, precisions)


def _draft(final: Path) -> Path:
    """A hidden directory beside where the bundle is to be."""
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=f".{final.name}-", dir=final.parent))
    except OSError as error:
        raise _not_written(error) from error


def _not_written(error: SalienceError | OSError) -> ExportError:
    """Says what went wrong; the system's own words name a path."""
    words = (error.strerror or "") if isinstance(error, OSError) else str(error)
    return ExportError(f"the bundle cannot be written: {words}")


def _write(
    draft: Path, source: SourceModel, contract: ModelContract, destination: Destination
) -> tuple[Manifest, Parity, tuple[MeasuredPrecision, ...]]:
    """Every file of the bundle; the manifest last, since it holds the others' digests."""
    head = contract.head(source.output, source.classes)
    written = write_graphs(draft, source)
    trial = Trial(draft, written.taps, written.graphs)
    parity = measure_parity(trial, source, contract.input)
    write_golden(draft / GOLDEN, trial, contract.input)
    precisions = measure_precisions(draft, written.graphs, trial, contract.input)
    if source.torch_program is not None:
        (draft / PROGRAM).write_bytes(source.torch_program)
    manifest = Manifest(
        name=destination.name,
        version=destination.version,
        input=contract.input,
        head=head,
        taps=written.taps,
        graphs=written.graphs,
        files=_files(draft),
        golden=Golden(GOLDEN, TOLERANCE),
        source=Source(source.kind, source.digest, parity.worst, source.changes + written.changes),
        torch_program=PROGRAM if source.torch_program is not None else "",
        written_by=_written_by(source.kind),
        precisions=costs(precisions),
    )
    (draft / MANIFEST).write_text(to_json(manifest), encoding="utf-8")
    return manifest, parity, precisions


def _files(draft: Path) -> tuple[BundleFile, ...]:
    return tuple(
        BundleFile(path.name, hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_size)
        for path in sorted(draft.iterdir())
    )


def _written_by(kind: str) -> Mapping[str, str]:
    """Versions of the packages that had a part in it; torch only where it had one."""
    writers = _WRITERS_OF_TORCH if kind == "torch" else _WRITERS
    return {name: importlib.metadata.version(name) for name in writers}


def _prove(draft: Path) -> str:
    """Opens the bundle as the service will; returns its digest."""
    try:
        bundle = open_bundle(draft)
        read_golden(bundle)
        if bundle.manifest.torch_program:
            check_program(bundle.path(bundle.manifest.torch_program))
    except BundleRefused as error:
        raise ExportError(f"the service would refuse this bundle: {error}") from error
    return bundle.digest


def _show(draft: Path, final: Path) -> None:
    """Gives the finished directory its name; another export may have taken it meanwhile."""
    try:
        draft.rename(final)
    except OSError as error:
        raise ExportError("this version was written by someone else; choose another") from error
