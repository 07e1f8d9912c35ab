"""Comparison of models: one table, one figure, paired differences with intervals and tests."""

from .analysis import ComparedModel, Comparison, compare
from .figures import save_picture
from .overview import AccuracyInterval, CertifiedCurve, Overview
from .paired import ComparisonSettings, Difference, Family

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
    "save_picture",
]
