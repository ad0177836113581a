"""`python -m bench`: measures every figure, prints it, and writes bench-out/bench.{json,md}."""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.parts import PARTS, in_a_fresh_process, measured
from bench.report import Part, markdown_of
from bench.surroundings import surroundings
from bench.workplace import Workplace, export_model

LEAST_PAIRS, QUICK_PAIRS = 30, 3


def main() -> None:
    """Runs the parts asked for, one after the other; each is written as soon as it is known."""
    asked = _arguments()
    asked.out.mkdir(parents=True, exist_ok=True)
    facts = {"date": datetime.now(UTC).isoformat(timespec="seconds"), **surroundings()}
    facts["extent"] = f"{asked.pairs} pairs" + ", quick: rough figures" * asked.quick
    parts = []
    with TemporaryDirectory(prefix="salience-bench-") as scratch:
        models = asked.models or Path(scratch)
        print("… the model", file=sys.stderr, flush=True)
        in_a_fresh_process(export_model, models)
        place = Workplace(models.resolve(), asked.pairs, asked.quick)
        for name in asked.only:
            print(f"… {name}", file=sys.stderr, flush=True)
            parts.append(in_a_fresh_process(measured, name, place))
            print(markdown_of(parts[-1]), flush=True)
            _write(asked.out, facts, parts)
    print(f"written to {asked.out}/bench.md and bench.json", file=sys.stderr)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--only", metavar="NAME,…", default=",".join(PARTS), help="parts to run")
    parser.add_argument("--pairs", type=int, help=f"interleaved pairs, {LEAST_PAIRS} by default")
    parser.add_argument("--quick", action="store_true", help="rough figures, to try the bench")
    parser.add_argument("--out", type=Path, default=Path("bench-out"), help="where the files go")
    parser.add_argument(
        "--models", type=Path, help="holds EfficientNet-Lite0 exported before; not exported again"
    )
    asked = parser.parse_args()
    asked.only = asked.only.split(",")
    if unknown := set(asked.only) - set(PARTS):
        parser.error(f"no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    if asked.pairs is None:
        asked.pairs = QUICK_PAIRS if asked.quick else LEAST_PAIRS
    if asked.pairs < 1:
        parser.error(f"--pairs {asked.pairs}: at least 1")
    return asked


def _write(out: Path, facts: dict[str, str], parts: Sequence[Part]) -> None:
    whole = {**facts, "parts": [asdict(part) for part in parts]}
    (out / "bench.json").write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n")
    about = "\n".join(f"- {name}: {value}" for name, value in facts.items())
    sections = [f"# Benchmark\n\n{about}\n", *map(markdown_of, parts)]
    (out / "bench.md").write_text("\n".join(sections))


if __name__ == "__main__":
    main()
