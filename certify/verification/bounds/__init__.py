"""Sound bounds of a network's outputs over a region of inputs."""

from .propagation import Bounds, Splits, propagate
from .region import Region
from .rounding import Rounding

__all__ = ["Bounds", "Region", "Rounding", "Splits", "propagate"]
