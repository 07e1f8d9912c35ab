"""An ONNX file as a network."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import TensorProto

from .builder import Builder
from .constants import constant_of
from .errors import UncheckableModelError
from .maps import Factors, Sum
from .model_file import parsed
from .network import MOST_ELEMENTS, Kind, Network, Node, Symbol
from .operators import RULES, Operator

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from .preprocessing import Preprocessing

    Constant = NDArray[np.generic]

SHAPE_ONLY = ("Identity", "Flatten", "Reshape", "Squeeze", "Unsqueeze", "Dropout")
"""Operators between the scores and the output that keep them apart and in their order."""

INPUT_TYPES = {"float32": TensorProto.FLOAT, "uint8": TensorProto.UINT8}

SQUASHING = ("Softmax", "LogSoftmax", "Sigmoid")
"""Operators at the end that change no order; a sigmoid, of one score, not its sign."""


def read_network(
    data: bytes, output: str, preprocessing: Preprocessing, image_shape: tuple[int, ...]
) -> Network:
    """The computation in an ONNX file, from pixels to the scores before a final softmax.

    Args:
        data: the file.
        output: tensor with the class scores, or with what a softmax makes of them; empty for the
            only output.
        preprocessing: what is done to the pixels first.
        image_shape: ``(c, h, w)``.

    Raises:
        UncheckableModelError: it is no ONNX file, or has an operator without bounds here.
    """
    builder = Builder(label="the preprocessing")
    graph, opset = _graph(data)
    x = _preprocessed(builder, preprocessing, image_shape)
    source = _Source(builder, graph, opset, preprocessing.dtype)
    builder.label = "the input"
    tensor, softmax = source.scores_tensor(output)
    scores = source.read(tensor, source.input_of(x))
    builder.label = "the scores"
    binary = softmax is None or softmax.op_type == "Sigmoid"
    if isinstance(scores, Symbol) and scores.size == 1 and binary:
        # of the second of two classes; the first has the score 0
        scores, softmax = builder.chosen([scores], np.array([-1, 0]), np.zeros(1)), None
    if not isinstance(scores, Symbol) or scores.size < 2 or max(scores.shape) != scores.size:
        message = "they are not one number for each of several classes"
        raise builder.refuse(message)
    if softmax is not None and not source.is_over_all(softmax, scores):
        message = "the softmax after them is not over the classes"
        if softmax.op_type == "Sigmoid":
            message = "the sigmoid after them is not of one score alone"
        raise builder.refuse(message)
    at = builder.cut(scores).at
    return Network(tuple(builder.nodes), at, tuple(builder.relus))


def _graph(data: bytes) -> tuple[onnx.GraphProto, int]:
    """The graph in a file, and the version of its operators."""
    model = parsed(data)
    versions = [each.version for each in model.opset_import if each.domain in ("", "ai.onnx")]
    if len(versions) != 1 or not model.graph.node or model.functions:
        message = "the model is not an ONNX file with one graph and operators that ONNX defines"
        raise UncheckableModelError(message)
    names = [tensor.name for tensor in model.graph.initializer]
    if model.graph.sparse_initializer or len(set(names)) < len(names):
        message = "the model stores tensors as sparse ones, or two of one name"
        raise UncheckableModelError(message)
    return model.graph, versions[0]


def _preprocessed(builder: Builder, how: Preprocessing, image_shape: tuple[int, ...]) -> Symbol:
    """The model's input; a model cannot merge its operators with what happens before it."""
    size = prod(image_shape)
    x = Symbol(builder.add(Node(Kind.INPUT, (), size, "the pixels")), image_shape)
    low, high = (np.array([value]) for value in how.range)
    if how.range != (0.0, 1.0):
        offset = np.broadcast_to(low, image_shape)
        x = builder.affine([x], image_shape, Factors(high - low), offset)
    if how.mean:
        x = builder.affine([x], image_shape, Sum((1,)), -how.constant(how.mean, image_shape))
    if how.std:
        x = builder.affine([x], image_shape, Factors(1 / how.constant(how.std, image_shape)))
    x = builder.cut(builder.chosen([x], how.arranged(np.arange(size).reshape(image_shape))))
    return builder.clipped(x, 0.0, 255.0) if how.dtype == "uint8" else x


@dataclass(frozen=True, slots=True, eq=False)
class _Source:
    """A graph of ONNX operators that is being read."""

    builder: Builder
    graph: onnx.GraphProto
    opset: int
    dtype: str

    def input_of(self, x: Symbol) -> dict[str, Symbol]:
        """The tensor that takes the images, which must have the shape of ``x``."""
        stored = {tensor.name for tensor in self.graph.initializer}
        inputs = [each for each in self.graph.input if each.name not in stored]
        if len(inputs) != 1:
            message = f"the model has {len(inputs)} inputs; the checker knows one"
            raise UncheckableModelError(message)
        kind = inputs[0].type.tensor_type
        sizes = [axis.dim_value for axis in kind.shape.dim]
        fits = len(sizes) == len(x.shape) and all(
            have in (0, -1, want) for have, want in zip(sizes, x.shape, strict=True)
        )
        if not fits or kind.elem_type != INPUT_TYPES[self.dtype]:
            message = (
                f"the model's input must be {self.dtype} of shape {list(x.shape)}, not {sizes}"
            )
            raise UncheckableModelError(message)
        if self.dtype != "float32":
            self._require_cast(inputs[0].name)
        return {inputs[0].name: x}

    def _require_cast(self, name: str) -> None:
        """Raise unless nothing is computed with whole numbers, which may wrap around."""
        for node in self.graph.node:
            kinds = [each.i for each in node.attribute if each.name == "to"]
            if name in node.input and (node.op_type != "Cast" or kinds != [TensorProto.FLOAT]):
                message = (
                    f"node {node.name or node.output[0]!r} ({node.op_type}): it computes with the "
                    "whole numbers of the input; the checker knows their conversion to float32"
                )
                raise UncheckableModelError(message)

    def scores_tensor(self, output: str) -> tuple[str, onnx.NodeProto | None]:
        """The tensor with the scores: ``output``, or what a softmax makes it from; that softmax.

        A sigmoid counts as one.
        """
        names = [each.name for each in self.graph.output]
        producers = {name: node for node in self.graph.node for name in node.output}
        if not output and len(names) != 1:
            message = "the model has several outputs and the proof names none"
            raise UncheckableModelError(message)
        start = at = output or names[0]
        for _ in range(len(self.graph.node) + 1):
            node = producers.get(at)
            if node is not None and node.op_type in SQUASHING and node.input:
                return str(node.input[0]), node
            if node is None or not _keeps_scores(node, self.opset):
                return start, None
            at = node.input[0]
        message = "the graph of the model has a circle"
        raise UncheckableModelError(message)

    def is_over_all(self, softmax: onnx.NodeProto, scores: Symbol) -> bool:
        """Whether a softmax of ``scores`` is over all of them."""
        if softmax.op_type == "Sigmoid":
            return False
        axis = -1 if self.opset >= 13 else 1
        for each in softmax.attribute:
            axis = each.i if each.name == "axis" else axis
        if not -len(scores.shape) <= axis < len(scores.shape):
            return False
        axis %= len(scores.shape)
        along = scores.shape[axis] if self.opset >= 13 else prod(scores.shape[axis:])
        return along == scores.size

    def read(self, wanted: str, known: dict[str, Symbol]) -> Symbol | Constant:
        """The tensor ``wanted``, computed from the tensors in ``known``."""
        values: dict[str, Symbol | Constant] = dict(known)
        nodes = self._needed(wanted)
        read = Counter(name for node in nodes for name in node.input)
        for tensor in self.graph.initializer:
            if tensor.name in read:
                values[tensor.name] = constant_of(tensor)
        for node in nodes:
            self.builder.label = f"node {node.name or node.output[0]!r} ({node.op_type})"
            rule = RULES.get(node.op_type) if node.domain in ("", "ai.onnx") else None
            if rule is None:
                message = "the checker has no bounds for this operator"
                raise self.builder.refuse(message)
            if unknown := [name for name in node.input if name and name not in values]:
                message = f"its input {unknown[0]!r} is unknown"
                raise self.builder.refuse(message)
            if node.output[0] in values:
                message = "its output has the name of another tensor"
                raise self.builder.refuse(message)
            sole_reader = bool(node.input) and read[node.input[0]] == 1
            operator = Operator(self.builder, node, self.opset, sole_reader)
            values[node.output[0]] = _applied(rule, operator, [values.get(n) for n in node.input])
        if wanted not in values:
            message = f"the model has no tensor {wanted!r}"
            raise UncheckableModelError(message)
        return values[wanted]

    def _needed(self, wanted: str) -> list[onnx.NodeProto]:
        """The nodes that ``wanted`` depends on, in the order of the file where it is possible."""
        producers = {name: node for node in self.graph.node for name in node.output if name}
        needed, waiting = set[int](), [wanted]
        while waiting:
            node = producers.get(waiting.pop())
            if node is not None and id(node) not in needed:
                needed.add(id(node))
                waiting += node.input
        found: list[onnx.NodeProto] = []
        left = [node for node in self.graph.node if id(node) in needed]
        pending = {name for node in left for name in node.output}
        while left:  # a file whose nodes are in order takes one round
            later = []
            for node in left:
                if pending.intersection(node.input):
                    later.append(node)
                else:
                    found.append(node)
                    pending.difference_update(node.output)
            if len(later) == len(left):
                message = "the graph of the model has a circle"
                raise UncheckableModelError(message)
            left = later
        return found


def _keeps_scores(node: onnx.NodeProto, opset: int) -> bool:
    """Whether an operator keeps its input's elements and their order.

    Dropout does not in training, which an input of it says since operator set 12, and the lack of
    an attribute before 7.
    """
    if node.op_type == "Dropout" and (opset < 7 or any(node.input[2:])):
        return False
    return node.op_type in SHAPE_ONLY and bool(node.input)


def _applied(
    rule: Callable[..., Symbol | Constant], operator: object, inputs: list[Symbol | Constant | None]
) -> Symbol | Constant:
    """The output of one operator."""
    builder: Builder = operator.builder  # type: ignore[attr-defined]
    try:
        found = rule(operator, *inputs)
    except (ValueError, TypeError, IndexError, AttributeError, KeyError) as error:
        message = f"the checker cannot read it: {error}"
        raise builder.refuse(message) from error
    if isinstance(found, np.ndarray) and found.size > MOST_ELEMENTS:
        message = "the model is too large for the checker"
        raise builder.refuse(message)
    return found
