"""Numbers on which two graphs are compared.

This module is imported by a process that must not import torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.random import Generator
    from numpy.typing import NDArray

    Shape = tuple[int, ...]
    Kind = Callable[[Generator, Shape], NDArray[np.float64]]

PERTURBATION = 1e-6
"""Relative size of the changes that show how much a rounding matters."""

DECADES = 4
"""Decades below and above 1 from which the numbers of the widest kind are."""

NEAREST = 6
"""Decades from which the distances from a constant are, in units of its size."""


def _wide(draw: Generator, shape: Shape) -> NDArray[np.float64]:
    return draw.choice([-1.0, 1.0], shape) * 10 ** draw.uniform(-DECADES, DECADES, shape)


KINDS: tuple[Kind, ...] = (
    lambda draw, shape: draw.normal(0, 1, shape),
    lambda draw, shape: draw.normal(0, 0.003, shape),  # an epsilon of 1e-5 matters to its variance
    lambda draw, shape: draw.normal(0, 10 ** draw.uniform(-8, -4), shape),  # smaller ones do here
    lambda draw, shape: draw.uniform(0, 1, shape),
    lambda draw, shape: draw.normal(draw.normal(0, 5), 2, shape),
    lambda draw, shape: draw.normal(0, 40, shape),
    _wide,
)
"""Ways of drawing the numbers of a tensor."""


NUMBERS, MOST_REPEATS = 40_000, 16
"""Of a small graph each kind is drawn several times, until there are so many numbers."""


def near(constants: NDArray[np.float64]) -> Kind:
    """Numbers around those at which a graph may have its kinks, and a share of any size."""

    def draw_near(draw: Generator, shape: Shape) -> NDArray[np.float64]:
        centre = draw.choice(constants, shape) * draw.choice([-1.0, 1.0], shape, p=[0.25, 0.75])
        distance = draw.choice([-1.0, 1.0], shape) * 10 ** draw.uniform(-NEAREST, 0, shape)
        return np.where(draw.random(shape) < 0.9, centre * (1 + distance), _wide(draw, shape))

    return draw_near


def repeated_kinds(size: int, constants: NDArray[np.float64]) -> Iterator[Kind]:
    """The kinds, several times where a graph has only ``size`` numbers.

    Args:
        size: numbers of all tensors together.
        constants: of the graph, near which it may have kinks.
    """
    kinds = (*KINDS, near(constants)) if len(constants) else KINDS
    for _ in range(max(1, min(MOST_REPEATS, NUMBERS // max(1, size)))):
        yield from kinds


def drawn(draw: Generator, kind: Kind, shape: Shape, dtype: str) -> NDArray[np.generic]:
    """Random numbers of a kind, or of the whole range where they are integers."""
    if np.dtype(dtype).kind == "f":
        return np.asarray(kind(draw, shape), dtype)
    limits = np.iinfo(dtype)
    low, high = max(limits.min, -255), min(limits.max, 255)
    return np.asarray(draw.integers(low, high, shape, endpoint=True), dtype)


def perturbed(draw: Generator, x: NDArray[np.generic]) -> NDArray[np.generic]:
    """The numbers changed by about ten roundings each; integers as they are."""
    if x.dtype.kind != "f":
        return x
    factors = 1 + PERTURBATION * draw.uniform(-1, 1, x.shape)
    return np.asarray(x.astype(np.float64) * factors, x.dtype)
