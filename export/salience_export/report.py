"""What an export did: as a value, in words for people, as one JSON object for programs."""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

from salience_export.gradient_parity import LIMIT as GRADIENT_LIMIT
from salience_export.parity import LIMIT, Parity
from salience_export.precision.costs import MeasuredPrecision
from salience_service.bundle.manifest import Manifest

_MIB = 1 << 20
_TAP_KEYS = ("name", "channels", "height", "width")


@dataclass(frozen=True)
class ExportReport:
    """What an export did.

    Attributes:
        directory: the bundle.
        manifest: what it says of itself.
        digest: SHA-256 of its manifest in hex.
        parity: how far its graphs are from the source.
        seconds: how long it took, tracing included.
        precisions: what those below float32 cost.
    """

    directory: Path
    manifest: Manifest
    digest: str
    parity: Parity
    seconds: float
    precisions: tuple[MeasuredPrecision, ...] = ()


def as_text(report: ExportReport) -> str:
    """Lines for a terminal: taps, parity, gradients, precisions, changes, files, seconds."""
    manifest, parity = report.manifest, report.parity
    lines = [
        f"{manifest.name} {manifest.version}: {manifest.head.kind.value}, "
        f"{manifest.head.classes} classes, from {manifest.source.kind}",
        "taps:",
        *(f"  {t.name}  {t.channels}×{t.height}×{t.width}" for t in manifest.taps),
        f"parity: {parity.worst:.1e} of at most {LIMIT:.0e} ({parity})",
        f"gradients: {_gradient(parity)}",
        *(f"{each.precision}: {_cost(each)}" for each in report.precisions),
        *(f"changed: {change}" for change in manifest.source.changes),
        "files:",
        *(f"  {file.path}  {_size(file.size)}" for file in manifest.files),
        f"written to {report.directory} in {report.seconds:.1f} s",
    ]
    return "\n".join(lines)


def as_json(report: ExportReport) -> str:
    """One JSON object; sizes in bytes, parity relative to the largest expected value."""
    manifest, parity = report.manifest, report.parity
    return json.dumps(
        {
            "model": manifest.name,
            "version": manifest.version,
            "digest": report.digest,
            "directory": str(report.directory),
            "source": manifest.source.kind,
            "output": manifest.head.kind.value,
            "classes": manifest.head.classes,
            "taps": [{key: getattr(tap, key) for key in _TAP_KEYS} for tap in manifest.taps],
            "parity": {"worst": parity.worst, **asdict(parity)},
            "precisions": [_cost_as_json(each) for each in report.precisions],
            "changes": list(manifest.source.changes),
            "files": [{"path": file.path, "bytes": file.size} for file in manifest.files],
            "seconds": round(report.seconds, 3),
        }
    )


def _gradient(parity: Parity) -> str:
    if parity.gradient is None:
        return "none"
    return f"{parity.gradient:.1e} of at most {GRADIENT_LIMIT:.0e}, by norms"


def _cost(measured: MeasuredPrecision) -> str:
    if math.isinf(measured.parity):
        return "the model does not bear it"
    cost = f"moves numbers by up to {measured.parity:.1e}, and the golden example by"
    drift = f"{cost} {measured.golden:.1e}"
    return drift if measured.offered else f"{drift}: too much to be told from a wrong graph"


def _cost_as_json(measured: MeasuredPrecision) -> dict[str, object]:
    """Numbers that JSON has: none where the model does not bear the precision."""
    known = {"parity": measured.parity, "golden": measured.golden}
    finite = {key: value if math.isfinite(value) else None for key, value in known.items()}
    return {"precision": measured.precision, "offered": measured.offered, **finite}


def _size(count: int) -> str:
    return f"{count / _MIB:.1f} MiB" if count >= _MIB else f"{count / 1024:.1f} KiB"
