"""Ways back through a traced graph, past operations that leave every element as it is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx

MOVES = frozenset(
    {
        *("_to_copy", "_unsafe_view", "alias", "clone", "contiguous", "detach", "expand"),
        *("permute", "reshape", "slice", "squeeze", "t", "transpose", "unsqueeze", "view"),
    }
)
"""Operations whose outputs are elements of their argument."""

NEUTRAL = {"add": 0, "sub": 0, "mul": 1, "div": 1}
"""The number with which an operation leaves its first argument as it is."""


def operation(node: Any) -> str:
    """Name of the function that a node calls, without its overload."""
    target = getattr(node, "target", None)
    if callable(target) and getattr(target, "__name__", "") == "getitem":
        return "getitem"
    return str(getattr(target, "overloadpacket", target)).removeprefix("aten.").removesuffix("_")


@dataclass(slots=True)
class Walk:
    """Which calls of a graph change nothing.

    A runtime may remove them, and then take what they lie between for one operation.

    Attributes:
        unchanged: calls with a neutral constant, and the argument that they return.
    """

    unchanged: dict[fx.Node, fx.Node] = field(default_factory=dict)

    def note(self, node: fx.Node, name: str, arguments: list[Any]) -> None:
        """Remember whether a call changes its argument.

        Args:
            node: the call.
            name: of its function.
            arguments: what its arguments are.
        """
        name = name.removesuffix("_")
        if name not in NEUTRAL or len(arguments) != 2:
            return
        for at, value in enumerate(arguments):
            turned = at == 0 and name in {"sub", "div"}
            if turned or not isinstance(value, Tensor | float | int):
                continue
            other = node.args[1 - at]
            if isinstance(other, fx.Node) and bool((torch.as_tensor(value) == NEUTRAL[name]).all()):
                self.unchanged[node] = other

    def behind(self, node: Any) -> Any:
        """What a node reads, before elements are moved, or added up with 0 and the like."""
        while True:
            name = operation(node)
            if node in self.unchanged:
                node = self.unchanged[node]
            elif name in MOVES or name in {"getitem", "split_with_sizes"} or _is_filled(node):
                node = node.all_input_nodes[0]
            else:
                return node

    def same(self, first: Any, second: Any) -> bool:
        """Whether two nodes have the same elements in the same places."""
        return self._exact(first) is self._exact(second)

    def _exact(self, node: Any) -> Any:
        while node in self.unchanged:
            node = self.unchanged[node]
        return node


def _is_filled(node: Any) -> bool:
    """Whether a node is another with constants at its end, as functions of vectors get them."""
    if operation(node) != "cat":
        return False
    parts = node.args[0]
    return len(parts) == 2 and operation(parts[1]) == "new_full"
