"""Sound bounds of a network's outputs over a region of inputs."""

from .propagation import Bounds, Splits
from .region import Region
from .rounding import Rounding
from .tightening import propagate

__all__ = ["Bounds", "Region", "Rounding", "Splits", "propagate"]
