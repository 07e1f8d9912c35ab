"""The table of rules: what each operation of torch becomes in a :class:`Network`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor

from robcert.certify.errors import UnsupportedOperatorError

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..translate import Value

MOVES = frozenset(
    {
        *("_unsafe_view", "alias", "as_strided_scatter", "cat", "channel_shuffle", "chunk"),
        *("clone", "constant_pad_nd", "contiguous", "copy", "detach", "diagonal"),
        *("diagonal_scatter", "expand", "flip", "gather", "im2col", "index", "index_select"),
        *("lift_fresh", "lift_fresh_copy", "movedim", "permute", "pixel_shuffle"),
        *("pixel_unshuffle", "reflection_pad1d", "reflection_pad2d", "repeat", "replication_pad1d"),
        *("replication_pad2d", "reshape", "roll", "select", "select_scatter", "slice"),
        *("slice_scatter", "split", "split_with_sizes", "squeeze", "stack", "t", "transpose"),
        *("tril", "triu", "unbind", "unfold", "unsqueeze", "upsample_nearest1d"),
        *("upsample_nearest2d", "upsample_nearest3d", "view"),
    }
)
"""Operations each of whose outputs is an element of an argument or a constant."""

Rule = Any
RULES: dict[str, Rule] = {}


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Enter the decorated function into :data:`RULES` under these names."""

    def enter(function: Rule) -> Rule:
        for name in names:
            RULES[name] = function
        return function

    return enter


def is_constant(value: Value) -> bool:
    """Whether an argument does not depend on the image."""
    return isinstance(value, Tensor | int | float)


def known(value: Value, operation: str) -> Value:
    """A constant, for an operation that has bounds for no other."""
    if not is_constant(value):
        message = f"operation {operation!r} has no linear bounds where all its arguments change"
        raise UnsupportedOperatorError(message)
    return value
