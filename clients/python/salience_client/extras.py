"""Optional packages, imported when first needed, with an error that names the extra to install."""

import importlib
from types import ModuleType

from salience_client.errors import MissingExtra


def require(module: str, extra: str, purpose: str) -> ModuleType:
    """Imports `module`, which `pip install 'salience[EXTRA]'` brings.

    Raises:
        MissingExtra: a package that the module needs is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        message = f"{purpose} needs {error.name}: pip install 'salience[{extra}]'"
        raise MissingExtra(message, name=error.name) from error
