"""Linear relaxations of elementwise functions and of products, sound in floating point."""

from .lines import InvalidIntervalError, Lines, OutsideDomainError, Relaxation
from .piecewise_linear import interpolation
from .products import ProductLines, product_lines
from .table import RELAXATIONS, relaxation

__all__ = [
    "RELAXATIONS",
    "InvalidIntervalError",
    "Lines",
    "OutsideDomainError",
    "ProductLines",
    "Relaxation",
    "interpolation",
    "product_lines",
    "relaxation",
]
