"""The loss around an image: in a plane, and along a line with its Taylor approximations."""

from .figures import save_surface, save_taylor
from .schema import SURFACE, TAYLOR
from .surface import surface

__all__ = [
    "SURFACE",
    "TAYLOR",
    "save_surface",
    "save_taylor",
    "surface",
]
