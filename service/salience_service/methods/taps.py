"""Which taps of a model a method reads: those named, or its default ones, coarse to fine."""

from collections.abc import Sequence
from typing import Any

from salience_service.bundle.manifest import Manifest, Tap
from salience_service.errors import InvalidRequest, NotPossible
from salience_service.methods.method import Method, TapRule


def taps_for(method: Method[Any], manifest: Manifest, named: Sequence[str]) -> tuple[Tap, ...]:
    """The taps a method reads, coarse to fine; of one size, the later in the network first.

    Args:
        method: the method.
        manifest: the model; its taps lie in the order of the network.
        named: names from the request, in any order; none = the method's default.

    Raises:
        InvalidRequest: an unknown or repeated tap, or too many.
        NotPossible: none was named, and the model has none.
    """
    if method.taps is TapRule.NONE:
        if named:
            raise InvalidRequest(f"{method.name} reads no tap, {len(named)} named: name none")
        return ()
    chosen = _named(method, manifest, named) if named else _default(method, manifest)
    order = {tap.name: place for place, tap in enumerate(manifest.taps)}
    return tuple(sorted(chosen, key=lambda tap: (tap.height * tap.width, -order[tap.name])))


def _named(method: Method[Any], manifest: Manifest, named: Sequence[str]) -> list[Tap]:
    """The taps of these names."""
    if len(set(named)) < len(named):
        raise InvalidRequest("a tap is named twice: name each once")
    if method.taps is TapRule.ONE and len(named) > 1:
        raise InvalidRequest(
            f"{method.name} reads one tap, {len(named)} named: ask for it once per tap"
        )
    return [_known(manifest, name) for name in named]


def _known(manifest: Manifest, name: str) -> Tap:
    tap = manifest.tap(name)
    if tap is None:
        known = ", ".join(tap.name for tap in manifest.taps) or "none"
        raise InvalidRequest(f"unknown tap {name[:100]!r}: the taps of {manifest.name} are {known}")
    return tap


def _default(method: Method[Any], manifest: Manifest) -> list[Tap]:
    """The last tap, or the last of each resolution."""
    if not manifest.taps:
        raise NotPossible(
            f"{method.name} reads taps and {manifest.name} has none: export it again with --tap"
        )
    if method.taps is not TapRule.MANY:
        return [manifest.taps[-1]]
    return list({(tap.height, tap.width): tap for tap in manifest.taps}.values())
