"""Radii from extreme-value estimates: rho-, L-, omega-, gamma- and curvature bounds."""

from .analysis import analyse
from .clever import BLOCK_SIZE, local_lipschitz
from .excess import largest_excesses
from .figures import charts
from .fits import FitSummary, OmegaSummary
from .gradient_norm import GradientNormSearch, largest_gradient_norm
from .radii import epsilon_grid
from .residuals import ResidualSearch, largest_residuals
from .schema import BOUNDS, BOUNDS_SAMPLE
from .settings import BoundsSettings, Margin, Region
from .summary import BoundsSummary, summarise
from .tables import fit_state, tables

__all__ = [
    "BLOCK_SIZE",
    "BOUNDS",
    "BOUNDS_SAMPLE",
    "BoundsSettings",
    "BoundsSummary",
    "FitSummary",
    "GradientNormSearch",
    "Margin",
    "OmegaSummary",
    "Region",
    "ResidualSearch",
    "analyse",
    "charts",
    "epsilon_grid",
    "fit_state",
    "largest_excesses",
    "largest_gradient_norm",
    "largest_residuals",
    "local_lipschitz",
    "summarise",
    "tables",
]
