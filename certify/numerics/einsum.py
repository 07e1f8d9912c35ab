"""Einstein sums whose result for a row has the same bits in a batch of any size."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from .batch_invariant import matmul

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor


def einsum(equation: str, *operands: Tensor) -> Tensor:
    """Einstein sum as by :func:`torch.einsum`; the first axis of the output is the batch.

    A sum of two tensors is a product of matrices, of which one at least belongs to an image.
    Other sums, and equations with an ellipsis or with an axis twice in one tensor, are torch's.
    """
    terms, arrow, output = equation.replace(" ", "").partition("->")
    given = terms.split(",")
    letters = "".join(given)
    if not arrow:
        output = "".join(sorted(one for one in set(letters) if letters.count(one) == 1))
    if len(given) != 2 or "." in equation or not output or any(_repeats(one) for one in given):
        return torch.einsum(equation, *operands)
    pairs = list(zip(given, operands, strict=True))
    if output[0] not in given[0]:
        pairs.reverse()
    (left, a), (right, b) = (_summed(*pairs[at], pairs[1 - at][0] + output) for at in (0, 1))
    return _product(left, a, right, b, output)


def _repeats(letters: str) -> bool:
    return len(set(letters)) < len(letters)


def _summed(letters: str, x: Tensor, kept: str) -> tuple[str, Tensor]:
    """A tensor without the axes that only it has, and the letters of the others."""
    alone = [axis for axis, letter in enumerate(letters) if letter not in kept]
    return "".join(one for one in letters if one in kept), x.sum(alone) if alone else x


def _product(left: str, a: Tensor, right: str, b: Tensor, output: str) -> Tensor:
    """The sum as a product of matrices; the output's first axis is one of ``a``.

    Axes of the product: those of the batch, then the others of ``a``, then the others of ``b``.
    The batch has the axes of both tensors that the output keeps, and the first of the output.
    """
    batch = output[0] + "".join(one for one in left if one in right and one in output[1:])
    inner = [one for one in left if one in right and one not in output]
    rows = [one for one in left if one not in right and one not in batch]
    columns = [one for one in right if one not in left]
    size = dict(zip(left + right, (*a.shape, *b.shape), strict=True))
    shared = [one for one in batch if one in right]
    matrix = [rows] if rows or shared else []  # none: a row of one product for the whole batch
    first = _grouped(a, left, (*([one] for one in batch), *matrix, inner))
    second = _grouped(b, right, (*([one] for one in shared), inner, columns))
    if shared and output[0] not in right:
        second = second[None]
    whole = matmul(first, second).reshape([size[one] for one in (*batch, *rows, *columns)])
    return whole.permute([[*batch, *rows, *columns].index(one) for one in output])


def _grouped(x: Tensor, letters: str, groups: Iterable[Iterable[str]]) -> Tensor:
    """``x`` with its axes in the order of the groups, each group as one axis."""
    together = [list(group) for group in groups]
    order = [letters.index(one) for group in together for one in group]
    shape = [math.prod(x.shape[letters.index(one)] for one in group) for group in together]
    return x.permute(order).reshape(shape)
