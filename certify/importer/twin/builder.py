"""From a cleaned ONNX graph to a torch.fx module, operator by operator."""

from __future__ import annotations

import math
import operator as python
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from onnx import GraphProto, TensorProto
from torch import Tensor, fx, nn

from robcert.certify.errors import ModelFileError, UnsupportedOperatorError
from robcert.certify.model import (
    GraphNode,
    OverridableNode,
    is_recording,
    name_source,
    source_of,
)

from .. import operators as _operators  # noqa: F401  fills the table
from ..graph.elements import tensor_of
from ..graph.graph import Graph, Node, captured, reads, simplified
from ..operators.operator_table import Gradient, Operator, keyword, lookup
from .rewrites import rewrite
from .values import (
    Findings,
    Value,
    constant,
    describe,
    n_outputs,
    numbers,
    output_type,
    plain,
    rounds,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SHAPE_SOURCES = frozenset({"Shape", "Size"})
"""Operators whose output is a fact about shapes, computed on the host."""

FOLDS = 8
"""Constants may be computed from those in the file up to so many times their size."""

EXECUTION_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What torch and Python raise when a node does not fit its inputs."""


def first_line(error: Exception) -> str:
    """What went wrong, without the rest of a long message."""
    return next(iter(str(error).splitlines()), type(error).__name__)


def like_device(x: Tensor, like: Tensor) -> Tensor:
    """``x`` where ``like`` is."""
    return x.to(like.device)


def numbers_from_pixels(x: Tensor) -> Tensor:
    """``x``, whose entries a call is going to read as Python numbers.

    Raises:
        RuntimeError: the operations are being recorded, which would make constants of them.
    """
    if is_recording():
        message = "the node reads a number that is computed from the pixels"
        raise RuntimeError(message)
    return x


def as_double(x: Tensor) -> Tensor:
    """``x`` in double precision."""
    return x.to(torch.float64)


class Choice(nn.Module):
    """The operator If: one of two graphs, chosen by a condition each time."""

    def __init__(self, then: fx.GraphModule, otherwise: fx.GraphModule) -> None:
        super().__init__()
        self.then, self.otherwise = then, otherwise

    def forward(self, condition: Tensor, *values: Tensor, straight_through: bool) -> Any:
        """Outputs of the chosen graph."""
        chosen = self.then if bool(condition) else self.otherwise
        return chosen.forward(*values, straight_through=straight_through)


class Builder:
    """Emits one graph; ``module()`` is the result.

    Numbers that depend on constants alone are computed once, in float32. With ``unfolded`` the
    graph computes them at each call, so that whoever reads it sees what they are made of.
    """

    def __init__(
        self,
        opsets: Mapping[str, int],
        findings: Findings,
        values: Mapping[str, Value] | None = None,
        *,
        unfolded: bool = False,
    ) -> None:
        self.opsets, self.findings, self.unfolded = opsets, findings, unfolded
        self.values: dict[str, Value] = dict(values or {})
        self.graph = fx.Graph()
        self.root = nn.Module()
        self._attributes: dict[tuple[int, bool], fx.Node] = {}
        self._kept: list[Tensor] = []  # ids above stay unique while their tensors live
        self._host_names: list[str] = []
        self._switch: fx.Node | None = None

    def module(self, graph: Graph, inputs: Sequence[str]) -> fx.GraphModule:
        """The module that computes ``graph.outputs`` from ``inputs`` and ``straight_through``."""
        kinds = dict(zip(graph.inputs, graph.input_types, strict=True))
        for position, name in enumerate(inputs):
            node = self.graph.placeholder(f"input_{position}")
            known = self.values.get(name, Value(node, element_type=kinds.get(name, 0)))
            self.values[name] = Value(node, known.on_host, known.element_type)
        self._switch = self.graph.placeholder("straight_through", default_value=False)
        for name in inputs:
            if kinds.get(name) == TensorProto.DOUBLE:
                node = self.graph.call_function(as_double, (self.values[name].content,))
                self.values[name] = Value(node, element_type=TensorProto.DOUBLE)
        self.emit(graph)
        self.graph.output(tuple(self._argument(name) for name in graph.outputs))
        self.graph.lint()
        module = fx.GraphModule(self.root, self.graph)
        for name in self._host_names:  # the line above made buffers of them
            delattr(module, name)
            setattr(module, name, getattr(self.root, name))
        rewrite(module)
        return module

    def emit(self, graph: Graph) -> None:
        """Emit the nodes of ``graph`` in order."""
        used = {name for node in graph.nodes for name in reads(node.proto)} | set(graph.outputs)
        for name, proto in graph.constants.items():
            if name in used:
                self.findings.foldable_elements += FOLDS * math.prod(proto.dims)
                self.values[name] = Value(tensor_of(proto), element_type=proto.data_type)
        for node in graph.nodes:
            last = next(reversed(self.graph.nodes), None)
            self._emit_node(node)
            kind = GraphNode if graph.overridable.isdisjoint(node.proto.input) else OverridableNode
            self._name_calls(kind(node.label, node.proto.op_type), after=last)

    def _name_calls(self, source: GraphNode, *, after: fx.Node | None) -> None:
        """State the node of what was emitted ``after`` a call and is not yet named."""
        for call in reversed(self.graph.nodes):
            if call is after:
                return
            if source_of(call) is None:
                name_source(call, source)

    def _emit_node(self, node: Node) -> None:
        if node.domain == "" and node.proto.op_type == "If":
            self._emit_if(node)
            return
        if node.domain == "" and node.proto.op_type == "Constant":
            self.values[node.proto.output[0]] = constant(node)
            return
        row = lookup(node.domain, node.proto.op_type, self.opsets.get(node.domain, 1))
        if row is None:
            raise UnsupportedOperatorError(node.proto.op_type)
        keywords = self._keywords(row, node)
        inputs = [self._value(name, node) if name else None for name in node.proto.input]
        if not row.takes([value is not None for value in inputs]):
            message = f"{describe(node, self.opsets)} has {len(inputs)} inputs, not those it needs"
            raise ModelFileError(message)
        known = all(value is None or isinstance(value.content, Tensor) for value in inputs)
        if known and row.gradient is not Gradient.RANDOM:
            self._fold(row, node, inputs, keywords)
        else:
            self._call(row, node, inputs, keywords)

    def _value(self, name: str, node: Node | None = None) -> Value:
        if name not in self.values:
            where = f"node {node.label!r} reads" if node else "the graph gives out"
            message = f"{where} a tensor {name!r} that no node produces"
            raise ModelFileError(message)
        return self.values[name]

    def _keywords(self, row: Operator, node: Node) -> dict[str, Any]:
        """Attributes and context of a node as keyword arguments."""
        result: dict[str, Any] = {}
        for attribute in node.proto.attribute:
            name = keyword(attribute.name)
            if name in row.attributes:
                result[name] = plain(attribute)
            elif attribute.name not in row.ignore:
                message = f"{describe(node, self.opsets)}: unknown attribute {attribute.name!r}"
                raise UnsupportedOperatorError(message)
        lacking = row.required - result.keys()
        if lacking:
            message = f"{describe(node, self.opsets)} lacks the attribute {min(lacking)!r}"
            raise ModelFileError(message)
        if "n_outputs" in row.context:
            result["n_outputs"] = n_outputs(node)
        if "input_types" in row.context:
            names = node.proto.input
            result["input_types"] = tuple(
                self._value(n, node).element_type if n else 0 for n in names
            )
        return result

    def _fold(
        self, row: Operator, node: Node, inputs: Sequence[Value | None], keywords: dict[str, Any]
    ) -> None:
        """Compute a node whose inputs are all known."""
        tensors = [None if value is None else value.content for value in inputs]
        try:
            with torch.no_grad():
                result = row.function(*tensors, **keywords)
        except (*EXECUTION_ERRORS, ModelFileError) as error:
            message = f"{describe(node, self.opsets)} cannot be computed: {first_line(error)}"
            raise ModelFileError(message) from error
        outputs = result if isinstance(result, tuple) else (result,)
        self.findings.folded(outputs)
        made = rounds(node, inputs, outputs)
        self.findings.rounded |= made
        traced = made or any(value is not None and value.source is not None for value in inputs)
        if self.unfolded and traced:
            self._call(row, node, inputs, keywords, constant=True)
        for name, output in zip(node.proto.output, outputs, strict=False):
            kind = output_type(node, inputs, output)
            source = self.values[name].content if self.unfolded and traced and name else None
            kept = source if isinstance(source, fx.Node) and output.is_floating_point() else None
            self.values[name] = Value(output, element_type=kind, source=kept)

    def _call(
        self,
        row: Operator,
        node: Node,
        inputs: Sequence[Value | None],
        keywords: dict[str, Any],
        *,
        constant: bool = False,
    ) -> None:
        """Emit a call of a node that depends on the input, or of a ``constant`` one."""
        moving = [v for v in inputs if v is not None and isinstance(v.content, fx.Node)]
        device = next((v.content for v in moving if not v.on_host), None)
        on_host = not constant and (node.proto.op_type in SHAPE_SOURCES or device is None)
        arguments: list[Any] = []
        for position, value in enumerate(inputs):
            name = row.parameter(position)
            if name in row.limits and value is not None and value.source is None:
                arguments.append(self._limit(value, device, on_host))
            else:
                wants_numbers = name in row.host
                arguments.append(self._call_argument(value, device, on_host, wants_numbers))
        emitted = {
            name: self._attribute(value, on_host) if isinstance(value, Tensor) else value
            for name, value in keywords.items()
        }
        if "straight_through" in row.context:
            emitted["straight_through"] = self._switch
        if not constant and (not on_host or row.gradient is Gradient.RANDOM):
            self.findings.note(row, node, inputs)
        call = self.graph.call_function(row.function, tuple(arguments), emitted)
        if "n_outputs" not in row.context:
            self.values[node.proto.output[0]] = Value(call, on_host, output_type(node, inputs))
            return
        self._unpack(call, node, on_host=on_host, first_type=output_type(node, inputs))

    def _unpack(self, call: fx.Node, node: Node, *, on_host: bool, first_type: int = 0) -> None:
        for position, name in enumerate(node.proto.output):
            if name:
                part = self.graph.call_function(python.getitem, (call, position))
                self.values[name] = Value(part, on_host, 0 if position else first_type)

    def _call_argument(
        self, value: Value | None, device: Any, on_host: bool, wants_numbers: bool
    ) -> Any:
        """An input as the emitted call takes it."""
        if value is None:
            return None
        if isinstance(value.content, Tensor):
            if wants_numbers:
                return numbers(value.content)
            if value.source is not None and not on_host:
                return value.source
            return self._attribute(value.content, on_host)
        if value.on_host and not on_host and not wants_numbers:
            return self.graph.call_function(like_device, (value.content, device))
        if wants_numbers and not value.on_host:
            return self.graph.call_function(numbers_from_pixels, (value.content,))
        return value.content

    def _limit(self, value: Value, device: Any, on_host: bool) -> Any:
        """A limit as the emitted call takes it: a number where it is a constant."""
        constant = isinstance(value.content, Tensor)
        return self._call_argument(value, device, on_host, wants_numbers=constant)

    def _attribute(self, tensor: Tensor, on_host: bool) -> fx.Node:
        """Node that reads a constant; buffers follow the module to its device, host ones stay."""
        key = (id(tensor), on_host)
        if key not in self._attributes:
            name = f"constant_{len(self._attributes)}"
            if on_host:
                setattr(self.root, name, tensor)
                self._host_names.append(name)
            else:
                self.root.register_buffer(name, tensor)
            self._kept.append(tensor)
            self._attributes[key] = self.graph.get_attr(name)
        return self._attributes[key]

    def _argument(self, name: str) -> fx.Node:
        value = self._value(name)
        if isinstance(value.content, Tensor):
            return value.source or self._attribute(value.content, on_host=False)
        return value.content

    def _emit_if(self, node: Node) -> None:
        """The chosen branch in place if the condition is known, else both and a choice."""
        branches = {a.name: a.g for a in node.proto.attribute}
        if len(node.proto.input) != 1 or branches.keys() != {"then_branch", "else_branch"}:
            message = f"{describe(node, self.opsets)} needs one condition and two branches"
            raise ModelFileError(message)
        condition = self._value(node.proto.input[0], node)
        if isinstance(condition.content, Tensor):
            taken = simplified(
                branches["then_branch" if bool(condition.content.any()) else "else_branch"]
            )
            outside = dict(self.values)
            self.emit(taken)
            outputs = [self._value(name, node) for name in taken.outputs]
            self.values = outside | dict(zip(node.proto.output, outputs, strict=True))
            return
        self._emit_choice(node, condition, branches["then_branch"], branches["else_branch"])

    def _emit_choice(
        self, node: Node, condition: Value, then: GraphProto, otherwise: GraphProto
    ) -> None:
        names = [
            name
            for name in dict.fromkeys([*captured(then), *captured(otherwise)])
            if isinstance(self._value(name, node).content, fx.Node)
        ]
        outside = {name: replace(value, source=None) for name, value in self.values.items()}
        modules = [
            Builder(self.opsets, self.findings, outside).module(simplified(branch), names)
            for branch in (then, otherwise)
        ]
        target = f"choice_{node.position}"
        self.root.add_module(target, Choice(*modules))
        arguments = tuple(self.values[name].content for name in names)
        call = self.graph.call_module(
            target, (condition.content, *arguments), {"straight_through": self._switch}
        )
        self._unpack(call, node, on_host=all(self.values[name].on_host for name in names))
