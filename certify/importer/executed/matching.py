"""Which tensors of an executed graph are those of the file's.

Tensors of one name are taken for each other, others where their values agree on two images. That is
a guess, which the comparison of the graphs between these tensors confirms or not.

This module is imported by a process that must not import torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .blocks import block_size, from_blocks, to_blocks
from .operators import LAYOUT
from .sides import FLOATS, TensorType, computed, session_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx
    from numpy.typing import NDArray

    from .sides import Side

AGREEMENT = 1e-4
"""Largest difference of the values of one tensor, relative to the largest."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A tensor of the file and the one of the executed graph that has its values.

    Attributes:
        file: name in the file.
        executed: name in the executed graph.
        shape: in the file.
        stored: in the executed graph.
        blocks: whether channels are stored in blocks there.
        guessed: whether the names differ.
    """

    file: str
    executed: str
    shape: tuple[int, ...]
    stored: TensorType
    blocks: bool = False
    guessed: bool = False

    def without_added(self, x: NDArray[Any]) -> NDArray[Any]:
        """Numbers of the executed graph, in the usual order, without the channels added there."""
        return np.ascontiguousarray(x[:, : self.shape[1]]) if self.blocks else x

    def to_executed(self, x: NDArray[Any]) -> NDArray[Any]:
        """Numbers in the usual order, as the executed graph stores them."""
        return to_blocks(x) if self.blocks else x

    def of_executed(self, x: NDArray[Any]) -> NDArray[Any]:
        """Numbers as the executed graph stores them, as the file has them."""
        return self.without_added(from_blocks(x)) if self.blocks else x

    def agrees(self, ours: NDArray[Any], theirs: NDArray[Any]) -> bool:
        """Whether the file's values are those of the executed graph but for rounding."""
        theirs = self.of_executed(theirs)
        if ours.shape != theirs.shape or ours.dtype != theirs.dtype:
            return False
        size = np.abs(ours).max(initial=0.0, where=np.isfinite(ours))
        return bool(np.isclose(theirs, ours, rtol=0, atol=AGREEMENT * size, equal_nan=True).all())


def pairs_of(file: Side, executed: Side, images: Sequence[NDArray[np.generic]]) -> list[Pair]:
    """Tensors of both graphs with the same values, in the file's order.

    Args:
        file: the graph of the file.
        executed: that of the runtime.
        images: inputs.
    """
    ours, theirs = values_of(file, images), values_of(executed, images)
    waiting = {name: rows for name, rows in ours.items() if name not in theirs}
    found = []
    for name, rows in theirs.items():
        stored = TensorType.of(rows[0])
        blocks = _has_blocks(executed.producers[name].proto, stored.shape)
        if name in ours:
            if TensorType.of(ours[name][0]) == stored and not blocks:
                found.append(Pair(name, name, stored.shape, stored))
            continue
        for same, expected in waiting.items():
            pair = Pair(same, name, expected[0].shape, stored, blocks, guessed=True)
            if all(map(pair.agrees, expected, rows)):
                found.append(pair)
                del waiting[same]
                break
    order = {name: at for at, name in enumerate(ours)}
    return sorted(found, key=lambda pair: order[pair.file])


def _has_blocks(node: onnx.NodeProto, shape: tuple[int, ...]) -> bool:
    """Whether channels of a node's output are stored in blocks."""
    inside = node.domain == LAYOUT and node.op_type != "ReorderOutput"
    return inside and len(shape) == 4 and shape[1] % block_size() == 0


def values_of(side: Side, images: Sequence[NDArray[np.generic]]) -> dict[str, list[NDArray[Any]]]:
    """The tensors of :data:`FLOATS` that depend on the image."""
    below = side.leaves([])
    names = [name for name in side.producers if below[name]]
    session = session_of(side.exposed(names))
    runs = [computed(session, {side.image: image}) for image in images]
    return {
        name: [run[name] for run in runs]
        for name in names
        if all(name in run and run[name].dtype.name in FLOATS and run[name].size for run in runs)
    }
