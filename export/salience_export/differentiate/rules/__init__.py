"""The rules by operator: each writes the cotangents of a node's inputs from its outputs'."""

from collections.abc import Mapping

from salience_export.differentiate.rules.activations import ACTIVATIONS
from salience_export.differentiate.rules.arithmetic import ARITHMETIC
from salience_export.differentiate.rules.arrangement import ARRANGEMENT
from salience_export.differentiate.rules.convolution import CONVOLUTION
from salience_export.differentiate.rules.normalisation import NORMALISATION
from salience_export.differentiate.rules.plateaus import PLATEAUS
from salience_export.differentiate.rules.pooling import POOLING
from salience_export.differentiate.rules.products import PRODUCTS
from salience_export.differentiate.rules.rectifiers import RECTIFIERS
from salience_export.differentiate.rules.reductions import REDUCTIONS
from salience_export.differentiate.rules.resizing import RESIZING
from salience_export.differentiate.rules.selection import SELECTION
from salience_export.differentiate.step import Rule

RULES: Mapping[str, Rule] = {
    **ACTIVATIONS,
    **ARITHMETIC,
    **ARRANGEMENT,
    **CONVOLUTION,
    **NORMALISATION,
    **PLATEAUS,
    **POOLING,
    **PRODUCTS,
    **RECTIFIERS,
    **REDUCTIONS,
    **RESIZING,
    **SELECTION,
}
"""Every operator that can be differentiated."""
