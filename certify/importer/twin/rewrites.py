"""Rewrites of a twin's graph that change what it costs; never what it computes or its gradient."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

import torch

from ..operators.convolution import convolution, transposed_convolution
from ..operators.pooling import max_pool
from ..operators.same_rows import SAME_ROWS

if TYPE_CHECKING:
    from torch import fx

KEEP_NO_OUTPUT = (convolution, transposed_convolution, torch.add)
"""Functions whose backward pass does not need what they gave."""


def rewrite(module: fx.GraphModule) -> None:
    """All rewrites, in place; together they save up to two fifths of a small network's gradient."""
    for node in list(module.graph.nodes):
        if node.target in (convolution, transposed_convolution):
            _lay_out_channels_last(module, node)
        if node.target is max_pool:
            _pool_before_relu(node)
    for node in module.graph.nodes:
        if node.target is torch.relu and _may_be_overwritten(node.all_input_nodes[0]):
            node.target = torch.relu_
    module.graph.lint()
    module.recompile()


def keep_rows(module: fx.GraphModule) -> None:
    """Products whose rows do not depend on the batch, in place; for a graph that takes batches."""
    for node in module.graph.nodes:
        node.target = SAME_ROWS.get(node.target, node.target)
    module.recompile()


def _lay_out_channels_last(module: fx.GraphModule, node: fx.Node) -> None:
    """Store the weight of a two-dimensional convolution channels last.

    torch takes the layout of a convolution's output from its weight, and what follows keeps it.
    """
    for name in (str(given.target) for given in node.all_input_nodes if given.op == "get_attr"):
        tensor = getattr(module, name)
        if tensor.ndim == 4:  # a clone, for contiguous() leaves weights of one channel alone
            setattr(module, name, tensor.clone(memory_format=torch.channels_last))


def _pool_before_relu(pool: fx.Node) -> None:
    """Maximum of the windows first, for then ReLU has a quarter of the work.

    The two commute. The gradient agrees as well: where the maximum is positive the same pixel has
    it, elsewhere it is zero.
    """
    relu, readers = pool.all_input_nodes[0], list(pool.users)
    if relu.target is not torch.relu or len(relu.users) > 1 or len(readers) > 1:
        return
    if not _windows_hold_a_pixel(dict(pool.kwargs)) or pool.kwargs["n_outputs"] != 1:
        return
    pool.replace_input_with(relu, relu.all_input_nodes[0])
    pool.graph.erase_node(relu)
    (first,) = readers
    with pool.graph.inserting_after(first):
        after = pool.graph.call_function(torch.relu, (first,))
    after.meta = dict(relu.meta)
    first.replace_all_uses_with(after, delete_user_cb=lambda user: user is not after)


def _windows_hold_a_pixel(attributes: dict[str, Any]) -> bool:
    """Whether no window lies in the padding alone, whose maximum would be minus infinity."""
    kernel, pads = attributes["kernel_shape"], attributes.get("pads", ())
    small = all(pad < side for pad, side in zip(pads, (*kernel, *kernel), strict=False))
    return small and not attributes.get("ceil_mode", 0)


def _may_be_overwritten(node: fx.Node) -> bool:
    """Whether ``node`` has at most one reader, and its backward pass does not need its value."""
    if len(node.users) > 1:
        return False
    pooled = node.target is operator.getitem and node.all_input_nodes[0].target is max_pool
    return pooled or node.target in KEEP_NO_OUTPUT
