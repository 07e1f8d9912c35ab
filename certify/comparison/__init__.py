"""Comparison of models: one table, one figure, paired differences with intervals and tests."""

from .analysis import ComparedModel, Comparison, compare, side_by_side
from .difference import ComparisonSettings, Difference, Family
from .difference_table import difference_note
from .figures import save_picture
from .overview import AccuracyInterval, CertifiedCurve, Overview
from .overview_table import ball_of, names, overview_table
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
    "ball_of",
    "compare",
    "difference_note",
    "differences",
    "names",
    "overview_table",
    "save_picture",
    "side_by_side",
]
