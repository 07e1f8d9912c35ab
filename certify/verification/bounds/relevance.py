"""Elements that can change the scores: others need no better bounds than intervals."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from ..network import Affine, Input, Relu
from ..relaxations import InvalidIntervalError, OutsideDomainError
from .intervals import UnboundedError, extend

if TYPE_CHECKING:
    from torch import Tensor

    from .propagation import Bounds


def relevant(bounds: Bounds) -> list[Tensor | None]:
    """Which elements of each operation's output a score may depend on.

    Behind a ReLU whose input is negative on the whole region nothing is left of an element.
    Operations without bounds get intervals for this. It only decides what is worth computing:
    all bounds hold whatever it says.

    Returns:
        True where an element matters, of each operation's shape; None if all may.
    """
    network = bounds.network
    ahead = _completed(bounds)
    found: list[Tensor | None] = [None] * len(network.nodes)
    if ahead is None:
        return found
    generator = torch.Generator().manual_seed(0)
    shape = network.nodes[network.output].shape
    # random numbers cancel only where every coefficient does
    waiting = {network.output: torch.rand(1, *shape, generator=generator, dtype=torch.float64)}
    for at in range(network.output, -1, -1):
        if at not in waiting:
            found[at] = torch.zeros(network.nodes[at].shape, dtype=torch.bool)
            continue
        rows, node = waiting.pop(at), network.nodes[at]
        found[at] = rows[0] != 0
        if isinstance(node, Input):
            continue
        if isinstance(node, Affine):
            parts = node.transpose(rows)
        elif isinstance(node, Relu):
            lower, upper = ahead.lower[node.parents[0]], ahead.upper[node.parents[0]]
            some = torch.rand(node.shape, generator=generator, dtype=torch.float64)
            parts = (rows * torch.where(lower >= 0, 1.0, torch.where(upper > 0, some, 0.0)),)
        else:
            parts = (rows,) * len(node.parents)
        for parent, part in zip(node.parents, parts, strict=True):
            waiting[parent] = waiting[parent] + part if parent in waiting else part
    return found


def _completed(bounds: Bounds) -> Bounds | None:
    """The bounds, with intervals for the operations that have none; None where that fails."""
    ahead = replace(
        bounds,
        lower=list(bounds.lower),
        upper=list(bounds.upper),
        errors=list(bounds.errors),
        sizes=list(bounds.sizes),
        runs=dict(bounds.runs),
        squares=dict(bounds.squares),
        scales=dict(bounds.scales),
        tightened={},
        _pieces={},
        _slack={},
        _exact={},
        _underflow={},
    )
    try:
        while len(ahead.lower) < len(bounds.network.nodes):
            extend(ahead)
    except (UnboundedError, OutsideDomainError, InvalidIntervalError):
        return None
    return ahead
