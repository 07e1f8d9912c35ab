"""The differentiable twin of an ONNX graph: the same function as a torch.fx module.

A graph written for one image (batch 1, and constants that say so) is not rewritten: it is mapped
over the batch with ``torch.vmap``, which computes what the graph gives for each image alone.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import onnx
import torch
from onnx import AttributeProto, ModelProto, inliner, numpy_helper
from torch import Tensor, fx

from robcert.certify.errors import ModelFileError, UnsupportedOperatorError
from robcert.certify.model import is_recording, run_by_call

from ..graph.graph import Graph, Node, inline_functions, opset_versions, simplified
from ..operators.operator_table import lookup
from .builder import EXECUTION_ERRORS, Builder, first_line
from .rewrites import keep_rows
from .values import Findings, describe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from robcert.certify.model import GraphNode

Batching = Literal["native", "mapped", "single"]

CONTROL = frozenset({"If", "Constant"})
"""Operators that the builder handles itself."""

ROUNDING = 1e-3
"""Of the largest score: what another order of summing may change in a hundred random layers."""


class TwinModule:
    """A graph in torch operations, with gradients.

    Attributes:
        module: ``module(*inputs, straight_through=False)`` gives a tuple of all outputs.
        inputs: names of the graph's inputs in order.
        outputs: names of the tensors it computes.
        straight_through: nodes with surrogate gradients.
        no_gradient_nodes: nodes on the way from the input that pass no gradient on.
        random_nodes: nodes whose output is random.
        training_nodes: nodes left in training mode (dropout that drops, statistics of the batch).
        unfold: makes the same graph with its constants computed in it; None if it computes none.
        batching: how a batch is computed: as the graph stands (``native``), mapped image by image
            in one sweep (``mapped``), or not at all (``single``: one image at a time).
    """

    def __init__(self, module: fx.GraphModule, graph: Graph, findings: Findings) -> None:
        self.module = module
        self.inputs, self.outputs = graph.inputs, graph.outputs
        self.straight_through = tuple(findings.straight_through)
        self.no_gradient_nodes = tuple(findings.no_gradient)
        self.random_nodes = tuple(findings.random)
        self.training_nodes = tuple(findings.training)
        self.batching: Batching = "native"
        self.unfold: Callable[[], fx.GraphModule] | None = None
        self._unfolded: fx.GraphModule | None = None
        self._keeps_rows = False
        self._device: torch.device | str = "cpu"

    @property
    def dropout_alone(self) -> tuple[GraphNode, ...]:
        """The random nodes, if all of them are Dropout left in training mode; else none."""
        return self.random_nodes if set(self.random_nodes) <= set(self.training_nodes) else ()

    @property
    def batch_free(self) -> bool:
        """Whether it takes any batch size."""
        return self.batching != "single"

    # GraphModule.forward, not the module itself: a call that fails would print to stderr.
    def __call__(self, *inputs: Tensor, straight_through: bool = True) -> Any:
        """The output, or a tuple of them if there are several.

        Args:
            inputs: the graph's inputs, batch first.
            straight_through: surrogate gradients at quantised and rounding nodes, else true ones.
        """
        if self.batching == "mapped":
            result = torch.vmap(self._one, randomness="different")(
                *inputs, straight_through=straight_through
            )
        else:
            result = self._forward(inputs, straight_through=straight_through)
        return result[0] if len(result) == 1 else result

    def _forward(self, inputs: Sequence[Tensor], *, straight_through: bool) -> tuple[Tensor, ...]:
        if is_recording():
            given = (*inputs, straight_through)
            result: tuple[Tensor, ...] = run_by_call(self._to_be_recorded(), given)
            return result
        return self.module.forward(*inputs, straight_through=straight_through)

    def _to_be_recorded(self) -> fx.GraphModule:
        """The graph with the computation of its constants, which a recording shall contain."""
        if self.unfold is None:
            return self.module
        if self._unfolded is None:
            self._unfolded = self.unfold().eval()
            if self._keeps_rows:
                keep_rows(self._unfolded)
        return self._unfolded.to(self._device)

    def _one(self, *rows: Tensor, straight_through: bool) -> tuple[Tensor, ...]:
        """Outputs of one image without its batch axis."""
        batch = [row.unsqueeze(0) for row in rows]
        outputs = self._forward(batch, straight_through=straight_through)
        return tuple(y.squeeze(0) if y.ndim and y.shape[0] == 1 else y for y in outputs)

    def to(self, device: torch.device | str) -> TwinModule:
        """The twin itself, moved to a device."""
        self.module.to(device)
        self._device = device
        return self

    def free_batch(self, image_shape: Sequence[int]) -> Batching:
        """Find out by trial how a batch can be computed, set ``batching`` and return it.

        Three random images must give the rows that they give alone.

        Args:
            image_shape: shape of one input without the batch axis.

        Raises:
            ModelFileError: not even one image of that shape runs.
        """
        generator = torch.Generator().manual_seed(0)
        x = torch.rand(3, *image_shape, generator=generator)
        self.batching = "native"
        try:
            with torch.no_grad():
                alone = torch.cat([_first(self._run(row)) for row in torch.split(x, 1)])
        except EXECUTION_ERRORS as error:
            message = f"the twin does not run on an input of shape {[1, *image_shape]}: "
            message += first_line(error)
            raise ModelFileError(message) from error
        tries: tuple[Batching, ...] = ("native", "mapped")
        for batching in tries:
            self.batching = batching
            if self._agrees(x, alone):
                if batching == "native":
                    self._keep_rows()
                return batching
        self.batching = "single"
        return "single"

    def batch_like(self, other: TwinModule) -> None:
        """Compute a batch as the twin of another tensor of the same graph does."""
        self.batching = other.batching
        if other._keeps_rows:
            self._keep_rows()

    def _keep_rows(self) -> None:
        keep_rows(self.module)
        self._keeps_rows = True

    def _run(self, x: Tensor) -> tuple[Tensor, ...]:
        result = self(x)
        return result if isinstance(result, tuple) else (result,)

    def _agrees(self, x: Tensor, alone: Tensor) -> bool:
        """Whether a batch gives the rows ``alone``; random graphs are held to the shape only."""
        try:
            with torch.no_grad():
                together = _first(self._run(x))
        except (*EXECUTION_ERRORS, ModelFileError):
            return False
        if together.shape != alone.shape:
            return False
        if self.random_nodes:
            return True
        scale = alone.double().nan_to_num(0.0, 0.0, 0.0).abs().max().clamp_min(1e-6)
        atol = ROUNDING * float(scale)
        return torch.allclose(
            together.double(), alone.double(), rtol=0.0, atol=atol, equal_nan=True
        )


def _first(outputs: tuple[Tensor, ...]) -> Tensor:
    return outputs[0] if outputs[0].ndim else outputs[0].unsqueeze(0)


def build_twin(
    model: ModelProto,
    *,
    outputs: Sequence[str] | None = None,
    image_shape: Sequence[int] | None = None,
    constants: Mapping[str, NDArray[np.generic]] | None = None,
) -> TwinModule:
    """The twin of ``model``.

    Args:
        model: with external data loaded.
        outputs: tensors to compute, inner ones allowed; the graph's own by default. Only the nodes
            that they need are translated.
        image_shape: shape of one input without the batch axis; given, ``batching`` is found out.
        constants: values of further graph inputs.

    Raises:
        UnsupportedOperatorError: lists every operator that is not in the table.
        ModelFileError: the graph is malformed or unfolds beyond all measure.
    """
    model = _with_constants(_expanded(inline_functions(model)), constants or {})
    opsets = opset_versions(model)
    graph = simplified(model.graph, outputs)
    _refuse_unsupported(graph, opsets)
    findings = Findings()
    module = Builder(opsets, findings).module(graph, graph.inputs)
    twin = TwinModule(module.eval(), graph, findings)
    if findings.rounded:
        again = Builder(opsets, Findings(), unfolded=True)
        twin.unfold = partial(again.module, graph, graph.inputs)
    if image_shape is not None:
        twin.free_batch(image_shape)
    return twin


def _with_constants(model: ModelProto, constants: Mapping[str, NDArray[np.generic]]) -> ModelProto:
    if not constants:
        return model
    result = ModelProto()
    result.CopyFrom(model)
    result.graph.initializer.extend(
        numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()
    )
    return result


def _all_nodes(graph: Graph) -> Iterator[Node]:
    """Nodes of a graph and of the branches inside it."""
    for node in graph.nodes:
        yield node
        for attribute in node.proto.attribute:
            if attribute.type == AttributeProto.GRAPH:
                yield from _all_nodes(simplified(attribute.g))


def _supported(node: Node, opsets: Mapping[str, int]) -> bool:
    if node.domain == "" and node.proto.op_type in CONTROL:
        return True
    return lookup(node.domain, node.proto.op_type, opsets.get(node.domain, 1)) is not None


def _refuse_unsupported(graph: Graph, opsets: Mapping[str, int]) -> None:
    """Raise with every operator that the table lacks, each at its first node."""
    first: dict[tuple[str, str], Node] = {}
    counts: dict[tuple[str, str], int] = {}
    for node in _all_nodes(graph):
        if not _supported(node, opsets):
            key = (node.domain, node.proto.op_type)
            first.setdefault(key, node)
            counts[key] = counts.get(key, 0) + 1
    if not first:
        return
    lines = [
        f"{describe(node, opsets)} of {graph.n_nodes}"
        + (f" and {counts[key] - 1} more" if counts[key] > 1 else "")
        for key, node in first.items()
    ]
    message = "no twin for " + "; ".join(lines)
    raise UnsupportedOperatorError(
        message, hint="analyses that need no gradient still run on this model"
    )


def _expanded(model: ModelProto) -> ModelProto:
    """The model with unsupported operators that ONNX defines by others replaced by these."""
    opsets = opset_versions(model)
    lacking = {
        (node.domain, node.op_type)
        for node in model.graph.node
        if node.op_type not in CONTROL
        and lookup(
            "" if node.domain == "ai.onnx" else node.domain,
            node.op_type,
            opsets.get(node.domain, 1),
        )
        is None
        and _has_definition(node, opsets)
    }
    if not lacking:
        return model
    try:
        return inliner.inline_selected_functions(
            model, sorted(lacking), inline_schema_functions=True
        )
    except RuntimeError:  # the inliner's own limits; the operators are then reported as lacking
        return model


def _has_definition(node: onnx.NodeProto, opsets: Mapping[str, int]) -> bool:
    domain = "" if node.domain == "ai.onnx" else node.domain
    try:
        schema: Any = onnx.defs.get_schema(node.op_type, opsets.get(domain, 1), domain)
    except onnx.defs.SchemaError:
        return False
    return bool(schema.has_function or schema.has_context_dependent_function)
