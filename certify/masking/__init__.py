"""Gradient masking: the attacks, the checklist of indicators, the verdict."""

from .analysis import analyse
from .figures import charts
from .random_outputs import ascents, ascents_towards_classes
from .remedies import Remedy
from .schema import MASKING, ROUND
from .settings import MaskingSettings
from .summary import MaskingSummary, summarise
from .tables import BEST_NAME, NAIVE_NAME, state_of, tables, where_hidden
from .verdict import Indicator, MaskingVerdict, Weight
from .views import as_checked, as_shipped, averaged, judged_by_mean, wrong_shares

__all__ = [
    "BEST_NAME",
    "MASKING",
    "NAIVE_NAME",
    "ROUND",
    "Indicator",
    "MaskingSettings",
    "MaskingSummary",
    "MaskingVerdict",
    "Remedy",
    "Weight",
    "analyse",
    "as_checked",
    "as_shipped",
    "ascents",
    "ascents_towards_classes",
    "averaged",
    "charts",
    "judged_by_mean",
    "state_of",
    "summarise",
    "tables",
    "where_hidden",
    "wrong_shares",
]
