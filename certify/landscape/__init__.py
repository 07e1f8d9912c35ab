"""Loss landscape of single images: surface in a plane, Taylor approximations along a line."""

from .figures import save_surface, save_taylor
from .schema import SURFACE, TAYLOR
from .surface import SurfaceSettings, SurfaceSummary, grids, loss_surface
from .surface import analyse as analyse_surface
from .surface import summarise as summarise_surface
from .tables import surface_tables, taylor_tables
from .taylor import Line, TaylorSettings, TaylorSummary, mean_curves
from .taylor import analyse as analyse_taylor
from .taylor import summarise as summarise_taylor

__all__ = [
    "SURFACE",
    "TAYLOR",
    "Line",
    "SurfaceSettings",
    "SurfaceSummary",
    "TaylorSettings",
    "TaylorSummary",
    "analyse_surface",
    "analyse_taylor",
    "grids",
    "loss_surface",
    "mean_curves",
    "save_surface",
    "save_taylor",
    "summarise_surface",
    "summarise_taylor",
    "surface_tables",
    "taylor_tables",
]
