"""`python -m tests.soak`: soaks a server and tells; ends with 1 where a fault was found."""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from salience_export import Destination, ModelContract, export_torch
from salience_service.bundle.manifest import OutputKind
from tests.soak.soak import CALLERS, soaked
from tests.soak.truths import MODEL
from tests.support.contracts import image_contract
from tests.support.networks import residual_net


def main(minutes: Annotated[float, typer.Option(min=0.1)] = 30) -> None:
    """Soaks a server of a small residual net."""
    with TemporaryDirectory() as directory:
        found = soaked(_exported(Path(directory)), 60 * minutes)
    outcomes = ", ".join(f"{name} {count:,}" for name, count in found.findings.outcomes.items())
    print(
        f"{CALLERS} callers, {minutes:g} minutes: {outcomes}; memory grew by "
        f"{found.grown / 2**20:.1f} MiB to {found.resident[-1] / 2**20:.0f} MiB; "
        f"{len(found.findings.faults)} faults"
    )
    for fault in found.findings.faults[:20]:
        print(" ", fault[:300])
    sys.exit(bool(found.findings.faults))


def _exported(models: Path) -> Path:
    contract = ModelContract(image_contract(), OutputKind.SOFTMAX)
    export_torch(residual_net(), contract, Destination(models, MODEL))
    return models


if __name__ == "__main__":
    typer.run(main)
