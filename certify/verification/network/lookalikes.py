"""Numbers that a runtime takes for others where a graph spells out a function that it knows.

ONNX Runtime replaces GELU and its approximation by tanh by one operation of its own (GeluFusion,
FastGeluFusion). The numbers in the graph may differ from those of the definition by 1e-5 of their
size, far more than a rounding; what they differ by is lost. It merges padding with zeros into the
max pooling behind it (PadFusion), whose own padding is no number at all. Of layer normalisation
see ``norm_lookalikes``.
"""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor, fx

from robcert.certify.model import source_of

from .walk import Walk, operation

TOLERANCE = 2e-5
"""Relative difference at which no runtime is known to take one number for another."""

UNIT = 2.0**-24
"""Unit roundoff of float32."""

KNOWN = (
    *(0.5, 1.0, math.sqrt(2), math.sqrt(0.5)),  # x / 2 (1 + erf(x / sqrt 2))
    *(0.044715, math.sqrt(2 / math.pi), 0.044715 * math.sqrt(2 / math.pi)),  # and with tanh
)
EXPONENTS = (2.0, 3.0)

ARITHMETIC = frozenset({"add", "sub", "rsub", "mul", "div"})

NONNEGATIVE = frozenset({"_softmax", "abs", "exp", "relu", "sigmoid", "square"})


def lost_roundings(value: Any, name: str) -> float:
    """How many roundings of a constant of the operation ``name`` a runtime may lose.

    >>> lost_roundings(0.5, "mul"), lost_roundings(0.500004, "mul") > 100, lost_roundings(2, "mul")
    (0.0, True, 0.0)
    """
    if isinstance(value, Tensor):
        single = value.numel() == 1 and value.is_floating_point()
        value = float(value) if single else None
    taken = KNOWN if name in ARITHMETIC else EXPONENTS if name == "pow" else ()
    if not isinstance(value, float):
        return 0.0
    for known in taken:
        off = abs(abs(value) - known) / (UNIT * known)
        if 1 < off < TOLERANCE / UNIT:  # what is rounded once counts elsewhere
            return math.ceil(off)
    return 0.0


def is_updated_sum(node: fx.Node) -> bool:
    """Whether a call belongs to a normalisation over neighbouring channels.

    ONNX Runtime adds the next square to the sum of the channel before and takes the last one off:
    the error of a large square stays in the sums of all channels behind it.
    """
    source = source_of(node)
    return source is not None and source.operator == "LRN"


def leaves_out_zeros(node: fx.Node, name: str, walk: Walk) -> bool:
    """Whether the maximum ``node`` reads zeros of a Pad that may be larger than what it pads.

    Args:
        node: the call.
        name: of its function.
        walk: calls that change nothing.
    """
    if not name.startswith("max_pool") or source_of(node) is None:
        return False
    padded = walk.behind(node.args[0])
    while source_of(padded) == source_of(node):  # the padding of the pooling itself
        padded = walk.behind(padded.args[0])
    source = source_of(padded)
    if source is None or source.operator != "Pad":
        return False
    if operation(padded) != "constant_pad_nd":
        return operation(padded) == "where"  # with a computed number; other modes have none
    if padded.args[2:] and padded.args[2] != 0:
        return False
    before = walk.behind(padded.args[0])
    least = before.args[1] if operation(before) == "clamp" and len(before.args) > 1 else None
    clipped = isinstance(least, int | float) and least >= 0
    return not clipped and operation(before) not in NONNEGATIVE
