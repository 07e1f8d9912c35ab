"""How large a model is once the bodies of its own functions stand in place of their calls.

Each function may call another one twice, so a file of 10 kB can stand for 2^40 operators.

This module is imported by the child process that tries an untrusted file: it must not import torch.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING

from robcert.certify.errors import ModelFileError

from .facts import inner_graphs

if TYPE_CHECKING:
    import onnx

Name = tuple[str, str, str]
"""Domain, name and overload of a function."""

MAIN: Name = ("", "", "")
"""In place of the name of a function: the model's graph."""


@dataclass(slots=True)
class Extent:
    """Numbers of things in a graph or function, those in functions that it calls included.

    Attributes:
        nodes: operators, those of subgraphs included.
        subgraphs: branches and bodies of loops.
    """

    nodes: int = 0
    subgraphs: int = 0


def extent(model: onnx.ModelProto) -> Extent:
    """The size of ``model`` without functions; its graph does not count as a subgraph.

    Raises:
        ModelFileError: a function calls itself, directly or through others.
    """
    bodies: dict[Name, onnx.GraphProto | onnx.FunctionProto] = {
        (function.domain, function.name, _overload(function)): function
        for function in model.functions
    }
    bodies[MAIN] = model.graph
    own: dict[Name, Extent] = {}
    calls: dict[Name, Counter[Name]] = {}
    for name, body in bodies.items():
        graphs = list(inner_graphs([body]))
        nodes = [node for graph in graphs for node in graph.node]
        own[name] = Extent(len(nodes), len(graphs) - 1)
        called = Counter((node.domain, node.op_type, _overload(node)) for node in nodes)
        calls[name] = Counter({callee: n for callee, n in called.items() if callee in bodies})
    for name in _callees_first(calls):
        for callee, times in calls[name].items():
            own[name].nodes += times * own[callee].nodes
            own[name].subgraphs += times * own[callee].subgraphs
    return own[MAIN]


def _callees_first(calls: dict[Name, Counter[Name]]) -> tuple[Name, ...]:
    """Functions in an order in which each comes after those that it calls."""
    try:
        return tuple(TopologicalSorter(calls).static_order())
    except CycleError as error:
        (_, name, _), *_ = error.args[1]
        message = f"function {name!r} of the model calls itself"
        raise ModelFileError(message, hint="the file is damaged or hostile") from error


def _overload(named: onnx.FunctionProto | onnx.NodeProto) -> str:
    """Which of several functions of one name; versions of onnx before 1.16 know one."""
    return str(getattr(named, "overload", ""))
