"""The HTML pages: the report of one results file, and the comparison of several."""

from .comparison_page import write_compared, write_comparison
from .page import write_report
from .ranking import ranked, ranking_table
from .svg import Axis, Entry, IntervalRow, Point, curves, interval_rows
from .templates import rendered

__all__ = [
    "Axis",
    "Entry",
    "IntervalRow",
    "Point",
    "curves",
    "interval_rows",
    "ranked",
    "ranking_table",
    "rendered",
    "write_compared",
    "write_comparison",
    "write_report",
]
