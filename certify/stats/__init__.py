"""Intervals, paired tests, extreme-value fits, survival curves, summary statistics."""

from .betting import sign_test_log_e_value
from .descriptive import SummaryStatistics, summary_statistics
from .extremes import (
    LEAST_BLOCKS,
    ExtremeValueFit,
    Method,
    Status,
    SupremumEstimator,
    blocks_advice,
    fit_extremes,
)
from .gev import Law
from .intervals import (
    Proportion,
    binomial_quantile,
    clopper_pearson_lower,
    clopper_pearson_upper,
    mean_share,
    population_lower,
    proportion,
    rejection_boundary,
    sign_test_p_value,
    two_sided_p_value,
)
from .paired import (
    Correction,
    PairedCounts,
    adjusted_p_values,
    mcnemar_p_value,
    paired_interval,
    student_interval,
)
from .survival import reach_of, shares_above, step_places

__all__ = [
    "LEAST_BLOCKS",
    "Correction",
    "ExtremeValueFit",
    "Law",
    "Method",
    "PairedCounts",
    "Proportion",
    "Status",
    "SummaryStatistics",
    "SupremumEstimator",
    "adjusted_p_values",
    "binomial_quantile",
    "blocks_advice",
    "clopper_pearson_lower",
    "clopper_pearson_upper",
    "fit_extremes",
    "mcnemar_p_value",
    "mean_share",
    "paired_interval",
    "population_lower",
    "proportion",
    "reach_of",
    "rejection_boundary",
    "shares_above",
    "sign_test_log_e_value",
    "sign_test_p_value",
    "step_places",
    "student_interval",
    "summary_statistics",
    "two_sided_p_value",
]
