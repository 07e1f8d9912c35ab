"""Which node of the model's graph an operation of torch comes from, where operations are recorded.

The twin's graph states the node of each of its calls. While a recording is on, the twin runs call
by call, and torch copies what is stated of a call to every operation that it records meanwhile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import fx
from torch.fx.traceback import has_preserved_node_meta, preserve_node_meta

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from .classifier import GraphNode

_FIELD, _KEY = "custom", "model node"  # torch copies this field of a call's facts


def name_source(call: fx.Node, source: GraphNode) -> None:
    """State that ``call`` computes the node ``source`` of the model's graph."""
    call.meta[_FIELD] = {_KEY: source}


def source_of(operation: fx.Node) -> GraphNode | None:
    """The node of the model's graph that a call or a recorded operation is a part of, if stated."""
    found: GraphNode | None = operation.meta.get(_FIELD, {}).get(_KEY)
    return found


def recording() -> AbstractContextManager[None]:
    """A context in which operations are recorded with the nodes that they come from."""
    return preserve_node_meta()


def is_recording() -> bool:
    """Whether the calls of a twin have to be told apart."""
    return has_preserved_node_meta()


def run_by_call(module: fx.GraphModule, arguments: tuple[Any, ...]) -> Any:
    """The output of ``module``, call by call; an error gets the call's node as a note."""
    return _ByCall(module).run(*arguments)


class _ByCall(fx.Interpreter):
    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.extra_traceback = False  # the error's own message says more than the call's text

    def run_node(self, n: fx.Node) -> Any:
        """See the base class."""
        try:
            return super().run_node(n)
        except Exception as error:
            source = source_of(n)
            if source is not None and not hasattr(error, "__notes__"):
                error.add_note(source.described)
            raise


def noted_source(error: Exception) -> str:
    """The node at which a recording failed, in words; empty if none is noted."""
    return next(iter(getattr(error, "__notes__", ())), "")
