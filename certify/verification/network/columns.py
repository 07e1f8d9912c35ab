"""The columns of a matrix that an output consists of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from .combination import Combination
from .selection import Select
from .weights import Dense

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .nodes import Node

OTHER_CHANNELS = "normalises other channels than the columns that runtimes take them for"


def other_channels(nodes: Sequence[Node], at: int) -> bool:
    """Whether an output consists of as many columns of a matrix as channels, but not each of one.

    ONNX Runtime merges a batch normalisation into the product with a matrix before it, past what
    moves elements (MatmulBNFusion), and takes the channels for the columns.

    Args:
        nodes: operations of a network.
        at: position of the output, whose second axis has the channels.
    """
    shape = nodes[at].shape
    place = torch.arange(nodes[at].size)
    channel = place.view(shape).movedim(1, -1).flatten()
    wanted = torch.arange(shape[1]).repeat(len(place) // shape[1])
    while len(nodes[at].parents) == 1:
        node = nodes[at]
        if isinstance(node, Dense):
            columns = place[channel] % node.shape[-1]
            return node.shape[-1] == shape[1] and not torch.equal(columns, wanted)
        if isinstance(node, Select) and bool((node.index >= 0).all()):
            place = node.index.flatten()[place]
        elif not (isinstance(node, Combination) and _changes_nothing(node)):
            return False
        (at,) = node.parents
    return False


def _changes_nothing(node: Combination) -> bool:
    return node.factors == (1.0,) and (node.offset is None or not bool(node.offset.any()))
