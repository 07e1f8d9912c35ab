"""Local linearity gamma(eps, x): the largest deviation of the loss from its tangent."""

from .analysis import analyse
from .deviation import (
    Deviation,
    Search,
    Sided,
    Tangent,
    adam_rule,
    ascend,
    better_of,
    finite_tangent,
    halving_rule,
    largest_deviation,
    tangent,
)
from .figures import charts
from .multistart import MANY_STARTS, Multistart, Plan, Stage, shrinking_rule
from .schema import LINEARITY
from .series import Measured, save_course, save_histogram, series_table
from .settings import LinearitySettings, Schedule, Steps
from .summary import LinearitySummary, combined, summarise
from .tables import tables

__all__ = [
    "LINEARITY",
    "MANY_STARTS",
    "Deviation",
    "LinearitySettings",
    "LinearitySummary",
    "Measured",
    "Multistart",
    "Plan",
    "Schedule",
    "Search",
    "Sided",
    "Stage",
    "Steps",
    "Tangent",
    "adam_rule",
    "analyse",
    "ascend",
    "better_of",
    "charts",
    "combined",
    "finite_tangent",
    "halving_rule",
    "largest_deviation",
    "save_course",
    "save_histogram",
    "series_table",
    "shrinking_rule",
    "summarise",
    "tables",
    "tangent",
]
