"""What a manifest must satisfy: every number in range, every name where it should be."""

import math
import re
from collections import Counter
from collections.abc import Sequence

from salience_service.bundle.manifest import (
    FROM_A_TAP,
    ColourOrder,
    GraphRole,
    Head,
    InputContract,
    Manifest,
    ResizeRule,
)
from salience_service.errors import BundleRefused
from salience_service.signatures.signature import SIGNATURE_NAME

MANIFEST_NAME = "manifest.json"
_NEVER_LISTED = (MANIFEST_NAME, SIGNATURE_NAME)
"""What lists the files, and what signs the list."""
MAX_SIDE = 8192
MAX_CLASSES = 1_000_000
FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
"""Names of files in a bundle: no separators, no leading dot, so never outside it."""
_SHA256 = re.compile(r"[0-9a-f]{64}")
_GREATEST_OPSET = 1000
_SOURCE_KINDS = ("torch", "onnx")


def check_manifest(manifest: Manifest) -> None:
    """Refuses a manifest that contradicts itself.

    Raises:
        BundleRefused: the first rule broken, with the value, the limit and no path.
    """
    _check_input(manifest.input)
    _check_head(manifest.head)
    _check_taps(manifest)
    _check_files(manifest)
    _check_graphs(manifest)
    _check_origin(manifest)
    _check_precisions(manifest)


def _check_input(contract: InputContract) -> None:
    _require(contract.channels in (1, 3), f"channels is {contract.channels}; use 1 or 3")
    for name, side in (("height", contract.height), ("width", contract.width)):
        _require(1 <= side <= MAX_SIDE, f"{name} is {side}; use 1 to {MAX_SIDE}")
    grey = contract.colour_order is ColourOrder.GREY
    _require(
        grey == (contract.channels == 1),
        f"colour order {contract.colour_order.value} does not fit {contract.channels} channels",
    )
    _require(
        math.isfinite(contract.white) and contract.white > 0,
        f"white is {contract.white}; use a number above 0",
    )
    for name, values in (("mean", contract.mean), ("std", contract.std)):
        _require(
            len(values) == contract.channels,
            f"{name} has {len(values)} numbers for {contract.channels} channels",
        )
        _require(all(map(math.isfinite, values)), f"{name} must be finite")
    _require(all(value > 0 for value in contract.std), "std must be above 0")
    _check_resize(contract)


def _check_resize(contract: InputContract) -> None:
    if contract.resize.rule is not ResizeRule.SHORT_SIDE:
        return
    least, side = max(contract.height, contract.width), contract.resize.short_side
    _require(
        least <= side <= MAX_SIDE,
        f"resize short_side is {side}; the crop needs {least} to {MAX_SIDE}",
    )


def _check_head(head: Head) -> None:
    _require(1 <= head.classes <= MAX_CLASSES, f"classes is {head.classes}; use 1 to {MAX_CLASSES}")
    for name, values in (("labels", head.labels), ("thresholds", head.thresholds)):
        _require(
            len(values) in (0, head.classes),
            f"{len(values)} {name} for {head.classes} classes; give one a class, or none",
        )
    _require(
        all(0 <= threshold <= 1 for threshold in head.thresholds),
        "thresholds must lie in [0, 1]",
    )


def _check_taps(manifest: Manifest) -> None:
    _require_unique("tap name", [tap.name for tap in manifest.taps])
    _require_unique("tap output", [tap.output for tap in manifest.taps])
    for tap in manifest.taps:
        _require(bool(tap.name) and bool(tap.output), "a tap has no name or no output")
        _require(
            min(tap.channels, tap.height, tap.width) >= 1,
            f"tap {tap.name!r} is {tap.channels}×{tap.height}×{tap.width}; sizes start at 1",
        )


def _check_files(manifest: Manifest) -> None:
    names = [file.path for file in manifest.files]
    _require_unique("file", names)
    listed = frozenset(names)
    for file in manifest.files:
        _require(
            bool(FILE_NAME.fullmatch(file.path)) and file.path not in _NEVER_LISTED,
            f"{file.path!r} is not a plain file name",
        )
        _require(bool(_SHA256.fullmatch(file.sha256)), f"{file.path!r} has no SHA-256 in hex")
        _require(file.size >= 0, f"{file.path!r} has size {file.size}")
    needed = [*(graph.path for graph in manifest.graphs), manifest.golden.path]
    if manifest.torch_program:
        needed.append(manifest.torch_program)
    for name in needed:
        _require(name in listed, f"{name!r} is named but not among the files")


def _check_graphs(manifest: Manifest) -> None:
    roles = [graph.role for graph in manifest.graphs]
    for role in (GraphRole.FORWARD, GraphRole.MASKED):
        found = roles.count(role)
        _require(found == 1, f"{found} graphs have the role {role.value!r}; exactly 1 is needed")
    pixel_masked = roles.count(GraphRole.PIXEL_MASKED)
    _require(pixel_masked <= 1, f"{pixel_masked} graphs have the role 'pixel_masked'; 1 at most")
    _require_unique("graph", [f"{graph.role.value} {graph.tap}" for graph in manifest.graphs])
    taps = {tap.name for tap in manifest.taps}
    gradients = [roles.count(role) for role in (GraphRole.GRADIENT, GraphRole.MASKED_GRADIENT)]
    _require(
        gradients in ([0, 0], [1, 1]),
        f"{gradients[0]} gradient and {gradients[1]} masked_gradient graphs; give both or neither",
    )
    _require(gradients == [0, 0] or bool(taps), "a gradient graph needs a tap")
    alone = gradients == [0, 0] and GraphRole.TAIL_GRADIENT in roles
    _require(not alone, "a tail_gradient graph needs the gradient graph, which it is held against")
    for tap in manifest.taps:
        live = {graph.live for graph in manifest.graphs if graph.tap == tap.name}
        _require(len(live) <= 1, f"the graphs from tap {tap.name!r} differ in what they need")
    for graph in manifest.graphs:
        _require(graph.path.endswith(".onnx"), f"graph {graph.path!r} must end in .onnx")
        _require(1 <= graph.opset <= _GREATEST_OPSET, f"{graph.path!r} has opset {graph.opset}")
        needs_tap = graph.role in FROM_A_TAP
        _require(
            graph.tap in taps if needs_tap else not graph.tap,
            f"graph {graph.path!r} has no business with tap {graph.tap!r}",
        )


def _check_origin(manifest: Manifest) -> None:
    tolerance, source = manifest.golden.tolerance, manifest.source
    _require(0 < tolerance < 1, f"golden tolerance is {tolerance}; use a number between 0 and 1")
    _require(source.kind in _SOURCE_KINDS, f"source kind {source.kind!r}; use torch or onnx")
    _require(bool(_SHA256.fullmatch(source.digest)), "source digest is not a SHA-256 in hex")
    _require(
        math.isfinite(source.parity) and source.parity >= 0,
        f"source parity is {source.parity}; use a number from 0",
    )
    program = manifest.torch_program
    _require(not program or program.endswith(".pt2"), f"torch program {program!r} must end in .pt2")


def _check_precisions(manifest: Manifest) -> None:
    _require_unique("precision", [cost.precision for cost in manifest.precisions])
    for cost in manifest.precisions:
        _require(
            math.isfinite(cost.parity) and cost.parity >= 0,
            f"the parity of {cost.precision} is {cost.parity}; use a number from 0",
        )
        _require(
            0 < cost.tolerance < 1,
            f"the tolerance of {cost.precision} is {cost.tolerance}; use a number between 0 and 1",
        )


def _require_unique(what: str, names: Sequence[str]) -> None:
    repeated = [name for name, count in Counter(names).items() if count > 1]
    _require(not repeated, f"a {what} occurs twice: {repeated[:1]}")


def _require(holds: bool, broken: str) -> None:
    if not holds:
        raise BundleRefused(f"the manifest is not valid: {broken}")
