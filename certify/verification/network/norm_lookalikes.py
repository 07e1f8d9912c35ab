"""Layer normalisation spelled out, of which ONNX Runtime reads less than it replaces.

LayerNormFusion takes ``ReduceMean, Sub, Pow, ReduceMean, Add, Sqrt, Div`` for layer normalisation,
SimplifiedLayerNormFusion the same without the mean. They do not look at the order of the arguments
of Sub and Div, the first not at the exponent. Epsilon they read only where it is the second term of
its sum and no input of the graph as well, and of several numbers the first; elsewhere they take
their default. SkipLayerNormFusion does not look at the axes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from robcert.certify.model import OverridableNode, source_of

from .walk import Walk, operation

EPSILON = float(np.float32(1e-5))
"""ONNX Runtime's default of a layer normalisation."""

UNREAD_EPSILON = "has an epsilon that runtimes read only where it follows the variance"
UNREAD_ORDER = (
    "divides as layer normalisation does, for which runtimes take it, but by another rule"
)
UNREAD_AXES = "normalises several axes, of which runtimes may take the last one alone"


@dataclass(slots=True)
class NormLookalikes:
    """What may be a part of layer normalisation.

    Attributes:
        walk: calls that change nothing.
        sums: sums with one constant, and their other term.
        inverses: constants divided by another output, and that output.
        unread: sums and powers whose constant a runtime may take for another.
    """

    walk: Walk
    sums: dict[fx.Node, fx.Node] = field(default_factory=dict)
    inverses: dict[fx.Node, fx.Node] = field(default_factory=dict)
    unread: set[fx.Node] = field(default_factory=set)

    def misread(self, node: fx.Node, name: str, arguments: list[Any]) -> str:
        """What a runtime does not read of the call ``node``; empty if nothing.

        Args:
            node: the call.
            name: of its function.
            arguments: what its arguments are.
        """
        name = name.removesuffix("_")
        source = source_of(node)
        if name == "mean" and source is not None and source.operator == "LayerNormalization":
            return UNREAD_AXES if len(arguments[1]) > 1 else ""
        self._note(node, name, arguments)
        for numerator, deviation in self._quotients(node, name):
            if deviation in self.unread:
                return UNREAD_EPSILON
            if not self._standardises(numerator, deviation):
                return UNREAD_ORDER
        if name == "div" and self._deviation(node.args[0]) is not None:
            turned = operation(self.walk.behind(node.args[1])) == "sub"
            return UNREAD_ORDER if turned else ""
        return ""

    def _note(self, node: fx.Node, name: str, arguments: list[Any]) -> None:
        if name not in {"add", "div", "pow"} or len(arguments) != 2:
            return
        constants = [i for i, value in enumerate(arguments) if isinstance(value, Tensor | float)]
        if name == "pow" and not (constants == [1] and _all_are(arguments[1], 2)):
            self.unread.add(node)
        if len(constants) != 1:
            return
        (at,), value = constants, arguments[constants[0]]
        other = node.args[1 - at]
        assert isinstance(other, fx.Node)
        if name == "div" and at == 0:
            self.inverses[node] = other
        if name == "add":
            self.sums[node] = other
            alike = _all_are(value, torch.as_tensor(value).flatten()[0])
            stated = at == 1 and not isinstance(source_of(node), OverridableNode)
            if not (stated and alike) and not _all_are(value, EPSILON):
                self.unread.add(node)

    def _quotients(self, node: fx.Node, name: str) -> list[tuple[Any, fx.Node]]:
        """What ``node`` divides by a root of a mean square, and the sum under the root."""
        if name == "div" and node not in self.inverses:
            pairs = [(node.args[0], node.args[1])]
        elif name == "mul":
            inside = [(node.args[i], self.walk.behind(node.args[1 - i])) for i in (0, 1)]
            pairs = [(x, self.inverses[y]) for x, y in inside if y in self.inverses]
        else:
            return []
        found = [(numerator, self._deviation(below)) for numerator, below in pairs]
        return [(numerator, total) for numerator, total in found if total is not None]

    def _deviation(self, node: Any) -> fx.Node | None:
        """The sum of a mean and a constant of which ``node`` is the root, if it is one."""
        root = self.walk.behind(node)
        if operation(root) != "sqrt":
            return None
        total = self.walk.behind(root.args[0])
        mean = self.walk.behind(self.sums.get(total))
        return total if operation(mean) == "mean" else None

    def _standardises(self, numerator: Any, total: fx.Node) -> bool:
        """Whether the quotient is what a runtime may take it for."""
        mean = self.walk.behind(self.sums[total])
        squares = self.walk.behind(mean.args[0])
        of = squares.args[0] if operation(squares) in {"mul", "pow", "square"} else None
        parts = [self.walk.behind(part) for part in (numerator, of)]
        return squares not in self.unread and all(map(self._is_centred, parts))

    def _is_centred(self, node: Any) -> bool:
        """Whether ``node`` is no difference from a mean, or from its own."""
        if operation(node) != "sub":
            return True
        x, mean = node.args[0], self.walk.behind(node.args[1])
        if operation(mean) == "mean":
            return self.walk.same(mean.args[0], x)
        return operation(self.walk.behind(x)) != "mean"


def _all_are(value: Any, number: Any) -> bool:
    return bool((torch.as_tensor(value) == number).all())
