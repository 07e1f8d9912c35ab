"""Operators with products, and those that give a row the same bits in every batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from robcert.certify.numerics import batch_invariant as rows

from .linear import einsum, einsum_of_same_rows, gemm, gemm_of_same_rows
from .microsoft import (
    fused_gemm,
    fused_gemm_of_same_rows,
    fused_product,
    fused_product_of_same_rows,
)

if TYPE_CHECKING:
    from collections.abc import Callable

SAME_ROWS: dict[Callable[..., Any], Callable[..., Any]] = {
    torch.matmul: rows.matmul,
    gemm: gemm_of_same_rows,
    einsum: einsum_of_same_rows,
    fused_gemm: fused_gemm_of_same_rows,
    fused_product: fused_product_of_same_rows,
}
