"""The twin opened up: past what comes before the network, and what comes after its scores.

Backward pass differentiable approximation (Athalye, Carlini, Wagner 2018, arXiv:1802.00420,
section 4.1) that need not know the defence. A model that hides its gradient in front of a network
or behind it still holds the network: the first tensor that names the classes as the output does is
taken for its scores, the last one that looks like the image for its image, and what is flat in
between gets a slope. It is one more way to find points; whatever it finds is put to the runtime.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, fx

from ..operators.common import with_slope
from .builder import EXECUTION_ERRORS
from .surrogate_slopes import give_slopes

if TYPE_CHECKING:
    from .twin import Twin

AGREEMENT = 0.9
"""Share of images on which inner scores must name the class that the output names."""

LIKENESS = 0.8
"""Mean correlation with the image that an inner image must have."""

SAME = 0.99999
"""Correlation of scores, or share of equal signs of slopes, that leaves nothing to go past."""


@dataclass(frozen=True, slots=True)
class Inner:
    """A twin of what is inside.

    Attributes:
        twin: inputs to inner scores.
        outermost: whether these are the scores of the whole twin.
    """

    twin: Twin
    outermost: bool


def inner_twin(twin: Twin, inputs: Tensor, *, classes: int) -> Inner | None:
    """What is inside ``twin``; None where there is nothing to go past.

    Args:
        twin: the whole.
        inputs: some images as the graph takes them ``(n, ...)``, of several classes.
        classes: how many there are.
    """
    try:
        seen = [_watched(twin.module, row[None], classes) for row in inputs]
        scores = _scores(twin.module, seen, classes)
        image = _image(twin.module, seen, inputs, before=scores)
    except EXECUTION_ERRORS:
        return None
    output = _output(twin.module)
    outermost = scores == output or _alike(seen, scores, output)
    module, changed = _rebuilt(twin.module, image, output if outermost else scores)
    if outermost and not image and not changed:
        return None
    inside = copy(twin)
    inside.module = module
    return Inner(inside, outermost)


class _Watch(fx.Interpreter):
    """Keeps every tensor that may hold an image or scores."""

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
    """Name of the node that the module gives out first."""
    (values,) = next(node.args for node in module.graph.nodes if node.op == "output")
    return str(values[0].name)


def _order(module: fx.GraphModule, seen: list[dict[str, Tensor]]) -> list[str]:
    """Nodes that were seen on every image, in the order in which they are computed."""
    return [n.name for n in module.graph.nodes if all(n.name in one for one in seen)]


def _scores(module: fx.GraphModule, seen: list[dict[str, Tensor]], classes: int) -> str:
    """The first tensor whose largest entry is where the output's is; the output without one."""
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
    """Whether the output is the scores up to a factor and a shift of each image's."""
    return _correlation([one[scores] for one in seen], [one[output] for one in seen]) > SAME


def _image(
    module: fx.GraphModule, seen: list[dict[str, Tensor]], inputs: Tensor, *, before: str
) -> str:
    """The last tensor that looks like the image and does not rise and fall with it; or "".

    Whether it does is seen from the gradient of a random sum of its entries.
    """
    names = [node.name for node in module.graph.nodes]
    order = [n for n in _order(module, seen) if names.index(n) < names.index(before)]
    for name in reversed(order):
        values = [one[name] for one in seen]
        if values[0].shape != inputs[:1].shape or name == names[0]:
            continue
        if _correlation(values, list(torch.split(inputs, 1))) >= LIKENESS:
            return "" if _rises(module, name, inputs[:1]) else name
    return ""


def _rises(module: fx.GraphModule, name: str, row: Tensor) -> bool:
    x = row.detach().clone().requires_grad_()
    watch = _Watch(module, {row.numel()})
    with torch.enable_grad():
        watch.run(x, False)
        inner = watch.seen[name]
        if not inner.requires_grad:
            return False
        way = torch.linspace(-1, 1, row.numel(), device=row.device).roll(7).view_as(row)
        (slope,) = torch.autograd.grad((inner * way).sum(), x)
    return float((slope * way > 0).float().mean()) > SAME - 0.01


def _correlation(some: list[Tensor], others: list[Tensor]) -> float:
    """Correlation of entries, each image's centred first."""
    a, b = (
        torch.cat([(one - one.mean()).flatten().double() for one in rows])
        for rows in (some, others)
    )
    return float((a @ b) / (a.norm() * b.norm()).clamp_min(1e-30))


def _rebuilt(module: fx.GraphModule, image: str, scores: str) -> tuple[fx.GraphModule, int]:
    """The module up to ``scores``, with slopes and a way past ``image``; how many slopes."""
    graph = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    graph.graph_copy(module.graph, copies)
    named = {old.name: new for old, new in copies.items()}
    graph.output((named[scores],))
    graph.eliminate_dead_code()
    inner = named.get(image)
    if inner is not None and inner in set(graph.nodes):
        first = next(node for node in graph.nodes if node.op == "placeholder")
        with graph.inserting_after(inner):
            past = graph.call_function(with_slope, (inner, first))
        inner.replace_all_uses_with(past, delete_user_cb=lambda user: user is not past)
    changed = give_slopes(graph)
    graph.lint()
    return fx.GraphModule(module, graph), changed
