"""Gradient masking: the attacks, the checklist of indicators, the verdict."""

from .analysis import MaskingSummary, analyse, summarise
from .schema import MASKING
from .settings import MaskingSettings
from .tables import state_of, where_hidden
from .verdict import Verdict, Weight
from .views import as_checked, as_shipped, averaged, judged_by_mean, mostly_wrong

__all__ = [
    "MASKING",
    "MaskingSettings",
    "MaskingSummary",
    "Verdict",
    "Weight",
    "analyse",
    "as_checked",
    "as_shipped",
    "averaged",
    "judged_by_mean",
    "mostly_wrong",
    "state_of",
    "summarise",
    "where_hidden",
]
