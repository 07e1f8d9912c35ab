"""Scores inside the twin's graph, with a gradient that bypasses layers which may hide it.

Backward pass differentiable approximation (Athalye, Carlini, Wagner 2018, arXiv:1802.00420,
section 4.1) without knowledge of the defence. A model that hides its gradient by layers in front of
a network or behind it still contains the network: the first tensor whose largest entry agrees with
the predicted class is taken as its scores, the last tensor that correlates with the image as its
input, and flat operators in between get a surrogate slope. The result only proposes points; the
runtime judges them.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, fx

from ..operators.common import with_slope
from .builder import EXECUTION_ERRORS
from .surrogate_slopes import use_surrogate_slopes

if TYPE_CHECKING:
    from .twin import TwinModule

AGREEMENT = 0.9
"""Share of images on which scores inside the graph must give the class that the output gives."""

LIKENESS = 0.8
"""Correlation with the image above which a tensor inside the graph is taken as an image."""

SAME = 0.99999
"""Correlation of scores, or share of equal signs of slopes, above which nothing is hidden."""


@dataclass(frozen=True, slots=True)
class InsideScores:
    """A part of the twin.

    Attributes:
        module: model inputs to scores inside the graph.
        outermost: whether these are the scores of the whole twin.
        own_slopes: whether nothing on the way is bypassed or has a surrogate slope.
    """

    module: TwinModule
    outermost: bool
    own_slopes: bool


def find_inside_scores(twin: TwinModule, inputs: Tensor, *, classes: int) -> InsideScores | None:
    """The part of ``twin`` that computes scores; None where no layer needs to be bypassed.

    Args:
        twin: the whole.
        inputs: some model inputs ``(n, ...)``, of several classes.
        classes: number of classes.
    """
    try:
        seen = [_watched(twin.module, row[None], classes) for row in inputs]
        scores = _scores(twin.module, seen, classes)
        image = _image(twin.module, seen, inputs, before=scores)
    except EXECUTION_ERRORS:
        return None
    output = _output(twin.module)
    outermost = scores == output or _alike(seen, scores, output)
    module, changed = rebuilt(twin.module, image, output if outermost else scores)
    if outermost and not image and not changed:
        return None
    inside = copy(twin)
    inside.module, inside.unfold = module, None
    return InsideScores(inside, outermost, own_slopes=not image and not changed)


class _Watch(fx.Interpreter):
    """Keeps every tensor that may be an image or scores."""

    def __init__(self, module: fx.GraphModule, sizes: set[int]) -> None:
        super().__init__(module)
        self.sizes, self.seen = sizes, dict[str, Tensor]()

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        kept = isinstance(result, Tensor) and result.numel() in self.sizes
        if kept and result.is_floating_point() and n.op != "get_attr":
            self.seen[n.name] = result.clone()  # a later node may overwrite it
        return result


def _watched(module: fx.GraphModule, row: Tensor, classes: int) -> dict[str, Tensor]:
    watch = _Watch(module, {classes, row.numel()})
    with torch.no_grad():
        watch.run(row, True)
    return watch.seen


def _output(module: fx.GraphModule) -> str:
    """Name of the node of the module's first output."""
    (values,) = next(node.args for node in module.graph.nodes if node.op == "output")
    return str(values[0].name)


def _order(module: fx.GraphModule, seen: list[dict[str, Tensor]]) -> list[str]:
    """Nodes recorded on every image, in the order of computation."""
    return [n.name for n in module.graph.nodes if all(n.name in one for one in seen)]


def _scores(module: fx.GraphModule, seen: list[dict[str, Tensor]], classes: int) -> str:
    """The first tensor with the same largest entry as the output; the output if there is none."""
    output = _output(module)
    if output not in seen[0] or seen[0][output].numel() != classes:
        return output
    said = torch.stack([one[output].flatten().argmax() for one in seen])
    if bool((said == said[0]).all()):
        return output
    for name in _order(module, seen):
        values = [one[name].flatten() for one in seen]
        if len(values[0]) == classes and not values[0].isnan().any():
            named = torch.stack([value.argmax() for value in values])
            if float((named == said).float().mean()) >= AGREEMENT:
                return name
    return output


def _alike(seen: list[dict[str, Tensor]], scores: str, output: str) -> bool:
    """Whether the output equals the scores up to a factor and a shift per image."""
    return _correlation([one[scores] for one in seen], [one[output] for one in seen]) > SAME


def _image(
    module: fx.GraphModule, seen: list[dict[str, Tensor]], inputs: Tensor, *, before: str
) -> str:
    """The last tensor that correlates with the image without following its changes; or "".

    Whether it follows them is decided by the gradient of a weighted sum of its entries.
    """
    names = [node.name for node in module.graph.nodes]
    order = [n for n in _order(module, seen) if names.index(n) < names.index(before)]
    for name in reversed(order):
        values = [one[name] for one in seen]
        if values[0].shape != inputs[:1].shape or name == names[0]:
            continue
        if _correlation(values, list(torch.split(inputs, 1))) >= LIKENESS:
            return "" if _follows(module, name, inputs[:1]) else name
    return ""


def _follows(module: fx.GraphModule, name: str, row: Tensor) -> bool:
    x = row.detach().clone().requires_grad_()
    watch = _Watch(module, {row.numel()})
    with torch.enable_grad():
        watch.run(x, False)
        inside = watch.seen[name]
        if not inside.requires_grad:
            return False
        weight = torch.linspace(-1, 1, row.numel(), device=row.device).roll(7).view_as(row)
        (slope,) = torch.autograd.grad((inside * weight).sum(), x)
    return float((slope * weight > 0).float().mean()) > SAME - 0.01


def _correlation(some: list[Tensor], others: list[Tensor]) -> float:
    """Correlation of entries after the mean of each image is subtracted."""
    a, b = (
        torch.cat([(one - one.mean()).flatten().double() for one in rows])
        for rows in (some, others)
    )
    return float((a @ b) / (a.norm() * b.norm()).clamp_min(1e-30))


def rebuilt(module: fx.GraphModule, image: str, scores: str) -> tuple[fx.GraphModule, int]:
    """The module up to the node ``scores`` with a bypass to the node ``image``, if one is named.

    The second value is the number of its surrogate slopes.
    """
    graph = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    graph.graph_copy(module.graph, copies)
    named = {old.name: new for old, new in copies.items()}
    graph.output((named[scores],))
    graph.eliminate_dead_code()
    inside = named.get(image)
    if inside is not None and inside in set(graph.nodes):
        first = next(node for node in graph.nodes if node.op == "placeholder")
        with graph.inserting_after(inside):
            bypass = graph.call_function(with_slope, (inside, first))
        inside.replace_all_uses_with(bypass, delete_user_cb=lambda user: user is not bypass)
    changed = use_surrogate_slopes(graph)
    graph.lint()
    return fx.GraphModule(module, graph), changed
