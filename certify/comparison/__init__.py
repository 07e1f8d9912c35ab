"""Models side by side: one table, one picture, paired differences with intervals."""

from .figures import save_picture
from .overview import Overview, names, overview, overview_table
from .paired import Difference, differences
from .table import comparison_lines, comparison_tables

__all__ = [
    "Difference",
    "Overview",
    "comparison_lines",
    "comparison_tables",
    "differences",
    "names",
    "overview",
    "overview_table",
    "save_picture",
]
