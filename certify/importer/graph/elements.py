"""ONNX element types and tensors as torch carries them in a twin.

Half precision is carried as float32: torch's half kernels on CPU are slow or missing, and the
runtime computes most half-precision nodes in float32 too. Small unsigned integers that torch
computes badly are carried in a wider signed type; 4-bit ones in 8 bits.
"""

from __future__ import annotations

import numpy as np
import torch
from onnx import TensorProto, numpy_helper
from torch import Tensor

from robcert.certify.errors import ModelFileError

CARRIERS: dict[int, torch.dtype] = {
    TensorProto.FLOAT: torch.float32,
    TensorProto.DOUBLE: torch.float64,
    TensorProto.FLOAT16: torch.float32,
    TensorProto.BFLOAT16: torch.float32,
    TensorProto.FLOAT8E4M3FN: torch.float32,
    TensorProto.FLOAT8E4M3FNUZ: torch.float32,
    TensorProto.FLOAT8E5M2: torch.float32,
    TensorProto.FLOAT8E5M2FNUZ: torch.float32,
    TensorProto.INT2: torch.int8,
    TensorProto.UINT2: torch.uint8,
    TensorProto.BOOL: torch.bool,
    TensorProto.INT4: torch.int8,
    TensorProto.INT8: torch.int8,
    TensorProto.INT16: torch.int16,
    TensorProto.INT32: torch.int32,
    TensorProto.INT64: torch.int64,
    TensorProto.UINT4: torch.uint8,
    TensorProto.UINT8: torch.uint8,
    TensorProto.UINT16: torch.int32,
    TensorProto.UINT32: torch.int64,
    TensorProto.UINT64: torch.int64,
}
"""Torch type that carries each ONNX element type."""

ROUNDED: dict[int, torch.dtype] = {
    TensorProto.FLOAT16: torch.float16,
    TensorProto.BFLOAT16: torch.bfloat16,
    TensorProto.FLOAT8E4M3FN: torch.float8_e4m3fn,
    TensorProto.FLOAT8E4M3FNUZ: torch.float8_e4m3fnuz,
    TensorProto.FLOAT8E5M2: torch.float8_e5m2,
    TensorProto.FLOAT8E5M2FNUZ: torch.float8_e5m2fnuz,
}
"""Types whose values are rounded to, though carried wider."""

LIMITS: dict[int, tuple[int, int]] = {
    TensorProto.INT2: (-2, 1),
    TensorProto.UINT2: (0, 3),
    TensorProto.INT4: (-8, 7),
    TensorProto.UINT4: (0, 15),
    TensorProto.INT8: (-128, 127),
    TensorProto.UINT8: (0, 255),
    TensorProto.INT16: (-32768, 32767),
    TensorProto.UINT16: (0, 65535),
}
"""Least and greatest value of the types that quantisation uses."""


def type_name(number: int) -> str:
    """Name of an ONNX element type, such as FLOAT."""
    return str(TensorProto.DataType.Name(number)) if number else "unknown"


def carrier(number: int) -> torch.dtype:
    """Torch type that carries the ONNX element type ``number``.

    Raises:
        ModelFileError: strings, complex numbers, 4-bit floats and the like.
    """
    if number not in CARRIERS:
        message = f"the element type {type_name(number)} has no counterpart in a twin"
        raise ModelFileError(message)
    return CARRIERS[number]


def rounded_to(x: Tensor, kind: int, *, saturate: bool) -> Tensor:
    """Floats ``x`` rounded to the narrow type ``kind``, in its carrier.

    Args:
        x: floats.
        kind: a key of ``ROUNDED``.
        saturate: for 8-bit floats, whether what is too large becomes the largest number.
    """
    narrow = ROUNDED[kind]
    if narrow.itemsize == 1 and saturate:
        x = x.clamp(-torch.finfo(narrow).max, torch.finfo(narrow).max)
    return x.to(narrow).to(carrier(kind))


def tensor_of(proto: TensorProto) -> Tensor:
    """The constant ``proto`` in its carrier type.

    Raises:
        ModelFileError: damaged, or of a type without a carrier.
    """
    dtype = carrier(proto.data_type)
    try:
        array = np.ascontiguousarray(numpy_helper.to_array(proto)).reshape(tuple(proto.dims))
    except (ValueError, TypeError) as error:
        message = f"the constant {proto.name!r} cannot be read: {error}"
        raise ModelFileError(message) from error
    name = str(dtype).removeprefix("torch.")
    return torch.from_numpy(array.astype(name, copy=True))
