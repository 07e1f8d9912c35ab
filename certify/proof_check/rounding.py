r"""Errors of floating-point evaluation: what the checker allows for, and why it is enough.

**The evaluation in float32.** Cut the graph where values pass through something that is not affine:
at the model's input, at every ReLU and at the scores. Between two cuts there is an affine map, made
of one or more operators (convolution, bias, batch normalisation, residual sum). With inputs
:math:`x` that are float32 numbers its exact value is :math:`z = \sum_p c_p x_{i(p)} + b`, a sum
over paths p through the operators, the constants with their own paths included, where :math:`c_p`
is the product of stored constants along the path. An evaluation rounds each product and each sum;
with the standard model of floating point (Higham 2002, Accuracy and Stability of Numerical
Algorithms, section 2.2) the computed value is
:math:`\sum_p c_p x_{i(p)} \prod_{k=1}^{n_p} (1 + \delta_k)`, :math:`|\delta_k| \le u = 2^{-24}` (or
the factor's inverse, for divisions). Lemma 3.1 there gives

.. math:: |\hat z - z| \le \gamma_n M, \quad \gamma_n = \frac{n u}{1 - n u}, \quad
    M = \sum_p |c_p| |x_{i(p)}|,

with n the largest number of roundings on a path. A sum of t terms in any order, with fused
multiply-add or without, in blocks or starting from the bias, rounds each term at most t - 1 times,
and its product once. So a sum of t products adds t to n, its bias one more, and :data:`SPARE` is
for the rounding of constants that a runtime merges. Where two branches are added up, the roundings
of both are added: a runtime may merge them into one sum. Counting over the whole affine map, with M
composed from absolute values and not from the size of intermediate results, covers runtimes that
merge neighbouring affine operators (batch normalisation into a convolution, the bias into the
matrix product) as well as those that do not. ReLU, reordering and padding round nothing.

Underflow, gradual or to zero, adds at most :math:`2^{-126}` at each rounding, and a number below
:math:`2^{-126}` may be read as zero. Every element gets a constant added to M: :data:`UNDERFLOW`
times one plus the largest argument, and :math:`n u` times it is larger. Overflow is excluded by a
limit on M. Not covered: algorithms that are no sums of these products, such as
Winograd's convolution, and products in TF32, bfloat16 or float16.

The bound depends on x through M only; the checker uses the largest :math:`|x_i|` within its
interval. Each cut thus adds an unknown error of bounded size to z, and bounds of the network with
these errors hold for every such evaluation.

**The checker's own computation**, in float64 with :math:`u = 2^{-53}`, obeys the same lemma:
intervals are widened by :math:`\gamma` times the sum of absolute terms. In the backward propagation
the coefficients :math:`\hat\lambda` of an operator's output are turned into coefficients of its
arguments with an error of at most :math:`\gamma_n |A|^T |\hat\lambda|`, whose product with the
arguments is at most :math:`\gamma_n \langle |\hat\lambda|, |A| |z| \rangle`: an inner product with
the coefficients at hand, so errors need no coefficients of their own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .errors import UncheckableModelError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

UNIT32, UNIT64 = 2.0**-24, 2.0**-53
"""Unit roundoff of float32 and float64."""

SPARE = 2
"""Roundings of an operator's constants that a runtime may add when it merges operators."""

UNDERFLOW = 2.0**-100
"""Size of a constant whose relative error covers results that underflow."""

LARGEST = 1e37
"""Sums of absolute terms above it may overflow in float32, with what is added to them."""

INFLATION = 1 + 1e-7
"""Covers the rounding of float64 sums of up to millions of positive numbers."""


def gamma(n: float, unit: float) -> float:
    """Higham's bound of the relative error of n roundings.

    >>> round(gamma(100, UNIT32) / UNIT32, 3)
    100.001
    """
    if n * unit >= 0.5:
        message = f"a sum of {n:.0f} terms is too long for a bound of its rounding errors"
        raise UncheckableModelError(message)
    return n * unit / (1 - n * unit)


def float32_error(roundings: int, magnitude: Array) -> Array:
    """Largest error at a cut of a float32 evaluation.

    Args:
        roundings: n, since the cuts before it.
        magnitude: M of each element.
    """
    if not roundings:
        return np.zeros_like(magnitude)
    if not bool((magnitude < LARGEST).all()):
        message = "an evaluation in float32 may overflow within this radius"
        raise UncheckableModelError(message)
    return gamma(roundings, UNIT32) * magnitude * INFLATION
