"""What an export did, in words for people and as one JSON object for programs."""

import json

from salience_export.bundle import ExportReport
from salience_export.parity import LIMIT

_MIB = 1 << 20


def as_text(report: ExportReport) -> str:
    """Lines for a terminal: taps, parity, changes, files, seconds."""
    manifest, parity = report.manifest, report.parity
    lines = [
        f"{manifest.name} {manifest.version}: {manifest.head.kind.value}, "
        f"{manifest.head.classes} classes, from {manifest.source.kind}",
        "taps:",
        *(f"  {t.name}  {t.channels}×{t.height}×{t.width}" for t in manifest.taps),
        f"parity: {parity.worst:.1e} of at most {LIMIT:.0e} (logits {parity.logits:.1e}, "
        f"taps {parity.features:.1e}, masked {parity.masked:.1e}, tails {parity.tails:.1e})",
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
            "taps": [
                {
                    "name": tap.name,
                    "channels": tap.channels,
                    "height": tap.height,
                    "width": tap.width,
                }
                for tap in manifest.taps
            ],
            "parity": {
                "worst": parity.worst,
                "logits": parity.logits,
                "features": parity.features,
                "masked": parity.masked,
                "tails": parity.tails,
            },
            "changes": list(manifest.source.changes),
            "files": [{"path": file.path, "bytes": file.size} for file in manifest.files],
            "seconds": round(report.seconds, 3),
        }
    )


def _size(count: int) -> str:
    return f"{count / _MIB:.1f} MiB" if count >= _MIB else f"{count / 1024:.1f} KiB"
