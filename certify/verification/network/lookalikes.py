"""Numbers that a runtime takes for others where a graph spells out a function that it knows.

ONNX Runtime replaces GELU and its approximation by tanh by one operation of its own (GeluFusion,
FastGeluFusion). The numbers in the graph may differ from those of the definition by 1e-5 of their
size, far more than a rounding; what they differ by is lost. It also replaces layer normalisation
(LayerNormFusion), and reads its epsilon only where that is the second term of the sum with the
variance and no input of the graph as well; elsewhere it takes its default. It merges padding with
zeros into the max pooling behind it (PadFusion), whose own padding is no number at all.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from robcert.certify.model import OverridableNode, source_of

TOLERANCE = 2e-5
"""Relative difference at which no runtime is known to take one number for another."""

UNIT = 2.0**-24
"""Unit roundoff of float32."""

KNOWN = (
    *(0.5, 1.0, math.sqrt(2), math.sqrt(0.5)),  # x / 2 (1 + erf(x / sqrt 2))
    *(0.044715, math.sqrt(2 / math.pi), 0.044715 * math.sqrt(2 / math.pi)),  # and with tanh
)
EXPONENTS = (2.0, 3.0)

EPSILON = float(np.float32(1e-5))
"""ONNX Runtime's default of a layer normalisation."""

ARITHMETIC = frozenset({"add", "sub", "rsub", "mul", "div"})

MOVES = frozenset({"alias", "clone", "contiguous", "permute", "reshape", "transpose", "view"})
"""Operations that leave every element as it is."""

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


def loses_epsilon(node: fx.Node, name: str, arguments: list[Any]) -> bool:
    """Whether the sum ``node`` may be that of a variance with an epsilon that is not read.

    Args:
        node: the call.
        name: of its function.
        arguments: what its arguments are.
    """
    constants = [at for at, value in enumerate(arguments) if isinstance(value, Tensor | float)]
    if name != "add" or len(arguments) != 2 or len(constants) != 1:
        return False
    (at,), users = constants, {_operation(user) for user in node.users}
    if _operation(node.args[1 - at]) != "mean" or not users & {"sqrt", "rsqrt"}:
        return False
    is_read = at == 1 and not isinstance(source_of(node), OverridableNode)
    return not is_read and not bool((torch.as_tensor(arguments[at]) == EPSILON).all())


def leaves_out_zeros(node: fx.Node, name: str) -> bool:
    """Whether the maximum ``node`` reads zeros of a Pad that may be larger than what it pads.

    Args:
        node: the call.
        name: of its function.
    """
    if not name.startswith("max_pool") or source_of(node) is None:
        return False
    padded = _behind_moves(node.args[0])
    while source_of(padded) == source_of(node):  # the padding of the pooling itself
        padded = _behind_moves(padded.args[0])
    source = source_of(padded)
    if source is None or source.operator != "Pad":
        return False
    if _operation(padded) != "constant_pad_nd":
        return _operation(padded) == "where"  # with a computed number; other modes have none
    if padded.args[2:] and padded.args[2] != 0:
        return False
    before = _behind_moves(padded.args[0])
    least = before.args[1] if _operation(before) == "clamp" and len(before.args) > 1 else None
    clipped = isinstance(least, int | float) and least >= 0
    return not clipped and _operation(before) not in NONNEGATIVE


def _behind_moves(node: Any) -> Any:
    """What a node reads, before elements are moved."""
    while _operation(node) in MOVES:
        node = node.args[0]
    return node


def _operation(node: Any) -> str:
    """Name of the function that a node calls, without its overload."""
    target = getattr(node, "target", None)
    return str(getattr(target, "overloadpacket", target)).removeprefix("aten.")
