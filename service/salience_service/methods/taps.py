"""Which taps of a model a method reads: those named, or its default ones, coarse to fine."""

from collections.abc import Sequence
from typing import Any

from salience_service.bundle.manifest import Manifest, Tap, TokenLayout
from salience_service.errors import InvalidRequest, NotPossible
from salience_service.methods.method import Method, TapRule


def taps_for(method: Method[Any], manifest: Manifest, named: Sequence[str]) -> tuple[Tap, ...]:
    """The taps a method reads, coarse to fine; of one size, the later in the network first.

    Args:
        method: the method.
        manifest: the model; its taps lie in the order of the network.
        named: names from the request, in any order; none = the method's default.

    Raises:
        InvalidRequest: an unknown, repeated or unfit tap, or too many.
        NotPossible: none was named, and the model has none that the method can read.
    """
    if method.taps is TapRule.NONE:
        if named:
            raise InvalidRequest(f"{method.name} reads no tap, {len(named)} named: name none")
        return ()
    chosen = _named(method, manifest, named) if named else _default(method, manifest)
    order = {tap.name: place for place, tap in enumerate(manifest.taps)}
    return tuple(sorted(chosen, key=lambda tap: (tap.height * tap.width, -order[tap.name])))


def _named(method: Method[Any], manifest: Manifest, named: Sequence[str]) -> list[Tap]:
    """The taps of these names, each fit for the method."""
    if len(set(named)) < len(named):
        raise InvalidRequest("a tap is named twice: name each once")
    if method.taps is TapRule.ONE and len(named) > 1:
        raise InvalidRequest(
            f"{method.name} reads one tap, {len(named)} named: ask for it once per tap"
        )
    return [_spatial(method, manifest, name) for name in named]


def _spatial(method: Method[Any], manifest: Manifest, name: str) -> Tap:
    """The tap of this name, where its elements lie on the image."""
    tap = manifest.tap(name)
    known = ", ".join(tap.name for tap in manifest.taps) or "none"
    if tap is None:
        raise InvalidRequest(f"unknown tap {name[:100]!r}: the taps of {manifest.name} are {known}")
    if tap.layout is not TokenLayout.SPATIAL:
        raise InvalidRequest(
            f"tap {name} holds tokens, {method.name} reads spatial taps: choose another of {known}"
        )
    return tap


def _default(method: Method[Any], manifest: Manifest) -> list[Tap]:
    """The last spatial tap, or the last of each resolution."""
    spatial = [tap for tap in manifest.taps if tap.layout is TokenLayout.SPATIAL]
    if not spatial:
        raise NotPossible(
            f"{method.name} reads spatial taps and {manifest.name} has none: "
            "export it again with --tap"
        )
    if method.taps is TapRule.ONE:
        return spatial[-1:]
    return list({(tap.height, tap.width): tap for tap in spatial}.values())
