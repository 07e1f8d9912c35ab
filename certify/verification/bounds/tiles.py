"""Tiles of an operation's output, whose elements depend on one window of every other operation.

Elements of one tile are bounded together: their coefficients fill the window that the tile depends
on, which for small tiles of a convolution is a small part of an image.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ..network import Affine, joined, window_size
from ..network.window import narrowed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from ..network import Network, Window

SIDES = (1, 2, 3, 4, 6, 8, 12, 16)
"""Sides of tiles that are compared."""

PER_OPERATION, PER_ELEMENT, PER_TERM = 1e-4, 4e-9, 1e-10
"""About the seconds for one operation of one tile, for one of its coefficients, and for one term of
the sum that a coefficient is."""


def window_sizes(network: Network, start: int, window: Window | None) -> list[tuple[int, int]]:
    """Operations that a window of the output of ``start`` depends on, and how much of each.

    Returns:
        Positions, and numbers of elements of the windows.
    """
    known = network.window_sizes
    if (start, window) not in known:
        known[start, window] = _window_sizes(network, start, window)
    return known[start, window]


def _window_sizes(network: Network, start: int, window: Window | None) -> list[tuple[int, int]]:
    waiting: dict[int, Window | None] = {start: window}
    found = []
    for at in range(start, -1, -1):
        if at not in waiting:
            continue
        node, window = network.nodes[at], waiting.pop(at)
        found.append((at, window_size(window, node.shape)))
        reads = node.reads(window) if isinstance(node, Affine) else (window,) * len(node.parents)
        for parent, read in zip(node.parents, reads, strict=True):
            waiting[parent] = joined(waiting[parent], read) if parent in waiting else read
    return found


def tiled(network: Network, at: int, units: Tensor) -> Iterator[tuple[Window | None, Tensor]]:
    """The elements ``units`` of an output, tile by tile.

    Yields:
        The tile, None for the whole output; and which of ``units`` it holds.
    """
    shape = network.nodes[at].shape
    side = _best_side(network, at, len(units))
    if side is None:
        yield None, torch.arange(len(units))
        return
    height, width = shape[2:4]
    rest = units.numel() and torch.tensor(shape[3:]).prod()
    rows = torch.div(units, rest, rounding_mode="floor") % height
    columns = torch.div(units, rest // width, rounding_mode="floor") % width
    across = -(-width // side)
    tiles = torch.div(rows, side, rounding_mode="floor") * across
    tiles += torch.div(columns, side, rounding_mode="floor")
    for tile in sorted(set(tiles.tolist())):
        top, left = side * (tile // across), side * (tile % across)
        members = (tiles == tile).nonzero().flatten()
        yield _tile(shape, side, top, left), members


def _tile(shape: tuple[int, ...], side: int, top: int, left: int) -> Window | None:
    """The tile of an output ``(n, c, h, w, ...)`` at a place."""
    rows, columns = (top, min(shape[2], top + side)), (left, min(shape[3], left + side))
    others = [(0, n) for n in shape]
    return narrowed((*others[:2], rows, columns, *others[4:]), shape)


def _best_side(network: Network, at: int, n_units: int) -> int | None:
    """Side of the tiles with the least work; None for the whole output at once."""
    shape = network.nodes[at].shape
    if len(shape) < 4 or not n_units:
        return None
    best, least = None, _seconds(network, at, None, 1, n_units)
    for side in SIDES:
        if side >= max(shape[2:4]):
            break
        height, width = -(-shape[2] // side), -(-shape[3] // side)
        top, left = side * ((height - 1) // 2), side * ((width - 1) // 2)
        tile = _tile(shape, side, top, left)
        n_tiles = min(height * width, n_units)
        found = _seconds(network, at, tile, n_tiles, n_units)
        if found < least:
            best, least = side, found
    return best


def _seconds(network: Network, at: int, tile: Window | None, n_tiles: int, n_units: int) -> float:
    """About the time to bound ``n_units`` elements that lie in ``n_tiles`` tiles."""
    total = 0.0
    for position, size in window_sizes(network, at, tile):
        node = network.nodes[position]
        terms = node.terms if isinstance(node, Affine) else 1
        total += n_tiles * PER_OPERATION + n_units * size * (PER_ELEMENT + PER_TERM * terms)
    return total
