"""Figures of the report as inline SVG, in the page's colours: light, dark or printed."""

from .axes import BOTTOM, LARGE, LEFT, NARROW, RIGHT, SMALL, TICK_LETTER, TOP, WIDE, Size
from .bars import brackets, histogram_rows, limit_bar
from .curves import curves, histogram, scatter
from .images import picture, surface_map
from .marks import Entry
from .matrix import Counts, matrix
from .rows import Axis, IntervalRow, Point, interval_rows

__all__ = [
    "BOTTOM",
    "LARGE",
    "LEFT",
    "NARROW",
    "RIGHT",
    "SMALL",
    "TICK_LETTER",
    "TOP",
    "WIDE",
    "Axis",
    "Counts",
    "Entry",
    "IntervalRow",
    "Point",
    "Size",
    "brackets",
    "curves",
    "histogram",
    "histogram_rows",
    "interval_rows",
    "limit_bar",
    "matrix",
    "picture",
    "scatter",
    "surface_map",
]
