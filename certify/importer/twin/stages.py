"""Tensors inside the twin's graph that change with the image along a usable slope.

Layers may hide which class the features of a network are near: votes of the nearest stored images,
for instance, have no slope. The features have one, and stand at an earlier stage of the same graph.
"""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, fx

from .builder import EXECUTION_ERRORS
from .inside_scores import rebuilt

if TYPE_CHECKING:
    from .twin import TwinModule

MOST_NUMBERS = 4096
"""Largest number of entries of a stage; features of a few images are compared entry by entry."""

MOST_STAGES = 6
"""Number of stages, the last ones of the graph."""


def find_stages(twin: TwinModule, inputs: Tensor, *, least: int) -> list[TwinModule]:
    """Parts of ``twin``, each from the model input to one stage, the last stage first.

    A stage is a floating-point tensor of at least ``least`` entries whose gradient at the first of
    ``inputs (n, ...)`` is finite and not 0. Of stages with equally many entries the last counts.
    """
    watch, sizes = _Watch(twin.module), set[int]()
    found: list[TwinModule] = []
    try:
        with torch.no_grad():
            watch.run(inputs[:1], True)
    except EXECUTION_ERRORS:
        return []
    for name, size in reversed(watch.sizes.items()):
        if size in sizes or not least <= size <= MOST_NUMBERS:
            continue
        part = copy(twin)
        part.module, _ = rebuilt(twin.module, "", name)
        if _by_image(part, inputs) and _has_slope(part.module, inputs[:1]):
            found.append(part)
            sizes.add(size)
        if len(found) == MOST_STAGES:
            break
    return found


class _Watch(fx.Interpreter):
    """Keeps the number of entries of every floating-point tensor, in the order of computation."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.sizes = dict[str, int]()

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        computed = n.op not in {"get_attr", "placeholder", "output"}
        if computed and isinstance(result, Tensor) and result.is_floating_point():
            self.sizes[n.name] = result.numel()
        return result


def _by_image(part: TwinModule, inputs: Tensor) -> bool:
    """Whether the first axis of the stage is the image."""
    if not part.batch_free or len(inputs) < 2:
        return True
    try:
        with torch.no_grad():
            both, second = part(inputs[:2]), part(inputs[1:2])
    except EXECUTION_ERRORS:
        return False
    if both.shape[:1] != (2,) or both.shape[1:] != second.shape[1:]:
        return False
    size = float(torch.where(second.isfinite(), second.abs(), 0.0).amax())
    return torch.allclose(both[1:], second, rtol=1e-3, atol=1e-3 * size)


def _has_slope(module: fx.GraphModule, row: Tensor) -> bool:
    x = row.detach().clone().requires_grad_()
    try:
        with torch.enable_grad():
            values = module.forward(x, True)[0]
            if not values.requires_grad:
                return False
            weight = torch.linspace(-1, 1, values.numel(), device=row.device).view_as(values)
            (slope,) = torch.autograd.grad(
                (values * weight).sum(), x, allow_unused=True, materialize_grads=True
            )
    except EXECUTION_ERRORS:
        return False
    return bool(slope.isfinite().all()) and bool((slope != 0).any())
