"""The table of operators: from a node of the graph and its inputs to what it becomes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import helper

from .network import MOST_ELEMENTS, Symbol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import onnx
    from numpy.typing import NDArray

    from .builder import Builder

    Array = NDArray[np.float64]
    Constant = NDArray[Any]
    Value = Symbol | Constant

RULES: dict[str, Callable[..., Symbol | NDArray[Any]]] = {}


def rule(*names: str) -> Callable[[Callable[..., Value]], Callable[..., Value]]:
    """Enter a function as the rule of operators."""

    def enter(function: Callable[..., Value]) -> Callable[..., Value]:
        for name in names:
            RULES[name] = function
        return function

    return enter


@dataclass(frozen=True, slots=True, eq=False)
class Operator:
    """A node of the graph.

    Attributes:
        builder: receives what it becomes.
        node: the node.
        opset: version of the operators.
        sole_reader: whether no other node reads its first input.
    """

    builder: Builder
    node: onnx.NodeProto
    opset: int
    sole_reader: bool = False

    def attribute(self, name: str, default: Any = None) -> Any:
        """An attribute of the node."""
        for each in self.node.attribute:
            if each.name == name:
                return helper.get_attribute_value(each)
        return default

    def integers(self, name: str, given: Value | None = None) -> list[int] | None:
        """Whole numbers that are an input in newer operator sets and an attribute in older ones."""
        if given is None:
            found = self.attribute(name)
            return None if found is None else [int(n) for n in np.atleast_1d(found)]
        if isinstance(given, Symbol):
            message = f"its {name} depends on the image"
            raise self.builder.refuse(message)
        return [int(n) for n in given.ravel()]

    def floats(self, value: Value) -> Array:
        """Stored numbers, which must be finite and float32.

        Raises:
            UncheckableModelError: they are not.
        """
        if isinstance(value, Symbol):
            message = "the checker needs a constant here"
            raise self.builder.refuse(message)
        if value.dtype != np.float32 or not bool(np.isfinite(value).all()):
            message = "its constants must be finite float32 numbers"
            raise self.builder.refuse(message)
        return value.astype(np.float64)


def moved(of: Operator, values: Sequence[Value], move: Callable[..., Any]) -> Value:
    """``move`` of the values: each element of what it returns must be an element of one of them."""
    symbols = [value for value in values if isinstance(value, Symbol)]
    if not symbols:
        return np.asarray(move(*values))
    numbered: list[Any] = []
    pool: list[Array] = []
    first = constants = 0
    for value in values:
        if isinstance(value, Symbol):
            numbered.append(np.arange(first, first + value.size).reshape(value.shape))
            first += value.size
        else:
            pool.append(of.floats(value).ravel())
            numbered.append(-1 - np.arange(constants, constants + value.size).reshape(value.shape))
            constants += value.size
    index = np.asarray(move(*numbered), np.int64)
    return of.builder.chosen(symbols, index, np.concatenate(pool) if pool else None)


def require_small(of: Operator, size: int) -> None:
    """Raise where a tensor of ``size`` elements is too large."""
    if size > MOST_ELEMENTS:
        message = "the model is too large for the checker"
        raise of.builder.refuse(message)
