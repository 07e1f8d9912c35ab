"""Messages between robcert and the process that runs a model: a line of JSON, then raw bytes.

This module is imported by that process, which must not import torch.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

LENGTH = 8
"""Bytes of the number before a message that tells how long its JSON is."""


def packed(header: dict[str, Any], content: bytes | memoryview = b"") -> list[bytes | memoryview]:
    """Parts of a message with ``header`` and ``content``."""
    line = json.dumps({**header, "bytes": len(content)}).encode()
    return [len(line).to_bytes(LENGTH, "big") + line, content]


def unpacked(read: Callable[[int], bytes]) -> tuple[dict[str, Any], bytes]:
    """The next message.

    Args:
        read: returns exactly so many of the next bytes.
    """
    header = json.loads(read(int.from_bytes(read(LENGTH), "big")))
    return header, read(header["bytes"])


def packed_array(header: dict[str, Any], array: NDArray[Any]) -> list[bytes | memoryview]:
    """Parts of a message with ``header`` and an array."""
    array = np.ascontiguousarray(array)
    told = {**header, "dtype": str(array.dtype), "shape": array.shape}
    return packed(told, array.reshape(-1).view(np.uint8).data)


def array_of(header: dict[str, Any], content: bytes) -> NDArray[Any]:
    """The array in a message."""
    return np.frombuffer(content, np.dtype(header["dtype"])).reshape(header["shape"]).copy()
