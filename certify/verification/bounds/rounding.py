r"""Errors of floating-point evaluation, as allowances that make bounds sound.

A sum of n products in floating point differs from the exact one by at most
:math:`\gamma_n \sum |w_i x_i|` with :math:`\gamma_n = n u / (1 - n u)`, in whatever order it is
added up and with or without fused multiply-add (Higham 2002, Accuracy and Stability of Numerical
Algorithms, section 3.1). Two evaluations are covered:

* the network's own in float32: its operations give their exact result plus an error of at most
  this size, so that bounds of the disturbed network hold for every such evaluation;
* the computation of the bounds itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..outcome import Arithmetic

if TYPE_CHECKING:
    from .folding import Chain

UNIT = {torch.float32: 2.0**-24, torch.float64: 2.0**-53}
"""Unit roundoff."""

EXTRA = 8
"""Further roundings per operation: constants folded into its weights when a runtime fuses it."""

TINY = 1e-30
"""Absolute error that covers underflow, of each term."""

SMALLEST = 1e-150
"""A weight in float32 times a number above it does not vanish in float64."""

VARIANCE = 5
"""Relative error of a variance in float32, in units of that of the sum of squares."""

LARGEST = 1e38
"""Below it no partial sum of terms, in whatever order, overflows in float32."""

FUNCTION_ERROR = 2.0**-20
"""Relative error of exponentials and the like in a float32 runtime, 8 units in the last place."""

ACCURATE = frozenset(
    {"exp", "log", "reciprocal", "sqrt", "rsqrt", "square", "softplus", "tanh", "erf"}
)
"""Functions that runtimes compute with a small relative error. Others (sigmoid, GELU, ELU, ...)
have the absolute error of numbers near 1 where they are near 0."""


def gamma(n: float, unit: float) -> float:
    """Higham's bound of the relative error of n roundings.

    >>> round(gamma(100, 2.0**-24) / 2.0**-24, 3)
    100.001
    """
    if n * unit >= 0.5:
        raise OverflowError(n)
    return n * unit / (1 - n * unit)


def propagation_error(n: int, dtype: torch.dtype) -> float:
    """Relative error of coefficients of ``dtype`` that are sums of ``n`` products."""
    return gamma(n + 4, UNIT[dtype]) + 1e-13  # and of float64 sums over all elements


@dataclass(frozen=True, slots=True)
class Rounding:
    """What is allowed for.

    Attributes:
        arithmetic: the evaluation that the bounds are about.
        dtype: the type in which coefficients of inner operations are propagated.
    """

    arithmetic: Arithmetic
    dtype: torch.dtype

    def folding(self, *chains: Chain | None) -> float:
        """Error where constants that a runtime multiplies or moves before it runs underflow.

        A product of constants below the smallest normal number may become 0. At each operation it
        loses at most that number times what it is multiplied with.

        Returns:
            The error of the last operation's output; inf where they overflow in another order.
        """
        if self.arithmetic is Arithmetic.REAL:
            return 0.0
        lost = 0.0
        for chain in chains:
            if chain is not None:
                tiny = 2 * torch.finfo(torch.float32).tiny * chain.length
                lost += math.inf if chain.largest >= LARGEST else tiny * chain.gain * chain.reach
        return lost

    def holds(self, magnitude: Tensor) -> bool:
        """Whether an evaluation with terms of total size ``magnitude`` overflows nowhere."""
        largest = LARGEST if self.arithmetic is Arithmetic.FLOAT32 else torch.inf
        return bool((magnitude < largest).all())

    def resolves(self, magnitude: Tensor) -> bool:
        """Whether no term of total size ``magnitude`` can vanish by underflow in float64.

        In float32 arithmetic the absolute error of each term covers it.
        """
        if self.arithmetic is Arithmetic.FLOAT32:
            return True
        # what is added to a function's range, about 1e-300, stands for 0
        return bool(((magnitude < 1e-290) | (magnitude > SMALLEST)).all())

    def evaluation(self, n: int, magnitude: Tensor) -> Tensor:
        """Error of a float32 evaluation of ``n`` additions of terms of total size ``magnitude``."""
        if self.arithmetic is Arithmetic.REAL:
            return torch.zeros_like(magnitude)
        return gamma(n + EXTRA, UNIT[torch.float32]) * magnitude + n * TINY

    def function(
        self, name: str, value: Tensor, error: tuple[float, float] | None = None
    ) -> Tensor:
        """Error of a float32 evaluation of a function at a ``value``.

        Args:
            name: of the function.
            value: of the function.
            error: absolute and relative error; None for that of an elementary function.
        """
        if self.arithmetic is Arithmetic.REAL:
            return torch.zeros_like(value)
        small = TINY if name in ACCURATE else FUNCTION_ERROR
        absolute, relative = error or (small, FUNCTION_ERROR)
        return absolute + relative * value.abs()

    def square_of_difference(self, size: Tensor) -> Tensor | None:
        """Size of (x - m)^2 as a term of a sum, for the ``size`` |x| + |m| of the difference.

        Where m is the mean of the x the sum is a variance V, which runtimes also compute as the
        mean of squares less the square of the mean (ONNX Runtime's layer normalisation on the CPU,
        also where it fuses it from simpler operations). With n roundings that differs from V by
        at most n u (E[x^2] + 2 E[|x|]^2). The mean that the numerator reads is off by n u E[|x|];
        with it in place of m, V differs by 2 n u sqrt(V s), where s is the mean of the squared
        sizes. As E[|x|]^2 and V are at most E[x^2], and that at most s, it is 5 n u s together.

        Returns:
            None where no evaluation rounds.
        """
        return None if self.arithmetic is Arithmetic.REAL else VARIANCE * size.square()

    def product(self, magnitude: Tensor) -> Tensor:
        """Error of a float32 product of size ``magnitude``."""
        return self.evaluation(1, magnitude)

    @staticmethod
    def interval(n: int, magnitude: Tensor) -> Tensor:
        """Error of interval arithmetic in float64 on ``n`` terms of total size ``magnitude``."""
        return gamma(4 * n + 16, UNIT[torch.float64]) * magnitude
