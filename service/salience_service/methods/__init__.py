"""The methods this service answers, by name; each folder holds those that work alike."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from salience_service.methods import activation, gradients, optimised, rows
from salience_service.methods.method import Method, TapRule
from salience_service.methods.taps import taps_for

__all__ = ["METHODS", "Method", "TapRule", "taps_for"]

_TABLE = (*activation.TABLE, *rows.TABLE, *gradients.TABLE, *optimised.TABLE)

METHODS: Mapping[str, Method[Any]] = MappingProxyType({method.name: method for method in _TABLE})
"""Every method by its name in a request."""
