"""`python -m bench`: measures every figure, prints it, and writes it into bench-out/."""

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.apart import in_a_fresh_process
from bench.history import HISTORY, remember
from bench.networks import LITE0, NETWORKS, export_network
from bench.parts import PARTS, measured
from bench.report import Part, markdown_of
from bench.surroundings import surroundings
from bench.workplace import Workplace
from salience_service.runtime.providers import PROVIDERS

LEAST_PAIRS, QUICK_PAIRS = 30, 3


def main() -> None:
    """Runs the parts asked for, one after the other; each is written as soon as it is known."""
    asked = _arguments()
    asked.out.mkdir(parents=True, exist_ok=True)
    facts = {"date": datetime.now(UTC).isoformat(timespec="seconds"), **surroundings()}
    facts["extent"] = f"{asked.pairs} pairs" + ", quick: rough figures" * asked.quick
    parts = []
    with TemporaryDirectory(prefix="salience-bench-") as scratch:
        root = (asked.models or Path(scratch)).resolve()
        print("… the model", file=sys.stderr, flush=True)
        in_a_fresh_process(export_network, root, LITE0.name)
        place = Workplace(root, asked.pairs, asked.quick, asked.networks, asked.provider)
        for name in asked.only:
            print(f"… {name}", file=sys.stderr, flush=True)
            parts.append(in_a_fresh_process(measured, name, place))
            print(markdown_of(parts[-1]), flush=True)
            _write(asked.out, facts, parts)
    remember(asked.out / HISTORY.name, _whole(facts, parts))
    print(f"written to {asked.out}/bench.md and bench.json", file=sys.stderr)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--only", metavar="NAME,…", default=",".join(PARTS), help="parts to run")
    parser.add_argument("--pairs", type=int, help=f"interleaved pairs, {LEAST_PAIRS} by default")
    parser.add_argument("--quick", action="store_true", help="rough figures, to try the bench")
    parser.add_argument("--out", type=Path, default=Path("bench-out"), help="where the files go")
    parser.add_argument(
        "--models", type=Path, help="networks exported before, by name; what is there is kept"
    )
    parser.add_argument(
        "--networks",
        metavar="NAME,…",
        default=",".join(NETWORKS),
        help="for the parts of several networks",
    )
    parser.add_argument(
        "--provider", choices=list(PROVIDERS), default="cpu", help="for the part gpu_rate"
    )
    asked = parser.parse_args()
    asked.only = _known(parser, "part", asked.only, PARTS)
    asked.networks = _known(parser, "network", asked.networks, NETWORKS)
    if asked.pairs is None:
        asked.pairs = QUICK_PAIRS if asked.quick else LEAST_PAIRS
    if asked.pairs < 1:
        parser.error(f"--pairs {asked.pairs}: at least 1")
    return asked


def _known(
    parser: argparse.ArgumentParser, what: str, words: str, known: Iterable[str]
) -> tuple[str, ...]:
    asked = tuple(words.split(","))
    if unknown := set(asked) - set(known):
        parser.error(f"no {what} {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    return asked


def _whole(facts: dict[str, str], parts: Sequence[Part]) -> dict[str, Any]:
    return {**facts, "parts": [asdict(part) for part in parts]}


def _write(out: Path, facts: dict[str, str], parts: Sequence[Part]) -> None:
    whole = json.dumps(_whole(facts, parts), indent=1, ensure_ascii=False)
    (out / "bench.json").write_text(whole + "\n")
    about = "\n".join(f"- {name}: {value}" for name, value in facts.items())
    sections = [f"# Benchmark\n\n{about}\n", *map(markdown_of, parts)]
    (out / "bench.md").write_text("\n".join(sections))


if __name__ == "__main__":
    main()
