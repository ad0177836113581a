"""`python -m tests.fuzz`: fuzzes subjects and tells; ends with 1 where a fault was found."""

import sys
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from tests.fuzz.guided import guided
from tests.fuzz.record import Record, recorded
from tests.fuzz.subjects import subjects


def main(
    names: Annotated[list[str] | None, typer.Argument(metavar="[SUBJECT]…")] = None,
    inputs: Annotated[int, typer.Option(help="Of each subject.")] = 2_000,
    seed: int = 0,
    by_coverage: Annotated[
        bool, typer.Option("--guided", help="One subject, by coverage, with atheris.")
    ] = False,
) -> None:
    """Fuzzes subjects; all where none is named."""
    warnings.simplefilter("ignore")  # Pillow's, of files that are not right.
    found = []
    with TemporaryDirectory() as directory, subjects(Path(directory)) as known:
        for name in names or known:
            if name not in known:
                raise typer.BadParameter(f"no subject {name!r}: known are {', '.join(known)}")
            if by_coverage:
                guided(known[name], inputs, seed, _tell)
            found.append(recorded(known[name], inputs, seed))
            _tell(found[-1])
    sys.exit(any(record.faults for record in found))


def _tell(record: Record) -> None:
    outcomes = ", ".join(f"{name} {count}" for name, count in record.outcomes.most_common())
    print(
        f"{record.subject}: {record.inputs} inputs in {record.seconds:.0f} s ({outcomes}); "
        f"slowest {record.slowest:.2f} s, memory grew by {record.grown / 2**20:.1f} MiB, "
        f"{len(record.faults)} faults",
        flush=True,
    )
    for fault, data in record.faults[:20]:
        print(f"  {fault[:300]}\n    {data[:400]}")


if __name__ == "__main__":
    typer.run(main)
