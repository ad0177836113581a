"""`make demo`: export a real classifier, serve it, explain a photograph, write the pictures.

python -m examples.demo [--out DIR]
"""

import argparse
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from rich.console import Console

from salience_client import Client, Explanation, SaliencyMap, overlay
from salience_client.commands.progress import shown
from salience_client.commands.report import print_table
from salience_export import Destination, export_torch
from salience_export.zoo import efficientnet_lite0

METHODS = ("score-cam", "poly-cam", "opti-cam", "fake-cam")
TITLES = {
    "score-cam": "Score-CAM",
    "poly-cam": "PCAM± (Poly-CAM)",
    "opti-cam": "Opti-CAM",
    "fake-cam": "Fake-CAM",
}
MODEL = "efficientnet-lite0"
SCORES = ("ad", "ai", "ag")
CAUTION = (
    "Fake-CAM marks everything but one pixel, for any image and any class, and still its AD is "
    "near 0:\na good score alone is no proof of a good explanation."
)
STOP_SECONDS = 40.0
_ANNOUNCED = re.compile(r"serving .* on (\S+:\d+)$")


def main() -> None:
    """Runs the demo; any failure ends it with a non-zero exit code."""
    parser = argparse.ArgumentParser(prog="python -m examples.demo")
    parser.add_argument("--out", type=Path, default=Path("demo-out"), help="where files go")
    out: Path = parser.parse_args().out
    began = time.perf_counter()
    console = Console()
    out.mkdir(parents=True, exist_ok=True)
    _export(out / "models", console)
    photograph = _photograph(out / "chelsea.png")
    with _serving(out / "models") as address:
        console.print(f"[bold]2.[/] Serving it over gRPC on {address}", highlight=False)
        explanation = _explain(address, photograph, console)
    _write(explanation.maps, photograph.read_bytes(), out)
    print_table(console, explanation, photograph)
    console.print(CAUTION, style="dim", highlight=False)
    seconds = time.perf_counter() - began
    console.print(f"Look at {out}/montage.png. All in all {seconds:.0f} s.", highlight=False)


def _export(models: Path, console: Console) -> None:
    """Exports the network from torch; an earlier export is replaced."""
    console.print("[bold]1.[/] Exporting EfficientNet-Lite0 from torch")
    shutil.rmtree(models, ignore_errors=True)
    with console.status("tracing, writing graphs, proving them against torch"):
        network, contract = efficientnet_lite0()
        report = export_torch(network, contract, Destination(models, MODEL))
    console.print(
        f"   parity with torch {report.parity.worst:.1e} relative, "
        f"{len(report.manifest.taps)} taps, {report.seconds:.0f} s: {report.directory}",
        highlight=False,
    )


def _photograph(path: Path) -> Path:
    """Chelsea the cat, 451×300, as a PNG file (scikit-image's own photograph)."""
    from skimage.data import chelsea

    Image.fromarray(chelsea()).save(path)
    return path


@contextmanager
def _serving(models: Path) -> Iterator[str]:
    """`salience serve` in a process of its own, on a free port; stopped as an operator would."""
    command = [sys.executable, "-m", "salience_client.cli", "serve", str(models), "--unsigned"]
    process = subprocess.Popen(
        [*command, "--address", "127.0.0.1:0"], stdout=subprocess.PIPE, text=True
    )
    try:
        yield _announced(process)
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    if process.returncode:
        sys.exit(f"demo: the server ended with exit code {process.returncode}")


def _announced(process: subprocess.Popen[str]) -> str:
    """The address that the server prints once it can be used."""
    assert process.stdout is not None
    for line in process.stdout:
        if found := _ANNOUNCED.search(line.strip()):
            return found[1]
    sys.exit(f"demo: the server ended before it served, exit code {process.wait(STOP_SECONDS)}")


def _explain(address: str, photograph: Path, console: Console) -> Explanation:
    """One request for all methods; the class explained is the one predicted."""
    console.print(f"[bold]3.[/] Explaining {photograph.name} by {', '.join(METHODS)}")
    with Client(address, timeout=600) as client:
        events = client.stream(photograph, model=MODEL, methods=METHODS, scores=SCORES)
        return Explanation.of(shown(events, console))


def _write(maps: Sequence[SaliencyMap], photograph: bytes, out: Path) -> None:
    """METHOD.npy, METHOD.png for each map, and montage.png of them all."""
    tiles = [("As the model saw it", _as_seen(photograph, maps[0]))]
    for map_ in maps:
        picture = Image.fromarray(overlay(photograph, map_))
        np.save(out / f"{map_.method}.npy", map_.array, allow_pickle=False)
        picture.save(out / f"{map_.method}.png")
        tiles.append((_caption(map_), picture))
    _montage(tiles).save(out / "montage.png")


def _as_seen(photograph: bytes, map_: SaliencyMap) -> Image.Image:
    seen = map_.seen
    box = (seen.left, seen.top, seen.left + seen.width, seen.top + seen.height)
    with Image.open(BytesIO(photograph)) as picture:
        size = (map_.width, map_.height)
        return picture.convert("RGB").resize(size, Image.Resampling.BILINEAR, box)


def _caption(map_: SaliencyMap) -> str:
    scores = map_.scores
    assert scores is not None
    figures = " ".join(f"{word.upper()} {scores[word]:.1f}" for word in SCORES)
    return f"{TITLES[map_.method]}\n{figures}"


def _montage(tiles: Sequence[tuple[str, Image.Image]], gap: int = 12) -> Image.Image:
    """Pictures of one size in a row, each with its caption below."""
    width, height = tiles[0][1].size
    room = 52
    sheet = Image.new("RGB", (gap + len(tiles) * (width + gap), height + room + gap), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(15)
    for place, (caption, picture) in enumerate(tiles):
        left = gap + place * (width + gap)
        sheet.paste(picture, (left, gap))
        draw.text((left, height + gap + 6), caption, fill="black", font=font)
    return sheet


if __name__ == "__main__":
    main()
