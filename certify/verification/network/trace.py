"""A function of torch tensors as a graph of its elementary operations.

The function is run once on one input, and every operation on the way is recorded. What it decides
by shapes is thereby fixed; what it decides by values is an error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.fx.experimental.proxy_tensor import make_fx

from robcert.certify.errors import UnsupportedOperatorError
from robcert.certify.model import noted_source, recording
from robcert.certify.numerics import unpadded_products

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, fx


def traced(
    function: Callable[[Tensor], Tensor], input_shape: tuple[int, ...]
) -> tuple[fx.GraphModule, Tensor]:
    """The operations of ``function`` on one input, and that input ``(1, *input_shape)``.

    Args:
        function: from a batch of inputs ``(b, *input_shape)`` to ``(b, k)``.
        input_shape: shape of one input.

    Raises:
        UnsupportedOperatorError: the operations depend on the values of the input.
    """
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(1, *input_shape, generator=generator)

    def plain(image: Tensor) -> Tensor:  # make_fx miscounts the parameters of methods
        return function(image)

    try:
        with torch.no_grad(), recording(), unpadded_products():
            module = make_fx(plain)(x)
            if _writes_to_shared(module):
                # in-place operations, of views too, become operations that return a new tensor
                module = make_fx(torch.func.functionalize(plain))(x)
            module.graph.eliminate_dead_code(_has_effect)  # such as the places of maxima
            return module, x
    except UnsupportedOperatorError as error:
        where = noted_source(error)
        raise UnsupportedOperatorError(f"{where}: {error}" if where else str(error)) from error
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        message = f"which operations the network performs depends on the image: {reason}"
        where = noted_source(error)
        message = f"{where}: {message}" if where else message
        raise UnsupportedOperatorError(message) from error


def _writes_to_shared(module: fx.GraphModule) -> bool:
    """Whether an operation changes a tensor that the graph also reads under another name."""
    places = {node: place for place, node in enumerate(module.graph.nodes)}
    for node in module.graph.nodes:
        if not _is_in_place(node):
            continue
        changed = node.args[0]
        read_later = any(places[user] > places[node] for user in changed.users)
        viewed = any(_is_view(user) for user in changed.users)
        if changed.op != "call_function" or _is_view(changed) or viewed or read_later:
            return True
    return False


def _is_in_place(node: fx.Node) -> bool:
    """Whether an operation changes an argument."""
    schema = getattr(node.target, "_schema", None)
    return schema is not None and bool(schema.is_mutable)


def _has_effect(node: fx.Node) -> bool:
    """Whether an operation has to stay although nothing reads its output."""
    return node.is_impure() or _is_in_place(node)


def _is_view(node: fx.Node) -> bool:
    """Whether the output of an operation shares its memory with an argument."""
    schema = getattr(node.target, "_schema", None)
    if schema is None or schema.is_mutable:
        return False
    return any(result.alias_info is not None for result in schema.returns)
