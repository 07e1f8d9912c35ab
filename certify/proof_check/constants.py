"""Constants: read, converted and computed from each other, where that rounds nothing.

They stay in their own type. Arithmetic that is rounded is refused, since runtimes may round it
another way and real arithmetic not at all.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from .errors import UncheckableModelError
from .network import MOST_ELEMENTS, Symbol
from .rules import rule

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .rules import Operator

    Array = NDArray[np.float64]
    Constant = NDArray[Any]
    Value = Symbol | Constant

WIDE = (np.dtype(np.float32), np.dtype(np.float64))
"""Types of numbers in which all runtimes compute."""


@rule("Cast")
def _cast(of: Operator, x: Value) -> Value:
    kind = of.attribute("to")
    if isinstance(x, Symbol):
        if kind != TensorProto.FLOAT:
            message = "it rounds to another type"
            raise of.builder.refuse(message)
        return x
    to = helper.tensor_dtype_to_np_dtype(kind)
    if any(np.dtype(one).kind == "f" and one not in WIDE for one in (x.dtype, to)) or (
        kind == TensorProto.BFLOAT16
    ):
        message = "runtimes differ in how they compute with so few bits"
        raise of.builder.refuse(message)
    if not _holds(to, x):
        message = "it gives numbers to a type that cannot hold them"
        raise of.builder.refuse(message)
    found = x.astype(to)
    if kind == TensorProto.FLOAT and not bool((found == x).all()):
        message = "it rounds constants, which the stored ones then are not"
        raise of.builder.refuse(message)
    return found


def _holds(to: np.dtype[Any], x: Constant) -> bool:
    """Whether a conversion of ``x`` is defined, and float64 has its numbers if they are whole."""
    if x.dtype.kind == "f" and to.kind in "iu":
        kind, whole = np.iinfo(to), np.trunc(x.astype(np.float64))
        return bool(((whole >= kind.min) & (whole < float(kind.max) + 1)).all())
    if x.dtype.kind in "iu" and to.kind == "f":
        return bool(((x >= -(2**53)) & (x <= 2**53)).all())
    return True


@rule("Constant")
def _constant(of: Operator) -> Value:
    for name, kind in (("value_float", np.float32), ("value_int", np.int64)):
        if (found := of.attribute(name)) is not None:
            return np.array(found, kind)
    for name, kind in (("value_floats", np.float32), ("value_ints", np.int64)):
        if (found := of.attribute(name)) is not None:
            return np.array(list(found), kind)
    return np.asarray(constant_of(of.attribute("value")))


@rule("ConstantOfShape")
def _constant_of_shape(of: Operator, shape: Value) -> Value:
    sides = of.integers("shape", shape) or []
    stored = of.attribute("value")
    value = np.zeros(1, np.float32) if stored is None else np.asarray(constant_of(stored))
    if prod(sides) > MOST_ELEMENTS:
        message = "the model is too large for the checker"
        raise of.builder.refuse(message)
    return np.full(sides, value.ravel()[0])


def unrounded(of: Operator, x: Constant, y: Constant, operate: np.ufunc) -> Constant:
    """A result of constants, which must be exact if it is not of whole numbers."""
    found = np.asarray(operate(x, y))
    if np.issubdtype(found.dtype, np.integer):
        return found
    wide = found.astype(np.float64)
    if found.dtype != np.float32 or not _is_exact(wide, x, y, operate):
        message = "it computes constants with a rounding, of which the checker has no bounds"
        raise of.builder.refuse(message)
    return found


def _is_exact(found: Array, x: Constant, y: Constant, operate: np.ufunc) -> bool:
    """Whether float32 numbers ``found`` are the result of float32 numbers without rounding."""
    x, y = x.astype(np.float64), y.astype(np.float64)
    if operate in (np.multiply, np.divide):  # a product of 24 and 24 bits has at most 53
        product, factor, other = (found, x, y) if operate is np.multiply else (x, found, y)
        return bool((product == factor * other).all())
    y = -y if operate is np.subtract else y
    part = found - x  # the rounding of a sum (Knuth 1969, section 4.2.2)
    return bool((x + y == found).all()) and not bool(((x - (found - part)) + (y - part)).any())


def constant_of(tensor: TensorProto) -> Constant:
    """The numbers of a tensor in the file.

    Raises:
        UncheckableModelError: they are elsewhere, or too many.
    """
    if tensor.data_location == TensorProto.EXTERNAL:
        message = "a tensor is in another file, which the model's hash does not cover"
        raise UncheckableModelError(message)
    if prod(tensor.dims) > MOST_ELEMENTS or min(tensor.dims, default=1) < 0:
        message = f"tensor {tensor.name!r} is too large for the checker"
        raise UncheckableModelError(message)
    try:
        return numpy_helper.to_array(tensor)
    except (ValueError, TypeError) as error:
        message = f"tensor {tensor.name!r} cannot be read: {error}"
        raise UncheckableModelError(message) from error
