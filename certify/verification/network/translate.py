"""From a traced graph to a :class:`Network`: one rule for each operation of torch.

Operations that only move elements need no rule of their own: they are run on the numbers of the
elements. Piecewise linear functions become sums of ReLUs, so that branch and bound can split all of
them; softmax and the norms of layers become exponentials, reciprocals and products.
"""

from __future__ import annotations

import operator as python
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, fx

from robcert.certify.errors import UnsupportedOperatorError
from robcert.certify.model import source_of

from .combination import Combination
from .constants import Constants
from .network import Network
from .nodes import Activation, Affine, Input, Node, Product, Relu
from .rules import MOVES, RULES, Negative
from .selection import Select
from .weights import Dense

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from robcert.certify.model import GraphNode

    from ..relaxations import Relaxation


@dataclass(frozen=True, slots=True)
class Symbol:
    """The output of an operation that depends on the input.

    Attributes:
        at: position of the operation in the network.
        shape: shape of the output.
    """

    at: int
    shape: tuple[int, ...]

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)


Value = Any
"""A symbol, a tensor that does not depend on the input, a number, or a list of these."""


def translated(
    module: fx.GraphModule, x: Tensor, *, real: bool = False, updates: bool = False
) -> Network:
    """The network of a traced function; its constants are in float64.

    Args:
        module: graph of elementary operations.
        x: the input ``(1, *shape)`` with which it was traced.
        real: whether constants that the graph computes stand for their exact values, or for those
            of any float32 evaluation.
        updates: whether means may be updated element by element.

    Raises:
        UnsupportedOperatorError: an operation has no linear bounds.
    """
    builder = NetworkBuilder(constants=Constants(real=real), updates=updates)
    values: dict[fx.Node, Value] = {}
    for node in module.graph.nodes:
        if node.op == "placeholder":
            values[node] = builder.input(tuple(x.shape))
        elif node.op == "get_attr":
            values[node] = builder.constants.stored(node, getattr(module, str(node.target)))
        elif node.op == "output":
            return builder.finished(_resolved(node.args[0], values))
        else:
            arguments = [_resolved(argument, values) for argument in node.args]
            keywords = {name: _resolved(value, values) for name, value in node.kwargs.items()}
            builder.source = source_of(node)
            try:
                values[node] = builder.call(node, arguments, keywords)
            except UnsupportedOperatorError as error:
                raise _placed(error, builder.source) from error
    message = "the traced graph has no output"
    raise UnsupportedOperatorError(message)


def _placed(error: UnsupportedOperatorError, source: GraphNode | None) -> UnsupportedOperatorError:
    """The error with the node of the model's graph at which it arose."""
    if source is None:
        return error
    return UnsupportedOperatorError(f"{source.described}: {error}", hint=error.hint)


def _resolved(argument: Value, values: dict[fx.Node, Value]) -> Value:
    return fx.node.map_arg(argument, lambda node: values[node])


def _compares(value: Value) -> bool:
    """Whether a comparison is among arguments."""
    if isinstance(value, list | tuple):
        return any(map(_compares, value))
    return isinstance(value, Negative)


def symbols_in(value: Value) -> list[Symbol]:
    """The symbols in an argument."""
    if isinstance(value, Symbol):
        return [value]
    if isinstance(value, Negative):
        return [value.of]
    if isinstance(value, list | tuple):
        return [symbol for item in value for symbol in symbols_in(item)]
    return []


@dataclass(slots=True)
class NetworkBuilder:
    """Collects operations.

    Attributes:
        nodes: those so far.
        operation: name of the traced operation that is being translated.
        source: node of the model's graph that it is a part of, if known.
        constants: the constants that the graph computes.
        inner: whether what is added is a part of an operation with an error of its own.
        wide: whether the first argument of the current operation is in float64.
        updates: whether means may be updated element by element.
    """

    nodes: list[Node] = field(default_factory=list)
    operation: str = ""
    source: GraphNode | None = None
    constants: Constants = field(default_factory=Constants)
    inner: bool = False
    wide: bool = False
    updates: bool = False

    @property
    def label(self) -> str:
        """What is being translated, in words."""
        return self.source.described if self.source else f"operation {self.operation!r}"

    def attribute(self, value: float) -> float:
        """A number that an operator states, which ONNX has in float32."""
        return value if self.source is None else float(np.float32(value))

    @contextmanager
    def parts(self) -> Iterator[None]:
        """What is added meanwhile is a part of one operation that rounds nothing or states it."""
        before, self.inner = self.inner, True
        try:
            yield
        finally:
            self.inner = before

    @contextmanager
    def further_roundings(self, count: int) -> Iterator[None]:
        """Sums that are added meanwhile have so many roundings more than terms."""
        before = self.constants.roundings
        self.constants.roundings += count
        try:
            yield
        finally:
            self.constants.roundings = before

    def input(self, shape: tuple[int, ...]) -> Symbol:
        """The network's input."""
        return self.add(Input((), shape, "input"))

    def add(self, node: Node) -> Symbol:
        """The output of a new operation."""
        node = replace(node, inner=self.inner)
        self.nodes.append(self.constants.counted(node, len(self.nodes)))
        return Symbol(len(self.nodes) - 1, node.shape)

    def finished(self, output: Value) -> Network:
        """The network with the scores ``output``."""
        if not isinstance(output, Symbol):
            message = "the scores do not depend on the image"
            raise UnsupportedOperatorError(message)
        return replace(_without_unused(self.nodes, output.at), obstacle=self.constants.obstacle)

    @staticmethod
    def _require_certain(target: Any) -> None:
        if torch.Tag.nondeterministic_seeded in getattr(target, "tags", ()):
            message = f"operation {target} is random: nothing is certain"
            raise UnsupportedOperatorError(message, hint="smoothing certifies random models")

    def call(self, node: fx.Node, arguments: list[Value], keywords: dict[str, Value]) -> Value:
        """The output of a traced call.

        Args:
            node: the call.
            arguments: what its arguments became.
            keywords: what its further arguments became.
        """
        target: Any = node.target
        known = not symbols_in([*arguments, *keywords.values()])
        if target is python.getitem and not known:
            return arguments[0][arguments[1]]
        self.operation = name = _name(target)
        self._require_certain(target)
        if known:
            return self.constants.compute(node, name, arguments, keywords)
        if name == "clone" and self.source and self.source.operator in {"Cast", "CastLike"}:
            message = "arithmetic with integers, which may wrap around, has no linear bounds"
            raise UnsupportedOperatorError(message)
        self.wide = any(_is_wide(argument) for argument in node.args[:1])
        arguments = self.constants.enter(node, name, arguments, self.label)
        found = self._translated(target, arguments, keywords)
        self.constants.leave(self.label)
        return found

    def _translated(self, target: Any, arguments: list[Value], keywords: dict[str, Value]) -> Value:
        """The output of a call with symbols."""
        name = self.operation
        rule = RULES.get(name)
        compared = _compares([*arguments, *keywords.values()])
        moves = name in MOVES
        if not (moves or rule) or (compared and name != "where"):
            message = f"operation {name!r} has no linear bounds"
            raise UnsupportedOperatorError(message, hint="smoothing and attacks need none")
        try:
            if moves or rule is None:
                return self.moved(target, arguments, keywords)
            return rule(self, *arguments, **keywords)
        except (TypeError, RuntimeError) as error:  # an option that the rule does not know
            message = f"operation {name!r} has no linear bounds with its options: {error}"
            raise UnsupportedOperatorError(message) from error

    # --- affine operations -----------------------------------------------------------------

    def moved(
        self, target: Callable[..., Any], arguments: Sequence[Value], keywords: dict[str, Value]
    ) -> Value:
        """An operation each of whose outputs is an element of an argument or a constant."""
        symbols = list(dict.fromkeys(symbols_in(list(arguments) + list(keywords.values()))))
        starts, total = {}, 0
        for symbol in symbols:
            starts[symbol] = total
            total += torch.Size(symbol.shape).numel()

        def run(shift: int) -> Any:
            def numbered(value: Value) -> Value:
                if isinstance(value, Symbol):
                    count = torch.Size(value.shape).numel()
                    first = starts[value] + shift
                    numbers = torch.arange(first, first + count, dtype=torch.float64)
                    return numbers.view(value.shape)
                if isinstance(value, list | tuple):
                    return [numbered(item) for item in value]
                if isinstance(value, Tensor) and value.is_floating_point():
                    return value.double()
                return value

            words = {name: numbered(value) for name, value in keywords.items()}
            return target(*[numbered(argument) for argument in arguments], **words)

        once, again = run(0), run(total)
        if isinstance(once, Tensor):
            return self._selection(symbols, once, again, total)
        return [
            self._selection(symbols, first, second, total)
            for first, second in zip(once, again, strict=True)
        ]

    def _selection(
        self, symbols: Sequence[Symbol], once: Tensor, again: Tensor, total: int
    ) -> Symbol:
        """The selection whose outputs are numbered ``once``, and ``again`` shifted by ``total``."""
        moved = again - once == total
        if not (once.is_floating_point() and bool((moved | (again == once)).all())):
            message = f"operation {self.operation!r} computes with what it should move"
            raise UnsupportedOperatorError(message)
        index = torch.where(moved, once, -1.0).long()
        if bool(moved.all()):
            return self.select(symbols, index)
        offset = torch.where(moved, 0.0, once)
        if not self.constants.roundings:
            return self.select(symbols, index, offset)
        kept = self.select(symbols, index, torch.zeros_like(offset))  # a sum can be rounded
        return self.combined([kept], [1], offset)

    def select(
        self, symbols: Sequence[Symbol], index: Tensor, offset: Tensor | None = None
    ) -> Symbol:
        """Elements ``index`` of the arguments, -1 for the constants in ``offset``.

        Raises:
            UnsupportedOperatorError: there are only constants, and the arguments have no elements.
        """
        if index.numel() and all(0 in symbol.shape for symbol in symbols):
            message = f"operation {self.operation!r} fills a tensor that has no elements"
            raise UnsupportedOperatorError(message)
        symbols, index, offset = self._behind_moves(symbols, index, offset)
        parents = tuple(symbol.at for symbol in symbols)
        shapes = tuple(symbol.shape for symbol in symbols)
        same = len(symbols) == 1 and index.shape == symbols[0].shape and offset is None
        if same and bool((index.flatten() == torch.arange(index.numel())).all()):
            return symbols[0]
        return self.add(Select.of(parents, shapes, index, offset, self.label))

    def _behind_moves(
        self, symbols: Sequence[Symbol], index: Tensor, offset: Tensor | None
    ) -> tuple[Sequence[Symbol], Tensor, Tensor | None]:
        """The same elements and constants, read from behind an argument that moves elements."""
        node = self.nodes[symbols[0].at]
        if len(symbols) > 1 or not isinstance(node, Select):
            return symbols, index, offset
        before = [Symbol(*pair) for pair in zip(node.parents, node.shapes, strict=True)]
        place = index.clamp_min(0)
        if node.offset is not None:
            own = torch.zeros((), dtype=torch.float64) if offset is None else offset
            offset = torch.where(index >= 0, node.offset.flatten()[place], own)
        return before, torch.where(index >= 0, node.index.flatten()[place], -1), offset

    def reshaped(self, x: Symbol, shape: Sequence[int]) -> Symbol:
        """``x`` in another shape."""
        return self.select([x], _numbered(x).view(tuple(shape)))

    def permuted(self, x: Symbol, axes: Sequence[int]) -> Symbol:
        """``x`` with its axes in another order."""
        return self.select([x], _numbered(x).permute(*axes))

    def expanded(self, x: Symbol, shape: Sequence[int]) -> Symbol:
        """``x`` broadcast to ``shape``."""
        if tuple(shape) == x.shape:
            return x
        return self.select([x], _numbered(x).expand(*shape))

    def combined(
        self,
        arguments: Sequence[Symbol],
        factors: Sequence[Tensor | float],
        offset: Tensor | float | None = None,
    ) -> Symbol:
        """``sum_i factors[i] * arguments[i] + offset``, everything broadcast."""
        pieces = [argument.shape for argument in arguments]
        tensors = [factor for factor in [*factors, offset] if isinstance(factor, Tensor)]
        shape = broadcast(*pieces, *(tensor.shape for tensor in tensors))
        wide = [self.expanded(argument, shape) for argument in arguments]
        spread = tuple(_spread(factor, shape) for factor in factors)
        if offset is not None and not isinstance(offset, Tensor):
            offset = torch.full(tuple(shape), float(offset), dtype=torch.float64)
        constant = None if offset is None else offset.double().expand(shape).contiguous()
        terms = len(wide) + (constant is not None) + any(f not in (1, -1) for f in _numbers(spread))
        terms += any(isinstance(factor, Tensor) for factor in spread)
        parents = tuple(argument.at for argument in wide)
        return self.add(Combination(parents, tuple(shape), self.label, terms, 1, spread, constant))

    def dense(self, x: Symbol, weight: Tensor) -> Symbol:
        """``x @ weight`` with a constant matrix ``(n, m)``."""
        n, m = weight.shape
        shape = (*x.shape[:-1], m)
        return self.add(Dense((x.at,), shape, self.label, n, m, self.constants.weight(weight)))

    def summed(self, x: Symbol, axes: Sequence[int] | None, *, keep: bool) -> Symbol:
        """Sum of ``x`` along ``axes``, all of them if None or empty."""
        wanted = sorted(axis % x.ndim for axis in (axes or range(x.ndim)))
        others = [axis for axis in range(x.ndim) if axis not in wanted]
        count = torch.Size([x.shape[axis] for axis in wanted]).numel()
        last = self.permuted(x, [*others, *wanted])
        flat = self.reshaped(last, (*(x.shape[axis] for axis in others), count))
        total = self.dense(flat, torch.ones(count, 1, dtype=torch.float64))
        kept = [1 if axis in wanted else n for axis, n in enumerate(x.shape)]
        left = kept if keep else [x.shape[axis] for axis in others]
        return self.reshaped(total, left)

    def affine(self, node: Affine) -> Symbol:
        """Another affine operation."""
        return self.add(node)

    # --- non-linear operations -------------------------------------------------------------

    def relu(self, x: Symbol) -> Symbol:
        """max(x, 0)."""
        return self.add(Relu((x.at,), x.shape, self.label))

    def activation(
        self, x: Symbol, relaxation: Relaxation, error: tuple[float, float] | None = None
    ) -> Symbol:
        """A non-linear function of each element; ``error`` as in :class:`Activation`."""
        return self.add(Activation((x.at,), x.shape, self.label, relaxation, error))

    def product(self, x: Symbol, y: Symbol) -> Symbol:
        """``x * y``, broadcast."""
        shape = broadcast(x.shape, y.shape)
        left, right = self.expanded(x, shape), self.expanded(y, shape)
        return self.add(Product((left.at, right.at), tuple(shape), self.label))

    def largest(self, x: Symbol) -> Symbol:
        """Maximum along the last axis, as a tree of ``max(a, b) = b + relu(a - b)``."""
        with self.parts():
            while x.shape[-1] > 1:
                half = x.shape[-1] // 2
                numbers = _numbered(x)
                first = self.select([x], numbers[..., :half].contiguous())
                second = self.select([x], numbers[..., half : 2 * half].contiguous())
                larger = self.larger(first, second)
                if x.shape[-1] % 2:
                    rest = self.select([x], numbers[..., -1:].contiguous())
                    after = _numbered(rest) + torch.Size(larger.shape).numel()
                    larger = self.select(
                        [larger, rest], torch.cat([_numbered(larger), after], dim=-1)
                    )
                x = larger
            return self.reshaped(x, x.shape[:-1])

    def larger(self, first: Symbol, second: Symbol) -> Symbol:
        """The larger of two arguments of one shape, element by element."""
        with self.parts():
            excess = self.relu(self.combined([first, second], [1, -1]))
            found = self.combined([second, excess], [1, 1])
        node = self.nodes[found.at]
        assert isinstance(node, Combination)
        self.nodes[found.at] = replace(node, maximum_of=(first.at, second.at))
        return found


def _is_wide(argument: Value) -> bool:
    """Whether an argument of a traced call is a tensor in float64."""
    meta = argument.meta if isinstance(argument, fx.Node) else {}
    return getattr(meta.get("val"), "dtype", None) is torch.float64


def _name(target: Any) -> str:
    """Name of a function of torch, without its overload."""
    return str(getattr(target, "overloadpacket", target)).removeprefix("aten.")


def broadcast(*shapes: Sequence[int]) -> tuple[int, ...]:
    """The shape that tensors of ``shapes`` have together."""
    return np.broadcast_shapes(*map(tuple, shapes))


def _numbered(x: Symbol) -> Tensor:
    """The numbers of the elements of ``x``."""
    return torch.arange(torch.Size(x.shape).numel()).view(x.shape)


def _numbers(factors: Sequence[Tensor | float]) -> list[float]:
    return [factor for factor in factors if not isinstance(factor, Tensor)]


def _spread(factor: Tensor | float, shape: Sequence[int]) -> Tensor | float:
    if not isinstance(factor, Tensor):
        return float(factor)
    if factor.numel() == 1:
        return float(factor)
    return factor.double().expand(*shape).contiguous()


def _without_unused(nodes: Sequence[Node], output: int) -> Network:
    """The operations that the output depends on."""
    needed, waiting = set(), [output]
    while waiting:
        at = waiting.pop()
        if at not in needed:
            needed.add(at)
            waiting += nodes[at].parents
    if 0 not in needed:
        message = "the scores do not depend on the image"
        raise UnsupportedOperatorError(message)
    order = sorted(needed)
    places = {old: new for new, old in enumerate(order)}
    return Network(tuple(_renumbered(nodes[old], places) for old in order), places[output])


def _renumbered(node: Node, places: dict[int, int]) -> Node:
    parents = tuple(places[parent] for parent in node.parents)
    if isinstance(node, Combination):
        larger = tuple(places[at] for at in node.maximum_of)
        return replace(node, parents=parents, maximum_of=larger)
    return replace(node, parents=parents)
