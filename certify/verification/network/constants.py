"""A network's constants: their values in float64, and what float32 makes of them.

A constant that is computed from stored ones may have another value in a runtime. Where it is a term
or a factor of a sum its error counts as further roundings of that sum (``constant_errors``); where
it is anything else no float32 evaluation is covered.
"""

from __future__ import annotations

import operator as python
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from robcert.certify.model import source_of

from .constant_errors import MOST_ROUNDINGS, ConstantCall, errors_of, roundings
from .constant_rules import counted_up
from .lookalikes import is_updated_sum, leaves_out_zeros, lost_roundings
from .nodes import Affine, Node
from .norm_lookalikes import NormLookalikes
from .precision import NARROW, UNIT, has_floats, is_exact, unknown_error
from .rules import MOVES
from .walk import Walk
from .weights import Weight

if TYPE_CHECKING:
    from torch import fx

    from .precision import Error

SUMS = frozenset(
    {
        *("add", "add_", "sub", "sub_", "rsub", "mul", "mul_", "div", "div_", "mm", "bmm"),
        *("matmul", "addmm", "baddbmm", "linear", "convolution", "native_batch_norm"),
        *("_native_batch_norm_legit_no_training", "native_layer_norm", "native_group_norm"),
    }
)
"""Operations to which constants are factors and terms. The variance in a batch normalisation has an
exponent of -1/2 and counts less."""

LIMITED = frozenset({"maximum", "minimum"})
"""Operations whose output is the constant, or an element that an error of it leaves as it is."""

MATRICES = {
    "mm": (0, 1),
    "bmm": (0, 1),
    "matmul": (0, 1),
    "addmm": (1, 2),
    "baddbmm": (1, 2),
    "linear": (1,),
    "convolution": (1,),
}
"""Positions of matrices and kernels."""

WHOLE_PRODUCTS = frozenset(MATRICES) - {"convolution"}
"""Products that runtimes compute with integers where a matrix is stored as such."""

FEW_ROUNDINGS = 64
"""Elements of a matrix that are less precise than that count as larger than they are."""


def exact(value: Any) -> Any:
    """A constant in float64, so that the constants that follow from it are computed in float64."""
    if isinstance(value, list | tuple):
        return type(value)(exact(item) for item in value)
    if not isinstance(value, Tensor):
        return value
    return value.detach().double() if value.is_floating_point() else value.detach()


def _or_zero(error: Error) -> Error:
    return 0.0 if error is None else error


def _chooses(node: fx.Node, value: Any) -> bool:
    """Whether a call chooses the pixels that a resizing reads, which is what the operator does."""
    source = source_of(node)
    resizes = source is not None and source.operator in {"Resize", "Upsample"}
    return resizes and isinstance(value, Tensor) and not value.is_floating_point()


@dataclass(slots=True)
class Constants:
    """The constants so far.

    Attributes:
        real: whether they stand for their exact values, from which float64 differs by its own
            roundings, or for those of any float32 evaluation.
        errors: by the recorded operation that computes them; none for stored ones.
        roundings: what the constants of the current operation add to those of its sums.
        sizes: of the current operation's matrices, absolute values of their elements that errors
            are relative to; by the place of the matrix in memory.
        used: places of those that became weights.
        imprecise: positions of operations that count further roundings.
        obstacle: why float32 evaluations cannot be covered; empty if they can.
        narrow: recorded operations whose outputs have fewer bits than float32.
        quantised: those whose outputs a graph computes from integers with a scale.
        walk: those with the image that leave it as it is.
        norms: those that a runtime may take for parts of layer normalisation.
    """

    real: bool = False
    errors: dict[fx.Node, Error] = field(default_factory=dict)
    roundings: int = 0
    sizes: dict[int, Tensor] = field(default_factory=dict)
    used: set[int] = field(default_factory=set)
    imprecise: set[int] = field(default_factory=set)
    obstacle: str = ""
    narrow: set[fx.Node] = field(default_factory=set)
    quantised: set[fx.Node] = field(default_factory=set)
    walk: Walk = field(default_factory=Walk)
    norms: NormLookalikes = field(init=False)

    def __post_init__(self) -> None:
        self.norms = NormLookalikes(self.walk)

    def stored(self, node: fx.Node, value: Any) -> Any:
        """A stored constant, in float64."""
        if isinstance(value, Tensor) and value.dtype in NARROW:
            self.narrow.add(node)
        return exact(value)

    def compute(
        self, node: fx.Node, name: str, arguments: list[Any], keywords: dict[str, Any]
    ) -> Any:
        """The output of a call without symbols, in float64.

        Args:
            node: the call.
            name: of its function.
            arguments: its arguments.
            keywords: its further arguments.
        """
        target: Any = node.target
        errors = [errors_of(argument, self.errors) for argument in node.args]
        self._note_quantised(node)
        if target is python.getitem:
            self.errors[node] = None if errors[0] is None else errors[0][arguments[1]]
            return arguments[0][arguments[1]]
        narrow = keywords.get("dtype") is torch.float32
        wide = keywords
        if narrow and has_floats(arguments):
            wide = {**keywords, "dtype": torch.float64}
        changes = target._schema.is_mutable
        given = [
            value.clone() if changes and isinstance(value, Tensor) else value for value in arguments
        ]
        value = exact(target(*given, **wide))
        call = ConstantCall(name, target, arguments, keywords, errors, self.real)
        certain = all(is_exact(errors_of(word, self.errors)) for word in node.kwargs.values())
        if _chooses(node, value):
            return value
        moves = name in MOVES
        self.errors[node] = call.error_of(value, moves=moves) if certain else unknown_error(value)
        self._note_narrow(node, name, wide, value)
        source = source_of(node)
        counts = source is not None and source.operator == "Range" and not self.real
        if counts and isinstance(value, Tensor) and value.is_floating_point():
            self.errors[node] = counted_up(value) + _or_zero(self.errors[node])
        return value

    def _note_quantised(self, node: fx.Node) -> None:
        """Keep track of what a graph computes from integers with a scale."""
        source = source_of(node)
        scaled = source is not None and source.operator == "DequantizeLinear"
        if scaled or any(one in self.quantised for one in node.all_input_nodes):
            self.quantised.add(node)

    def _note_narrow(self, node: fx.Node, name: str, wide: dict[str, Any], value: Any) -> None:
        """Keep track of numbers with few bits; what is computed in them has no bound in float32."""
        if not any(one in self.narrow for one in node.all_input_nodes):
            return
        if name in MOVES:
            self.narrow.add(node)
        elif not (name == "_to_copy" and wide.get("dtype") in (torch.float32, torch.float64)):
            self.narrow.add(node)
            self.errors[node] = unknown_error(value)

    def enter(self, node: fx.Node, name: str, arguments: list[Any], label: str) -> list[Any]:
        """The arguments of a call with symbols, after the errors of its constants are noted.

        Args:
            node: the call.
            name: of its function.
            arguments: its arguments.
            label: what is being translated, in words.
        """
        self.roundings = 0
        self.sizes.clear()
        self.used.clear()
        total, entered = 0.0, list(arguments)
        for at, (given, value) in enumerate(zip(node.args, arguments, strict=True)):
            error = errors_of(given, self.errors)
            found = roundings(value, error) + (0.0 if self.real else lost_roundings(value, name))
            if found > FEW_ROUNDINGS and at in MATRICES.get(name, ()):
                entered[at], found = self._sized(value, error)
            total += found
        if not self.real:
            self._note_replaced(node, name, arguments, label)
        certain = all(is_exact(errors_of(word, self.errors)) for word in node.kwargs.values())
        if certain and not total:
            return entered
        covered = name in SUMS or name in MOVES or (name in LIMITED and not self.real)
        if certain and total <= MOST_ROUNDINGS and covered:
            self.roundings = int(total)
        else:
            self.meet_obstacle(label)
        return entered

    def _note_replaced(self, node: fx.Node, name: str, arguments: list[Any], label: str) -> None:
        """Note an obstacle where a runtime replaces an operation by a different one."""
        if name in WHOLE_PRODUCTS and not self.quantised.isdisjoint(node.args):
            self.meet_obstacle(
                label, "has weights stored as integers, for which runtimes round the other factor"
            )
        self.walk.note(node, name, arguments)
        if leaves_out_zeros(node, name, self.walk):
            self.meet_obstacle(
                label, "reads zeros of a padding, which runtimes leave out of a maximum"
            )
        if is_updated_sum(node):
            self.meet_obstacle(
                label, "has sums that runtimes update from channel to channel, with any error"
            )
        unread = self.norms.misread(node, name, arguments)
        if unread:
            self.meet_obstacle(label, unread)

    def _sized(self, matrix: Tensor, error: Tensor) -> tuple[Tensor, float]:
        """A copy of a matrix whose :meth:`weight` has the errors as relative ones, and these."""
        copied = matrix.contiguous().clone()
        size = torch.maximum(copied.abs(), error.contiguous() / (FEW_ROUNDINGS * UNIT))
        if not bool(torch.isfinite(size).all()):
            return matrix, torch.inf
        if size.ndim == 3:  # of equal matrices one stands for all
            size = size.amax(0, keepdim=True).expand_as(size).contiguous()
        self.sizes[copied.untyped_storage().data_ptr()] = size
        return copied, FEW_ROUNDINGS + 1

    def weight(self, matrix: Tensor) -> Weight:
        """A constant matrix or kernel, which may be a view of an argument of the current call."""
        place = matrix.untyped_storage().data_ptr()
        size = self.sizes.get(place)
        if size is None:
            return Weight(matrix.double())
        self.used.add(place)
        size = size.as_strided(matrix.shape, matrix.stride(), matrix.storage_offset())
        return Weight(matrix.double(), size=size)

    def leave(self, label: str) -> None:
        """The current call is translated; a matrix that became no weight has no bound."""
        if self.sizes.keys() - self.used:
            self.meet_obstacle(label)

    def counted(self, node: Node, at: int) -> Node:
        """An operation of the current call, for position ``at``, with its further roundings."""
        if not self.roundings or not isinstance(node, Affine):
            return node
        self.imprecise.add(at)
        return replace(node, terms=node.terms + self.roundings)

    def meet_obstacle(self, label: str, why: str = "") -> None:
        """No bound covers what float32 makes of the constants that an operation reads."""
        made = (
            "they cancel so far that float64 does not have their value"
            if self.real
            else "no bound is known of what float32 makes of them"
        )
        why = why or f"depends on constants that the graph computes, and {made}"
        self.obstacle = self.obstacle or f"{label} {why}"

    def require_precise(self, at: int, label: str) -> None:
        """Note an obstacle if the factors of the operation at ``at`` are used for others."""
        if at in self.imprecise:
            self.meet_obstacle(label)
