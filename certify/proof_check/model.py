"""An ONNX file as a list of affine maps and ReLUs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import Enum
from math import prod
from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from .errors import UncheckableModelError
from .maps import Choice, Factors, LinearMap, Sum
from .rounding import SPARE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from .preprocessing import Preprocessing

    Array = NDArray[np.float64]
    Constant = NDArray[np.generic]

MOST_ELEMENTS = 2**26
"""Elements of the largest tensor of a model."""

MOST_NODES = 20_000

SHAPE_ONLY = ("Identity", "Flatten", "Reshape", "Squeeze", "Unsqueeze", "Dropout")
"""Operators between the scores and the output that keep them apart and in their order."""


INPUT_TYPES = {"float32": TensorProto.FLOAT, "uint8": TensorProto.UINT8}

SQUASHING = ("Softmax", "LogSoftmax", "Sigmoid")
"""Operators at the end that change no order; a sigmoid, of one score, not its sign."""


class Kind(Enum):
    """What a node computes."""

    INPUT = "the pixels"
    AFFINE = "a linear map and an offset"
    CUT = "its argument, with the rounding of an evaluation in float32"
    RELU = "max(x, 0)"


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """One step of the computation, on flattened arrays.

    Attributes:
        kind: what it computes.
        parents: positions of its arguments.
        size: elements of its output.
        label: name and operator in the file.
        map: the linear map of an affine node.
        offset: what it adds, ``(size,)``; None for nothing.
        roundings: most roundings of a term in an evaluation in float32.
        shape: of a cut, the shape of its output before it was flattened.
        larger_of: two nodes whose larger output this is, by way of a ReLU.
    """

    kind: Kind
    parents: tuple[int, ...]
    size: int
    label: str
    map: LinearMap | None = None
    offset: Array | None = None
    roundings: int = 0
    shape: tuple[int, ...] = ()
    larger_of: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Symbol:
    """A tensor that depends on the image.

    Attributes:
        at: node that computes it.
        shape: its shape, the batch axis included.
    """

    at: int
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of elements."""
        return prod(self.shape)


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """The computation from pixels to scores.

    Attributes:
        nodes: the steps, each after its arguments; the first is the pixels.
        scores: position of the cut after the scores ``(k,)``.
        relus: positions of the ReLUs in the order of the file; max pooling is made of some.
    """

    nodes: tuple[Node, ...]
    scores: int
    relus: tuple[int, ...]

    @property
    def classes(self) -> int:
        """Number of scores."""
        return self.nodes[self.scores].size

    @property
    def largest(self) -> int:
        """Elements of the largest tensor."""
        return max(node.size for node in self.nodes)

    def values(self, image: Array) -> list[Array]:
        """Output of every node for one image, flattened; in float64."""
        found: list[Array] = []
        for node in self.nodes:
            arguments = [found[parent] for parent in node.parents]
            if node.kind is Kind.INPUT:
                value = image.ravel().astype(np.float64)
            elif node.map is not None:
                value = node.map.forward([x[None] for x in arguments])[0]
                value = value if node.offset is None else value + node.offset
            else:
                value = np.maximum(arguments[0], 0) if node.kind is Kind.RELU else arguments[0]
            found.append(value)
        return found

    def relu_input(self, relu: int, image: Array) -> Array:
        """Input of one of :attr:`relus` for an image."""
        return self.values(image)[self.nodes[self.relus[relu]].parents[0]]


@dataclass(slots=True)
class Builder:
    """Collects nodes.

    Attributes:
        nodes: those so far.
        relus: positions of the ReLUs.
        cuts: cut of each node that has one.
        label: what is being read, for messages.
    """

    nodes: list[Node] = field(default_factory=list)
    relus: list[int] = field(default_factory=list)
    cuts: dict[int, int] = field(default_factory=dict)
    label: str = ""

    def refuse(self, reason: str) -> UncheckableModelError:
        """The error for what is being read."""
        return UncheckableModelError(f"{self.label}: {reason}")

    def add(self, node: Node) -> int:
        """Position of a new node."""
        if len(self.nodes) >= MOST_NODES or node.size > MOST_ELEMENTS:
            message = "the model is too large for the checker"
            raise self.refuse(message)
        self.nodes.append(node)
        return len(self.nodes) - 1

    def affine(
        self,
        symbols: Sequence[Symbol],
        shape: tuple[int, ...],
        linear: LinearMap,
        offset: Array | None = None,
        *,
        spare: int = SPARE,
    ) -> Symbol:
        """The linear map of ``symbols``, plus ``offset``, an array of the output's size."""
        roundings = linear.terms + (offset is not None)
        node = Node(
            Kind.AFFINE,
            tuple(symbol.at for symbol in symbols),
            prod(shape),
            self.label,
            linear,
            None if offset is None else np.ascontiguousarray(offset, np.float64).ravel(),
            roundings + spare if roundings else 0,
        )
        return Symbol(self.add(node), shape)

    def chosen(
        self,
        symbols: Sequence[Symbol],
        index: NDArray[np.int64],
        constants: Array | None = None,
    ) -> Symbol:
        """Elements ``index`` of the symbols, counted through; below 0 those of ``constants``.

        An element -1 is the first of ``constants``, -2 the second.
        """
        flat = index.ravel()
        whole = len(symbols) == 1 and flat.size == symbols[0].size
        if whole and bool((flat == np.arange(flat.size)).all()):
            return Symbol(symbols[0].at, index.shape)
        offset = None
        if constants is not None and bool((flat < 0).any()):
            offset = np.where(flat < 0, constants[np.maximum(-flat - 1, 0)], 0.0)
        sizes = tuple(symbol.size for symbol in symbols)
        linear = Choice(np.maximum(flat, -1), sizes)
        found = self.affine(symbols, index.shape, linear, offset, spare=0)
        if offset is not None:  # nothing is added up
            node = self.nodes[found.at]
            self.nodes[found.at] = Node(
                node.kind, node.parents, node.size, node.label, linear, offset
            )
        return found

    def expanded(self, x: Symbol, shape: tuple[int, ...]) -> Symbol:
        """``x`` broadcast to ``shape``."""
        if x.shape == shape:
            return x
        numbers = np.arange(x.size).reshape(x.shape)
        return self.chosen([x], np.broadcast_to(numbers, shape))

    def cut(self, x: Symbol) -> Symbol:
        """``x`` with the rounding that an evaluation has made by then."""
        if x.at not in self.cuts:
            node = Node(Kind.CUT, (x.at,), x.size, self.label, shape=x.shape)
            self.cuts[x.at] = self.add(node)
        return Symbol(self.cuts[x.at], x.shape)

    def relu(self, x: Symbol) -> Symbol:
        """max(x, 0)."""
        at = self.add(Node(Kind.RELU, (self.cut(x).at,), x.size, self.label))
        self.relus.append(at)
        return Symbol(at, x.shape)

    def before_relu(self, x: Symbol) -> Symbol:
        """The argument of the ReLU ``x``, the last one, which is taken back."""
        node = self.nodes[self.relus.pop()]
        return Symbol(node.parents[0], x.shape)

    def largest(self, x: Symbol) -> Symbol:
        """Maximum along the last axis of a cut, as a tree of ``max(a, b) = b + max(a - b, 0)``.

        An evaluation picks one of the numbers: the sums stand for no rounding.
        """
        while x.shape[-1] > 1:
            half = x.shape[-1] // 2
            numbers = np.arange(x.size).reshape(x.shape)
            first = self.chosen([x], numbers[..., :half])
            second = self.chosen([x], numbers[..., half : 2 * half])
            excess = self.relu(self._exact_sum(first, second, -1))
            more = self._exact_sum(second, excess, 1, larger_of=(first.at, second.at))
            if x.shape[-1] % 2:
                rest = self.chosen([x], numbers[..., -1:])
                count = np.arange(more.size + rest.size)
                both = [
                    count[: more.size].reshape(more.shape),
                    count[more.size :].reshape(rest.shape),
                ]
                more = self.chosen([more, rest], np.concatenate(both, axis=-1))
            x = more
        return Symbol(self.cut(x).at, x.shape[:-1])

    def clipped(self, x: Symbol, low: float | None, high: float | None) -> Symbol:
        """``h - max(h - y, 0)`` with ``y = l + max(x - l, 0)``.

        An evaluation picks one of the numbers: the sums stand for no rounding.
        """
        y = self.cut(x)
        if low is not None:
            y = self._shifted(self.relu(self._shifted(y, 1, -low)), 1, low)
        if high is not None:
            y = self._shifted(self.relu(self._shifted(y, -1, high)), -1, high)
        return self.cut(y)

    def _shifted(self, x: Symbol, sign: int, offset: float) -> Symbol:
        """``sign x + offset`` without rounding."""
        linear, constant = Sum((sign,)), np.full(x.size, offset)
        node = Node(Kind.AFFINE, (x.at,), x.size, self.label, linear, constant)
        return Symbol(self.add(node), x.shape)

    def _exact_sum(
        self, x: Symbol, y: Symbol, sign: int, larger_of: tuple[int, ...] = ()
    ) -> Symbol:
        """``x + sign y`` without rounding."""
        parents, linear = (x.at, y.at), Sum((1, sign))
        node = Node(Kind.AFFINE, parents, x.size, self.label, linear, larger_of=larger_of)
        return Symbol(self.add(node), x.shape)


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
    try:
        model = onnx.load_model_from_string(data)
    except Exception as error:  # an error class of the package that onnx reads files with
        message = "the model is not an ONNX file"
        raise UncheckableModelError(message) from error
    versions = [each.version for each in model.opset_import if each.domain in ("", "ai.onnx")]
    if len(versions) != 1 or not model.graph.node or model.functions:
        message = "the model is not an ONNX file with one graph and operators that ONNX defines"
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
        from .operators import RULES, Operator

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


def constant_of(tensor: TensorProto) -> Constant:
    """The numbers of a tensor in the file.

    Raises:
        UncheckableModelError: they are elsewhere, or too many.
    """
    if tensor.data_location == TensorProto.EXTERNAL:
        message = "the model keeps weights in other files, which its hash does not cover"
        raise UncheckableModelError(message)
    if prod(tensor.dims) > MOST_ELEMENTS or min(tensor.dims, default=1) < 0:
        message = f"tensor {tensor.name!r} is too large for the checker"
        raise UncheckableModelError(message)
    try:
        return numpy_helper.to_array(tensor)
    except (ValueError, TypeError) as error:
        message = f"tensor {tensor.name!r} cannot be read: {error}"
        raise UncheckableModelError(message) from error
