"""What each operator of ONNX becomes: an affine map, a ReLU, or a constant."""

from __future__ import annotations

from . import constants, moves, sums, windows  # each enters its rules
from .rules import RULES, Operator

__all__ = ["RULES", "Operator", "constants", "moves", "sums", "windows"]
