"""Bounds of all operations: intervals, and linear bounds where they help."""

from __future__ import annotations

import time
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..network import Affine, Input, Network, Relu, Weighted, positions_within, window_shape
from ..outcome import Method
from .intervals import extend
from .propagation import MEMORY, Bounds, OutOfTimeError
from .relevance import relevant
from .tiles import tiled

if TYPE_CHECKING:
    from .region import Region
    from .rounding import Rounding

LOOSENING = 1e-9
"""Relative amount by which computed bounds are loosened before they are used, so that another
computation of them in float64, with other rounding, confirms them."""

FEW = 256
"""Elements that are bounded without a look at which of them matter; nor are those of operations
behind one where all did."""


def propagate(
    network: Network,
    region: Region,
    rounding: Rounding,
    *,
    method: Method = Method.CROWN,
    deadline: float = float("inf"),
    wider: Bounds | None = None,
) -> Bounds:
    """Bounds of every operation.

    Args:
        network: the operations.
        region: the inputs.
        rounding: what is allowed for.
        method: ``INTERVAL`` for intervals only; any other for linear bounds where they help.
        deadline: ``time.monotonic()`` after which it stops.
        wider: bounds over another region; what they decide is not computed again if that region
            contains this one.

    Raises:
        OutOfTimeError: the deadline passed.
    """
    bounds = Bounds(network, region, rounding)
    readers = _nonlinear_readers(network)
    matters, values, looks = None, None, True
    if wider is not None and not region.lies_in(wider.region):
        wider = None
    for at in range(len(network.nodes)):
        extend(bounds)
        if wider is not None:
            bounds.lower[at] = torch.maximum(bounds.lower[at], wider.lower[at])
            bounds.upper[at] = torch.minimum(bounds.upper[at], wider.upper[at])
        if at in readers and method is not Method.INTERVAL and not _exact(network, region, at):
            units = _open(bounds, at, readers[at], matters)
            if len(units) > FEW and looks:
                matters, found = relevant(bounds), len(units)
                units = _open(bounds, at, readers[at], matters)
                looks = len(units) < found
            if len(units) and readers[at] and values is None:
                values = network.values(region.centre[None])
            if len(units):
                centre = values[at] if values is not None and readers[at] else None
                _tighten(bounds, at, units, centre, deadline)
        if time.monotonic() > deadline:
            raise OutOfTimeError(at)
    return bounds


def _open(bounds: Bounds, at: int, by_sign: bool, matters: list[Tensor | None] | None) -> Tensor:
    """Elements of an operation's output that better bounds may help."""
    lower, upper = bounds.lower[at], bounds.upper[at]
    found = (lower < 0) & (upper > 0) if by_sign else upper > lower
    mask = None if matters is None else matters[at]
    found = found if mask is None else found & mask
    return found.flatten().nonzero().flatten()


def _nonlinear_readers(network: Network) -> dict[int, bool]:
    """Operations that a non-linear one reads; True where the sign alone decides (ReLU)."""
    found: dict[int, bool] = {}
    for node in network.nodes:
        if not isinstance(node, Affine | Input):
            for parent in node.parents:
                found[parent] = found.get(parent, True) and isinstance(node, Relu)
    return found


def _exact(network: Network, region: Region, at: int) -> bool:
    """Whether intervals are exact: an affine chain of the input in linf."""
    from robcert.certify.core import Norm

    if region.norm is not Norm.LINF:
        return False
    reads, products = at, 0
    while isinstance(network.nodes[reads], Affine):
        parents = network.nodes[reads].parents
        if len(parents) != 1:
            return False
        products += isinstance(network.nodes[reads], Weighted)
        (reads,) = parents
    return isinstance(network.nodes[reads], Input) and products <= 1


def _tighten(
    bounds: Bounds, at: int, units: Tensor, centre: Tensor | None, deadline: float
) -> None:
    """Replace the intervals of elements of an operation's output by linear bounds.

    Args:
        bounds: of all operations up to this one.
        at: position of the operation.
        units: flat positions of the elements.
        centre: values of the output at one input of the region, if only signs count. An element of
            known sign has the sign of its value, so the bound that can show this comes first, and
            the other only where it is still open.
        deadline: ``time.monotonic()`` after which it stops.
    """
    if centre is None:
        sides = torch.ones(len(units), dtype=torch.float64)
    else:
        sides = torch.where(centre.flatten()[units] > 0, 1.0, -1.0).double()
    improved = _Improved(bounds.lower[at].flatten().clone(), bounds.upper[at].flatten().clone())
    improved.take(units, sides, _linear_minima(bounds, at, units, sides, deadline))
    rest = slice(None) if centre is None else improved.is_open(units)
    left, sides = units[rest], -sides[rest]
    if len(left):
        improved.take(left, sides, _linear_minima(bounds, at, left, sides, deadline))
    bounds.lower[at] = improved.lower.view_as(bounds.lower[at])
    bounds.upper[at] = improved.upper.view_as(bounds.upper[at])
    bounds.tightened[at] = units


@dataclass(frozen=True, slots=True, eq=False)
class _Improved:
    """Bounds of an output in work, flat."""

    lower: Tensor
    upper: Tensor

    def is_open(self, units: Tensor) -> Tensor:
        """Which of the elements may have either sign."""
        return (self.lower[units] < 0) & (self.upper[units] > 0)

    def take(self, units: Tensor, sides: Tensor, minima: Tensor) -> None:
        """Use lower bounds of the elements times ``sides``, where they are better."""
        found = minima - LOOSENING * (1 + minima.abs())
        above, below = units[sides > 0], units[sides < 0]
        self.lower[above] = torch.maximum(self.lower[above], found[sides > 0])
        self.upper[below] = torch.minimum(self.upper[below], -found[sides < 0])


def _linear_minima(
    bounds: Bounds, at: int, units: Tensor, sides: Tensor, deadline: float
) -> Tensor:
    """Lower bounds of the elements ``units`` of an operation's output, each times its side."""
    node, dtype = bounds.network.nodes[at], bounds.rounding.dtype
    found = torch.empty(len(units), dtype=torch.float64)
    for window, members in tiled(bounds.network, at, units):
        shape = window_shape(window, node.shape)
        places = units[members]
        if window is not None:
            places = positions_within(places, window, node.shape)
        size = prod(shape)
        step = max(1, MEMORY // (size * dtype.itemsize))
        minima = []
        for place, side in zip(
            torch.split(places, step), torch.split(sides[members], step), strict=True
        ):
            rows = torch.zeros(len(place), size, dtype=dtype)
            rows[torch.arange(len(place)), place] = side.to(dtype)
            rows = rows.view(len(place), *shape)
            minima.append(bounds.minima(at, rows, window, deadline=deadline))
        found[members] = torch.cat(minima)
    return found
