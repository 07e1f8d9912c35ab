"""Operators that only move elements: they are run on the numbers of the elements."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from .network import Symbol
from .rules import moved, require_small, rule

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .rules import Operator

    Constant = NDArray[Any]
    Value = Symbol | Constant


@rule("Identity", "Dropout")
def _identity(of: Operator, x: Value, *more: Value | None) -> Value:
    if of.node.op_type == "Dropout":
        trains = of.opset < 7 and not of.attribute("is_test", 0)
        switch = more[1] if len(more) > 1 else None
        if trains or isinstance(switch, Symbol) or (switch is not None and bool(switch.any())):
            message = "it is in training mode"
            raise of.builder.refuse(message)
    return x


@rule("Shape")
def _shape(of: Operator, x: Value) -> Value:
    start, end = of.attribute("start", 0), of.attribute("end")
    return np.array(x.shape[start:end], np.int64)


@rule("Reshape")
def _reshape(of: Operator, x: Value, shape: Value | None = None) -> Value:
    sides = of.integers("shape", shape)
    if sides is None:
        message = "it has no shape"
        raise of.builder.refuse(message)
    if not of.attribute("allowzero", 0):
        sides = [x.shape[at] if n == 0 else n for at, n in enumerate(sides)]
    return moved(of, [x], lambda a: a.reshape(sides))


@rule("Flatten")
def _flatten(of: Operator, x: Value) -> Value:
    axis = of.attribute("axis", 1)
    axis = axis + len(x.shape) if axis < 0 else axis
    return moved(of, [x], lambda a: a.reshape(prod(x.shape[:axis]), -1))


@rule("Transpose")
def _transpose(of: Operator, x: Value) -> Value:
    return moved(of, [x], lambda a: a.transpose(of.integers("perm")))


@rule("Squeeze")
def _squeeze(of: Operator, x: Value, axes: Value | None = None) -> Value:
    wanted = of.integers("axes", axes)
    if wanted == []:
        message = "it names no axes, which runtimes take for all of them or for none"
        raise of.builder.refuse(message)
    return moved(of, [x], lambda a: a.squeeze(None if wanted is None else tuple(wanted)))


@rule("Unsqueeze")
def _unsqueeze(of: Operator, x: Value, axes: Value | None = None) -> Value:
    wanted = tuple(of.integers("axes", axes) or ())
    return moved(of, [x], lambda a: np.expand_dims(a, wanted))


@rule("Concat")
def _concat(of: Operator, *values: Value) -> Value:
    axis = of.attribute("axis")
    if axis is None:
        message = "it has no axis"
        raise of.builder.refuse(message)
    return moved(of, values, lambda *parts: np.concatenate(parts, axis=axis))


@rule("Gather")
def _gather(of: Operator, x: Value, index: Value) -> Value:
    if isinstance(index, Symbol):
        message = "its indices depend on the image"
        raise of.builder.refuse(message)
    axis = of.attribute("axis", 0)
    require_small(of, prod(x.shape) // max(1, x.shape[axis]) * index.size)
    return moved(of, [x], lambda a: np.take(a, index.astype(np.int64), axis=axis))


@rule("Expand")
def _expand(of: Operator, x: Value, shape: Value) -> Value:
    sides = np.broadcast_shapes(x.shape, tuple(of.integers("shape", shape) or ()))
    require_small(of, prod(sides))
    return moved(of, [x], lambda a: np.broadcast_to(a, sides))


@rule("Slice")
def _slice(of: Operator, x: Value, *given: Value) -> Value:
    names = ("starts", "ends", "axes", "steps")
    padded = [*given, *[None] * (4 - len(given))]
    starts, ends, axes, steps = (
        of.integers(name, value) for name, value in zip(names, padded, strict=True)
    )
    if starts is None or ends is None:
        message = "it has no starts or ends"
        raise of.builder.refuse(message)
    cuts = [slice(None)] * len(x.shape)
    for place, (start, end) in enumerate(zip(starts, ends, strict=True)):
        axis = place if axes is None else axes[place]
        step = 1 if steps is None else steps[place]
        n = x.shape[axis]
        stop = None if step < 0 and end < -n else end
        cuts[axis] = slice(max(start, -n), stop, step)
    return moved(of, [x], lambda a: a[tuple(cuts)])


@rule("Pad")
def _pad(of: Operator, x: Value, pads: Value | None = None, *more: Value) -> Value:
    if of.attribute("mode", b"constant") != b"constant" or len(more) > 1:
        message = "the checker knows padding with a constant on all axes only"
        raise of.builder.refuse(message)
    value = np.array(of.attribute("value", 0.0), np.float32)
    if more and more[0] is not None:
        value = np.asarray(more[0], np.float32)
    widths = of.integers("pads", pads) or []
    n = len(x.shape)
    sides = [(widths[at], widths[n + at]) for at in range(n)]
    if min(widths) < 0:
        message = "the checker knows no negative padding"
        raise of.builder.refuse(message)
    require_small(of, prod(side + sum(pad) for side, pad in zip(x.shape, sides, strict=True)))
    return moved(of, [x, value.ravel()], lambda a, fill: np.pad(a, sides, constant_values=fill[0]))
