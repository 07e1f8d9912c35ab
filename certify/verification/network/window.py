"""Windows: the part of an operation's output in which coefficients may differ from 0.

A window is a range ``(start, stop)`` for each axis; None is the whole output. One element of a
convolution's output depends on a small window of its argument, so that propagating coefficients by
windows saves most of the work on large images.
"""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor

Window = tuple[tuple[int, int], ...]


def by_row(values: Tensor) -> Tensor:
    """``values (n, ...)`` as a matrix ``(n, m)``, one row each; a number each has m = 1."""
    return values.flatten(1) if values.ndim > 1 else values[:, None]


def narrowed(window: Window, shape: tuple[int, ...]) -> Window | None:
    """The window, or None if it is all of ``shape``.

    >>> narrowed(((0, 1), (2, 4)), (1, 6)), narrowed(((0, 1), (0, 6)), (1, 6))
    (((0, 1), (2, 4)), None)
    """
    return None if window == tuple((0, n) for n in shape) else window


def window_shape(window: Window | None, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Shape of the window of an output of ``shape``."""
    return shape if window is None else tuple(stop - start for start, stop in window)


def window_size(window: Window | None, shape: tuple[int, ...]) -> int:
    """Number of its elements."""
    return prod(window_shape(window, shape))


def cut(values: Tensor, window: Window | None) -> Tensor:
    """The part of ``values (..., *shape)`` inside the window; no copy."""
    if window is None:
        return values
    for axis, (start, stop) in enumerate(window, start=values.ndim - len(window)):
        if stop - start < values.shape[axis]:
            values = values.narrow(axis, start, stop - start)
    return values


def joined(first: Window | None, second: Window | None) -> Window | None:
    """The smallest window that holds both.

    >>> joined(((0, 2),), ((5, 6),))
    ((0, 6),)
    """
    if first is None or second is None:
        return None
    return tuple((min(a, c), max(b, d)) for (a, b), (c, d) in zip(first, second, strict=True))


def widened(
    rows: Tensor, window: Window | None, larger: Window | None, shape: tuple[int, ...]
) -> Tensor:
    """Coefficients ``(r, *window)`` on a larger window of an output of ``shape``: zeros around."""
    if window == larger:
        return rows
    assert window is not None
    found = rows.new_zeros(len(rows), *window_shape(larger, shape))
    starts = [0] * len(shape) if larger is None else [start for start, _ in larger]
    inside = tuple((a - s, b - s) for (a, b), s in zip(window, starts, strict=True))
    cut(found, inside).copy_(rows)
    return found


def enclosing(positions: Tensor, shape: tuple[int, ...]) -> Window:
    """The smallest window of ``shape`` that holds elements at flat ``positions`` (at least one)."""
    found = []
    for n in reversed(shape):
        along = positions % n
        positions = torch.div(positions, n, rounding_mode="floor")
        found.append((int(along.min()), int(along.max()) + 1))
    return tuple(reversed(found))


def positions_within(positions: Tensor, window: Window, shape: tuple[int, ...]) -> Tensor:
    """Flat positions of elements of ``shape`` as flat positions inside the window."""
    found = torch.zeros_like(positions)
    step = 1
    for n, (start, stop) in zip(reversed(shape), reversed(window), strict=True):
        found += (positions % n - start) * step
        positions = torch.div(positions, n, rounding_mode="floor")
        step *= stop - start
    return found


def inner(rows: Tensor, values: Tensor | None, window: Window | None = None) -> Tensor:
    """``sum(rows * values)`` of each row on the window, added up in float64."""
    if values is None:
        return torch.zeros(len(rows), dtype=torch.float64, device=rows.device)
    weighted = rows * cut(values, window).to(rows.dtype)
    return by_row(weighted).sum(1, dtype=torch.float64)
