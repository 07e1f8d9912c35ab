"""Matrix products."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from robcert.certify.numerics import batch_invariant as rows
from robcert.certify.numerics import einsum as sums

from .operator_table import elementwise, operator

if TYPE_CHECKING:
    from collections.abc import Callable

elementwise(torch.matmul, "MatMul", n_inputs=2)


@operator("Gemm", since=7)
def gemm(
    a: Tensor,
    b: Tensor,
    c: Tensor | None = None,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    trans_a: int = 0,
    trans_b: int = 0,
) -> Tensor:
    """Alpha A B + beta C, either factor transposed on request."""
    return _gemm(
        a, b, c, linear=functional.linear, factors=(alpha, beta), turned=(trans_a, trans_b)
    )


def gemm_of_same_rows(
    a: Tensor,
    b: Tensor,
    c: Tensor | None = None,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    trans_a: int = 0,
    trans_b: int = 0,
) -> Tensor:
    """:func:`gemm` for a batch, whose rows do not depend on one another."""
    return _gemm(a, b, c, linear=rows.linear, factors=(alpha, beta), turned=(trans_a, trans_b))


def _gemm(
    a: Tensor,
    b: Tensor,
    c: Tensor | None,
    *,
    linear: Callable[..., Tensor],
    factors: tuple[float, float],
    turned: tuple[int, int],
) -> Tensor:
    (alpha, beta), (trans_a, trans_b) = factors, turned
    left, right = (a.t() if trans_a else a), (b if trans_b else b.t())
    if c is not None and alpha == beta == 1.0 and c.ndim == 1 and len(c) == len(right):
        return linear(left, right, c)
    product = linear(left, right)
    scaled = product if alpha == 1.0 else alpha * product
    if c is None or beta == 0.0:
        return scaled.to(a.dtype)
    return (scaled + (c if beta == 1.0 else beta * c)).to(a.dtype)


@operator("Einsum")
def einsum(*operands: Tensor, equation: str) -> Tensor:
    """Einstein sum."""
    return torch.einsum(equation.replace(" ", ""), *operands)


def einsum_of_same_rows(*operands: Tensor, equation: str) -> Tensor:
    """:func:`einsum` for a batch, whose rows do not depend on one another."""
    return sums.einsum(equation, *operands)


@operator("Det")
def determinant(x: Tensor) -> Tensor:
    """Determinant of each matrix."""
    return torch.linalg.det(x)
