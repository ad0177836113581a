"""Finds the torch network that PACKAGE.MODULE:FACTORY names, and what it says of itself."""

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from salience_export.contract import ModelContract
from salience_export.errors import ExportError

if TYPE_CHECKING:
    from torch import nn


def made_by(name: str) -> "tuple[nn.Module, ModelContract | None]":
    """Calls the factory.

    The working directory is searched too, as `python -m` does.

    Args:
        name: PACKAGE.MODULE:FACTORY, a function without arguments that returns a torch
            module, or a pair of a module and its `ModelContract`.

    Raises:
        ExportError: no such module or factory, or it returns something else.
    """
    package, colon, attribute = name.partition(":")
    if not (package and colon and attribute):
        raise ExportError(f"{name!r}: name the factory as PACKAGE.MODULE:FACTORY")
    made = _factory(package, attribute)()
    network, contract = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
    from torch import nn

    if not isinstance(network, nn.Module) or not isinstance(contract, ModelContract | None):
        raise ExportError(
            f"{name!r} returned a {type(made).__name__}; it must return a torch module, "
            "or a module and its ModelContract"
        )
    return network, contract


def _factory(package: str, attribute: str) -> Callable[[], object]:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(package)
    except ModuleNotFoundError as error:
        raise ExportError(f"{package!r} cannot be imported: no module {error.name!r}") from error
    factory: Callable[[], object] | None = getattr(module, attribute, None)
    if not callable(factory):
        raise ExportError(f"{package!r} has no function {attribute!r}")
    return factory
