"""Local linearity gamma(eps, x): how far the loss departs from its tangent."""

from .analysis import analyse
from .deviation import (
    Deviation,
    Search,
    Sided,
    Tangent,
    adam_rule,
    better_of,
    climb,
    halving_rule,
    largest_deviation,
    tangent,
)
from .schema import LINEARITY
from .series import Measured, save_course, save_histogram, series_table
from .settings import LinearitySettings, Steps
from .summary import LinearitySummary, summarise
from .tables import _linearity

__all__ = [
    "LINEARITY",
    "Deviation",
    "LinearitySettings",
    "LinearitySummary",
    "Measured",
    "Search",
    "Sided",
    "Steps",
    "Tangent",
    "_linearity",
    "adam_rule",
    "analyse",
    "better_of",
    "climb",
    "halving_rule",
    "largest_deviation",
    "save_course",
    "save_histogram",
    "series_table",
    "summarise",
    "tangent",
]
