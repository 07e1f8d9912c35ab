"""Einstein sums by products whose rows have the same bits in every batch."""

from __future__ import annotations

import pytest
import torch

from robcert.certify.numerics.einsum import einsum

SIZES = {"b": 4, "c": 3, "d": 5, "h": 2, "k": 6, "w": 7}

EQUATIONS = [
    "bc,ck->bk",
    "ck,bc->bk",
    "bc,kc->bk",
    "bchw,wk->bchk",
    "ck,bchw->bkhw",
    "bchw,chwk->bk",
    "bchw,bdhw->bcd",
    "bchw,bdhw->bdc",
    "bhcw,bhdw->bhcd",
    "bcd,bd->bc",
    "bhc,hck->bhk",
    "bc,bc->b",
    "bc,bk->bck",
    "bch,k->bk",
    "bc,k->bkc",
    "kb, kc -> bc",
    "bc,cd",
    "bchw->bhc",
    "bc,ck,kd->bd",
    "bb,bc->bc",
    "...c,ck->...k",
]


@pytest.mark.parametrize("equation", EQUATIONS)
def test_sums_are_those_of_torch(equation: str) -> None:
    draw = torch.Generator().manual_seed(0)
    terms = equation.partition("->")[0].replace(" ", "").replace("...", "bh").split(",")
    shapes = [[SIZES[letter] for letter in term] for term in terms]
    operands = [torch.randn(shape, generator=draw, dtype=torch.float64) for shape in shapes]
    expected = torch.einsum(equation, *operands)
    torch.testing.assert_close(einsum(equation, *operands), expected)
