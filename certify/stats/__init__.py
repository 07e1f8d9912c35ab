"""Intervals, extreme-value fits, survival curves, summary statistics."""

from .extremes import ExtremeValueFit, Method, Status, fit_extremes
from .gev import Law
from .intervals import (
    Proportion,
    binomial_quantile,
    clopper_pearson_lower,
    clopper_pearson_upper,
    population_lower,
    proportion,
    rejection_boundary,
    two_sided_p_value,
)
from .summary_statistics import Spread, spread
from .survival import reach_of, shares_above, step_places

__all__ = [
    "ExtremeValueFit",
    "Law",
    "Method",
    "Proportion",
    "Spread",
    "Status",
    "binomial_quantile",
    "clopper_pearson_lower",
    "clopper_pearson_upper",
    "fit_extremes",
    "population_lower",
    "proportion",
    "reach_of",
    "rejection_boundary",
    "shares_above",
    "spread",
    "step_places",
    "two_sided_p_value",
]
