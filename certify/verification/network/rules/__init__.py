"""What each operation of torch becomes in a :class:`Network`; importing it fills the table."""

from . import normalised, piecewise, smooth, sums, windows
from .piecewise import Negative
from .table import MOVES, RULES

__all__ = ["MOVES", "RULES", "Negative", "normalised", "piecewise", "smooth", "sums", "windows"]
