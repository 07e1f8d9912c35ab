"""Comparison of models: one table, one figure, paired differences with intervals and tests."""

from .analysis import ComparedModel, Comparison, compare
from .difference import ComparisonSettings, Difference, Family
from .figures import save_picture
from .overview import AccuracyInterval, CertifiedCurve, Overview
from .paired import differences

__all__ = [
    "AccuracyInterval",
    "CertifiedCurve",
    "ComparedModel",
    "Comparison",
    "ComparisonSettings",
    "Difference",
    "Family",
    "Overview",
    "compare",
    "differences",
    "save_picture",
]
