"""Families of classifiers as small torch modules written from their papers, thin and in full.

Their operators are the ones that torchvision's networks export to; their weights are random.
"""

from tests.support.families.table import FAMILIES, Family, Specimen

__all__ = ["FAMILIES", "Family", "Specimen"]
