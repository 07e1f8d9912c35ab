"""Gradient masking: the attacks, the checklist of indicators, the verdict."""

from .analysis import analyse
from .figures import charts
from .remedies import Remedy
from .schema import MASKING
from .settings import MaskingSettings
from .summary import MaskingSummary, summarise
from .tables import BEST_NAME, NAIVE_NAME, state_of, tables, where_hidden
from .verdict import Indicator, MaskingVerdict, Weight
from .views import as_checked, as_shipped, averaged, judged_by_mean, mostly_wrong

__all__ = [
    "BEST_NAME",
    "MASKING",
    "NAIVE_NAME",
    "Indicator",
    "MaskingSettings",
    "MaskingSummary",
    "MaskingVerdict",
    "Remedy",
    "Weight",
    "analyse",
    "as_checked",
    "as_shipped",
    "averaged",
    "charts",
    "judged_by_mean",
    "mostly_wrong",
    "state_of",
    "summarise",
    "tables",
    "where_hidden",
]
