"""Images whose channels are stored in blocks, as ONNX Runtime's fastest convolutions have them.

A tensor ``(n, c, h, w)`` is stored as ``(n, c / block, h, w, block)``, with channels added at the
end up to a multiple of the block.

This module is imported by a process that must not import torch.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import TensorProto, helper

from .operators import LAYOUT
from .sides import session_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

LARGEST_BLOCK = 64
"""More channels than a block has."""


@cache
def block_size() -> int:
    """Channels of a block on this processor."""
    shape = [1, LARGEST_BLOCK, 1, 2]
    node = helper.make_node("ReorderInput", ["x"], ["y"], domain=LAYOUT, channels_last=0)
    graph = helper.make_graph(
        [node],
        "blocks",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [onnx.ValueInfoProto(name="y")],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(LAYOUT, 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    x = np.arange(2 * LARGEST_BLOCK, dtype=np.float32).reshape(shape)
    (y,) = session_of(model).run(None, {"x": x})
    return int(np.flatnonzero(y.reshape(-1) == 1)[0])  # the second pixel of the first channel


def from_blocks(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """A tensor in blocks in the usual order, with the channels that were added."""
    n, c, h, w = x.shape
    block = block_size()
    return x.reshape(n, c // block, h, w, block).transpose(0, 1, 4, 2, 3).reshape(x.shape)


def to_blocks(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """The inverse of :func:`from_blocks`."""
    n, c, h, w = x.shape
    block = block_size()
    parts = x.reshape(n, c // block, block, h, w).transpose(0, 1, 3, 4, 2)
    return np.ascontiguousarray(parts).reshape(x.shape)
