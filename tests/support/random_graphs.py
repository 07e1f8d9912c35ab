"""Random ONNX graphs of a few nodes, with weights of all sizes and constants that they compute."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_models as om
import onnxruntime
from onnx import TensorProto

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.random import Generator
    from numpy.typing import NDArray
    from onnx import ModelProto, NodeProto

    Array = NDArray[Any]
    Menu = dict[str, Callable[["RandomGraph", str], str | None]]

OPSET = 20

LARGEST, MOST_ELEMENTS = 1e30, 200

ELEMENTWISE = (
    *("Relu", "Abs", "Neg", "Sigmoid", "Tanh", "Softplus", "Erf", "Exp", "Elu", "Selu", "Celu"),
    *("HardSigmoid", "HardSwish", "Gelu", "Mish", "Softsign", "Sin", "Cos", "Atan", "Sinh", "Cosh"),
    *("Asinh", "Sign", "Floor", "Ceil", "Round", "ThresholdedRelu", "Shrink", "Identity"),
    *("LeakyRelu", "Sqrt", "Log", "Reciprocal"),
)

REDUCTIONS = (
    *("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2"),
    *("ReduceSumSquare", "ReduceLogSumExp", "ReduceLogSum"),
)

LEVELS = (
    onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
    onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
)


def sessions(made: ModelProto) -> list[onnxruntime.InferenceSession]:
    """ONNX Runtime at every level of its graph optimisation."""
    found = []
    for level in LEVELS:
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = level
        options.intra_op_num_threads = 1
        options.log_severity_level = 4
        found.append(onnxruntime.InferenceSession(made.SerializeToString(), options))
    return found


def outputs(session: onnxruntime.InferenceSession, images: Array) -> Array:
    """The scores ``(n, k)`` of images, one at a time."""
    return np.concatenate([session.run(None, {"x": image[None]})[0] for image in images])


@dataclass(slots=True)
class RandomGraph:
    """A graph that grows by nodes whose outputs are finite on a few images.

    Attributes:
        draw: random numbers.
        shape: of one image.
        nodes: those so far.
        weights: stored tensors.
        values: outputs of the nodes that depend on the image, on each of ``images``.
        images: a few images.
        scaled: share of weights of any size.
        computed: share of weights that the graph computes.
    """

    draw: Generator
    shape: tuple[int, ...]
    nodes: list[NodeProto] = field(default_factory=list)
    weights: dict[str, Array] = field(default_factory=dict)
    values: dict[str, Array] = field(default_factory=dict)
    images: Array = field(init=False)
    scaled: float = 0.3
    computed: float = 0.3

    def __post_init__(self) -> None:
        self.images = self.draw.random((3, *self.shape)).astype(np.float32)
        self.values["x"] = self.images[:, None]

    def name(self) -> str:
        """A name that no other tensor has."""
        return f"t{len(self.nodes)}_{len(self.weights)}"

    def stored(self, value: Any) -> str:
        """A stored tensor."""
        name = self.name()
        self.weights[name] = np.asarray(value)
        return name

    def weight(self, *shape: int) -> str:
        """A random tensor of float32, stored or computed from stored ones."""
        value = self.draw.normal(size=shape)
        if self.draw.random() < self.scaled:
            value = value * 10 ** self.draw.uniform(-6, 6)
        if self.draw.random() < 0.15:
            value = np.where(self.draw.random(shape) < 0.3, 0.0, np.exp2(np.round(value)))
        if self.draw.random() >= self.computed:
            return self.stored(value.astype(np.float32))
        made = self.draw.choice(np.array(list(COMPUTED)))
        return COMPUTED[made](self, value.astype(np.float32))

    def constant(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """The output of a node without the image."""
        name = self.name() + "c"
        self.nodes.append(om.node(operator, " ".join(inputs), name, **attributes))
        return name

    def grow(self) -> bool:
        """Add a node; False where the one that was drawn makes no sense."""
        kind = self.draw.choice(np.array(list(STEPS)))
        source = self.draw.choice(np.array(list(self.values)[-2:]))
        before = (list(self.nodes), dict(self.weights))
        name = STEPS[kind](self, str(source))
        if name is not None and self._finite(name):
            return True
        self.nodes, self.weights = before
        return False

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """The output of a node with the image."""
        name = self.name()
        self.nodes.append(om.node(operator, " ".join(inputs), name, **attributes))
        return name

    def _finite(self, name: str) -> bool:
        try:
            session = sessions_of(self.model(name))
            found = np.stack([session.run(None, {"x": image[None]})[0] for image in self.images])
        except Exception:
            return False
        fits = found.dtype == np.float32 and 0 < found[0].size <= MOST_ELEMENTS and found.ndim > 1
        fits = fits and bool((np.abs(found) < LARGEST).all())
        if fits:
            self.values[name] = found
        return fits

    def model(self, output: str) -> ModelProto:
        """The graph with the output ``output``."""
        return om.model(
            self.nodes,
            inputs={"x": (1, *self.shape)},
            outputs={output: None},
            weights=self.weights,
            opset=OPSET,
        )

    def finished(self, classes: int) -> ModelProto:
        """The model, whose scores are about 1 and nearly equal on the first image."""
        last = list(self.values)[-1]
        size = self.values[last][0].size
        spread = np.std(self.values[last], axis=0).max() or np.abs(self.values[last]).max() or 1.0
        flat = self.add("Reshape", last, self.stored(np.array([1, size])))
        matrix = self.draw.normal(size=(size, classes)) / (spread * np.sqrt(size))
        scores = self.add("MatMul", flat, self.stored(matrix.astype(np.float32)))
        first = sessions_of(self.model(scores)).run(None, {"x": self.images[:1]})[0]
        y = self.add("Sub", scores, self.stored(first + 0 * first.astype(np.float32)))
        return self.model(y)


def sessions_of(made: ModelProto) -> onnxruntime.InferenceSession:
    """ONNX Runtime without graph optimisation."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = LEVELS[0]
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(made.SerializeToString(), options)


def random_model(
    seed: int, *, most: int = 8, plain: bool = False, more: Menu | None = None
) -> tuple[ModelProto, Array]:
    """A model and an image; ``plain``: of operators that proofs know, without computed constants.

    Args:
        seed: of all that is drawn.
        most: nodes besides the last matrix product.
        plain: whether proofs of it can be checked.
        more: further nodes, one in two of those that are drawn.
    """
    draw = np.random.default_rng(seed)
    shape = tuple(int(n) for n in (draw.integers(1, 4), draw.integers(1, 5), draw.integers(2, 5)))
    graph = RandomGraph(draw, shape, computed=0.0 if plain else 0.3)
    wanted = int(draw.integers(3, most + 1))
    usual = PLAIN if plain else STEPS
    for _ in range(6 * wanted):
        menu = more if more and draw.random() < 0.5 else usual
        kind = str(draw.choice(np.array(list(menu))))
        source = str(draw.choice(np.array(list(graph.values)[-2:])))
        before = (list(graph.nodes), dict(graph.weights))
        name = menu[kind](graph, source)
        if name is None or not graph._finite(name):
            graph.nodes, graph.weights = before
        if len(graph.values) > wanted:
            break
    return graph.finished(int(draw.integers(2, 4))), graph.images[0]


# --- constants that the graph computes ---------------------------------------------------------


def _halves(graph: RandomGraph, value: Array) -> str:
    part = (value * graph.draw.random(value.shape)).astype(np.float32)
    return graph.constant("Add", graph.stored(part), graph.stored(value - part))


def _cancelled(graph: RandomGraph, value: Array) -> str:
    more = graph.stored(np.full((), 10 ** graph.draw.uniform(-2, 3), np.float32))
    return graph.constant("Sub", graph.constant("Add", graph.stored(value), more), more)


def _factors(graph: RandomGraph, value: Array) -> str:
    factor = np.array(10 ** graph.draw.uniform(-20, 20), np.float32)
    return graph.constant("Mul", graph.stored(value / factor), graph.stored(factor))


def _quotient(graph: RandomGraph, value: Array) -> str:
    factor = np.array(10 ** graph.draw.uniform(-15, 15), np.float32)
    return graph.constant("Div", graph.stored(value * factor), graph.stored(factor))


def _rooted(graph: RandomGraph, value: Array) -> str:
    return graph.constant("Sqrt", graph.stored(value**2))


def _exponential(graph: RandomGraph, value: Array) -> str:
    return graph.constant("Exp", graph.stored(np.log(np.abs(value) + np.float32(1e-30))))


def _unit(graph: RandomGraph, value: Array) -> str:
    if not value.ndim:
        return graph.stored(value)
    axes = graph.stored(np.array([value.ndim - 1]))
    length = graph.constant("ReduceL2", graph.stored(value), axes, keepdims=1)
    return graph.constant("Div", graph.stored(value), length)


def _cast(graph: RandomGraph, value: Array) -> str:
    wide = value.astype(np.float64) * (1 + 1e-9)
    return graph.constant("Cast", graph.stored(wide), to=TensorProto.FLOAT)


def _whole(graph: RandomGraph, value: Array) -> str:
    whole = graph.stored(np.clip(np.round(10 * value), -100, 100).astype(np.int8))
    step = graph.stored(np.array(0.0371, np.float32))
    return graph.constant("DequantizeLinear", whole, step, graph.stored(np.array(3, np.int8)))


COMPUTED: dict[str, Callable[[RandomGraph, Array], str]] = {
    each.__name__: each
    for each in (
        *(_halves, _cancelled, _factors, _quotient, _rooted, _exponential, _unit, _cast, _whole),
    )
}

# --- nodes ---------------------------------------------------------------------------------------


def _elementwise(graph: RandomGraph, x: str) -> str:
    return graph.add(str(graph.draw.choice(np.array(ELEMENTWISE))), x)


def _relu(graph: RandomGraph, x: str) -> str:
    return graph.add("Relu", x)


def _leaky(graph: RandomGraph, x: str) -> str:
    return graph.add("LeakyRelu", x, alpha=float(10 ** graph.draw.uniform(-3, 0.5)))


def _side(graph: RandomGraph, x: str) -> str:
    """A constant that can be broadcast to x."""
    shape = graph.values[x].shape[1:]
    kind = graph.draw.integers(3)
    if kind == 0:
        return graph.weight()
    if kind == 1 or len(shape) < 3:
        return graph.weight(*(1, *shape[1:]))
    return graph.weight(*(1, shape[1], *[1] * (len(shape) - 2)))


def _arithmetic(graph: RandomGraph, x: str) -> str:
    operator = str(graph.draw.choice(np.array(["Add", "Sub", "Mul", "Div", "Max", "Min"])))
    other = _side(graph, x)
    turned = operator != "Div" and graph.draw.random() < 0.3
    return graph.add(operator, *((other, x) if turned else (x, other)))


def _sum_with(graph: RandomGraph, x: str) -> str:
    return graph.add(str(graph.draw.choice(np.array(["Add", "Sub"]))), x, _side(graph, x))


def _times(graph: RandomGraph, x: str) -> str:
    return graph.add("Mul", x, _side(graph, x))


def _there_and_back(graph: RandomGraph, x: str) -> str:
    """An offset that is added and taken off again."""
    most = graph.stored(np.array(10 ** graph.draw.uniform(0, 6), np.float32))
    return graph.add("Sub", graph.add("Add", x, most), most)


def _scaled_back(graph: RandomGraph, x: str) -> str:
    """Factors whose product is about 1."""
    size = 10 ** graph.draw.uniform(-18, 18)
    first, second = (graph.stored(np.array(f, np.float32)) for f in (size, 1.1 / size))
    return graph.add("Mul", graph.add("Mul", x, first), second)


def _branches(graph: RandomGraph, x: str) -> str | None:
    names = [n for n, v in graph.values.items() if v.shape == graph.values[x].shape]
    other = str(graph.draw.choice(np.array(names)))
    operator = str(graph.draw.choice(np.array(["Add", "Sub", "Mul", "Div", "Max", "Min"])))
    return graph.add(operator, x, other)


def _residual(graph: RandomGraph, x: str) -> str:
    names = [n for n, v in graph.values.items() if v.shape == graph.values[x].shape]
    return graph.add("Add", x, str(graph.draw.choice(np.array(names))))


def _clip(graph: RandomGraph, x: str) -> str:
    low, high = np.sort(graph.draw.normal(size=2)).astype(np.float32)
    return graph.add("Clip", x, graph.stored(low), graph.stored(high))


def _power(graph: RandomGraph, x: str) -> str:
    exponent = graph.draw.choice(np.array([2.0, 3.0, 0.5, -1.0, 1.5]))
    return graph.add("Pow", x, graph.stored(np.array(exponent, np.float32)))


def _convolution(graph: RandomGraph, x: str) -> str | None:
    return _convolved(graph, x)[0] if graph.values[x].ndim == 5 else None


def _convolved(graph: RandomGraph, x: str) -> tuple[str, int]:
    """A convolution, and its channels."""
    shape = graph.values[x].shape[1:]
    channels, sides = shape[1], shape[2:]
    kernel = [int(graph.draw.integers(1, min(3, n) + 1)) for n in sides]
    groups = channels if graph.draw.random() < 0.2 else 1
    out = groups * int(graph.draw.integers(1, 3))
    pads = [int(n) for n in graph.draw.integers(0, 2, 4)]
    weight = graph.weight(out, channels // groups, *kernel)
    strides = [int(n) for n in graph.draw.integers(1, 3, 2)]
    bias = [graph.weight(out)] if graph.draw.random() < 0.5 else []
    return graph.add("Conv", x, weight, *bias, pads=pads, strides=strides, group=groups), out


def _turned_convolution(graph: RandomGraph, x: str) -> str | None:
    shape = graph.values[x].shape[1:]
    if len(shape) != 4:
        return None
    weight = graph.weight(shape[1], int(graph.draw.integers(1, 3)), 2, 2)
    return graph.add("ConvTranspose", x, weight, strides=[int(graph.draw.integers(1, 3))] * 2)


def _batch_norm(graph: RandomGraph, x: str) -> str | None:
    shape = graph.values[x].shape[1:]
    if len(shape) < 3:
        return None
    variances = 10 ** graph.draw.uniform(-3, 3) * graph.draw.random((shape[1],))
    variance = graph.stored(variances.astype(np.float32))
    given = [graph.weight(shape[1]) for _ in range(3)]
    return graph.add("BatchNormalization", x, *given, variance)


def _pool(graph: RandomGraph, x: str) -> str | None:
    shape = graph.values[x].shape[1:]
    if len(shape) != 4:
        return None
    kernel = [int(graph.draw.integers(1, min(3, n) + 1)) for n in shape[2:]]
    operator = str(graph.draw.choice(np.array(["MaxPool", "AveragePool"])))
    pads = [int(graph.draw.random() < 0.3 and k > 1) for k in kernel] * 2
    strides = [int(n) for n in graph.draw.integers(1, 3, 2)]
    return graph.add(operator, x, kernel_shape=kernel, strides=strides, pads=pads)


def _other_pool(graph: RandomGraph, x: str) -> str | None:
    shape = graph.values[x].shape[1:]
    if len(shape) != 4:
        return None
    operator = str(graph.draw.choice(np.array(["LpPool", "GlobalAveragePool", "GlobalMaxPool"])))
    if operator == "LpPool":
        return graph.add(operator, x, kernel_shape=[1, min(2, shape[3])])
    return graph.add(operator, x)


def _norm(graph: RandomGraph, x: str) -> str | None:
    shape = graph.values[x].shape[1:]
    if len(shape) != 4:
        return graph.add("LayerNormalization", x, graph.weight(shape[-1]), graph.weight(shape[-1]))
    operator = str(graph.draw.choice(np.array(["InstanceNormalization", "LRN", "Layer"])))
    if operator == "LRN":
        return graph.add("LRN", x, size=3, alpha=0.3, beta=0.75, bias=1.0)
    if operator == "Layer":
        return graph.add("LayerNormalization", x, graph.weight(shape[-1]), axis=-1)
    given = [graph.weight(shape[1]) for _ in range(2)]
    return graph.add("InstanceNormalization", x, *given)


def _softmax(graph: RandomGraph, x: str) -> str:
    operator = str(graph.draw.choice(np.array(["Softmax", "LogSoftmax"])))
    return graph.add(operator, x, axis=-1)


def _reduction(graph: RandomGraph, x: str) -> str | None:
    rank = graph.values[x].ndim - 1
    axes = graph.stored(np.array([int(graph.draw.integers(1, rank))])) if rank > 1 else None
    operator = str(graph.draw.choice(np.array(REDUCTIONS)))
    return None if axes is None else graph.add(operator, x, axes, keepdims=1)


def _mean(graph: RandomGraph, x: str) -> str | None:
    rank = graph.values[x].ndim - 1
    axes = graph.stored(np.array([rank - 1]))
    return graph.add("ReduceMean", x, axes, keepdims=1) if rank > 1 else None


def _running_sum(graph: RandomGraph, x: str) -> str:
    return graph.add("CumSum", x, graph.stored(np.array(-1)), reverse=int(graph.draw.integers(2)))


def _matrix(graph: RandomGraph, x: str) -> str:
    n = graph.values[x].shape[-1]
    return graph.add("MatMul", x, graph.weight(n, int(graph.draw.integers(1, 5))))


def _dense(graph: RandomGraph, x: str) -> str:
    size, out = graph.values[x][0].size, int(graph.draw.integers(1, 6))
    flat = graph.add("Flatten", x)
    how = {"alpha": float(10 ** graph.draw.uniform(-2, 2))} if graph.draw.random() < 0.3 else {}
    return graph.add("Gemm", flat, graph.weight(size, out), graph.weight(out), **how)


def _scaled_matrices(graph: RandomGraph, x: str) -> str | None:
    """x times its transpose, each with a factor of its own, as attention has it."""
    rank = graph.values[x].ndim - 1
    if rank < 2:
        return None
    size = 10 ** graph.draw.uniform(-25, 10, 2)
    left, right = (
        graph.add("Mul", x, graph.stored(np.array(factor, np.float32))) for factor in size
    )
    turned = graph.add("Transpose", right, perm=[*range(rank - 2), rank - 1, rank - 2])
    back = graph.stored(np.array(1 / np.prod(size), np.float32))
    product = graph.add("MatMul", left, turned)
    return graph.add("Mul", graph.add("Relu", product), back)


def _moved(graph: RandomGraph, x: str) -> str:
    rank = graph.values[x].ndim - 1
    kind = graph.draw.integers(4)
    if kind == 0:
        return graph.add("Transpose", x, perm=[0, *(1 + graph.draw.permutation(rank - 1))])
    if kind == 1:
        return graph.add("Concat", x, x, axis=rank - 1)
    if kind == 2:
        last = graph.values[x].shape[-1]
        index = graph.stored(graph.draw.integers(-last, last, 3))
        return graph.add("Gather", x, index, axis=rank - 1)
    pads = np.zeros(2 * rank, np.int64)
    pads[-1] = 1
    fill = graph.stored(np.array(graph.draw.normal(), np.float32))
    return graph.add("Pad", x, graph.stored(pads), fill)


# --- what ONNX Runtime knows as one operation, spelled out -------------------------------------


def _number(graph: RandomGraph, value: float, *, near: bool = True) -> str:
    """A stored number, or one ``near`` it."""
    off = graph.draw.choice(np.array([0.0, 0.0, 9e-6, -7e-6])) if near else 0.0
    return graph.stored(np.array(value * (1 + off), np.float32))


def _either(graph: RandomGraph, operator: str, x: str, y: str) -> str:
    """A sum or product of two arguments in either order."""
    return graph.add(operator, *((x, y) if graph.draw.random() < 0.5 else (y, x)))


def _gelu_from_parts(graph: RandomGraph, x: str) -> str:
    """As exporters write it; its numbers may differ a little from those of the definition."""
    inside = graph.add("Erf", graph.add("Div", x, _number(graph, 2**0.5)))
    factor = _either(graph, "Add", inside, _number(graph, 1.0))
    if graph.draw.random() < 0.5:
        return _either(graph, "Mul", _either(graph, "Mul", x, factor), _number(graph, 0.5))
    return _either(graph, "Mul", _either(graph, "Mul", x, _number(graph, 0.5)), factor)


def _tanh_gelu_from_parts(graph: RandomGraph, x: str) -> str:
    cubes = graph.add("Pow", x, _number(graph, 3.0, near=False))
    inside = _either(graph, "Add", x, _either(graph, "Mul", cubes, _number(graph, 0.044715)))
    root = _number(graph, (2 / np.pi) ** 0.5)
    tanh = graph.add("Tanh", _either(graph, "Mul", inside, root))
    factor = _either(graph, "Add", tanh, _number(graph, 1.0))
    return _either(graph, "Mul", _either(graph, "Mul", x, _number(graph, 0.5)), factor)


def _swish_from_parts(graph: RandomGraph, x: str) -> str:
    inside = x
    if graph.draw.random() < 0.7:
        inside = _either(graph, "Mul", x, _number(graph, 1.702 * 10 ** graph.draw.uniform(-2, 1)))
    return _either(graph, "Mul", x, graph.add("Sigmoid", inside))


def _norm_from_parts(graph: RandomGraph, x: str) -> str:
    """Layer normalisation or, without the mean, root mean square normalisation."""
    last = graph.stored(np.array([graph.values[x].ndim - 2]))
    n, centred = graph.values[x].shape[-1], x
    if graph.draw.random() < 0.7:
        centred = graph.add("Sub", x, graph.add("ReduceMean", x, last, keepdims=1))
    squares = graph.add("Pow", centred, _number(graph, 2.0, near=False))
    if graph.draw.random() < 0.3:
        squares = graph.add("Mul", centred, centred)
    variance = graph.add("ReduceMean", squares, last, keepdims=1)
    epsilon = _number(graph, 10 ** graph.draw.uniform(-5.1, -1))
    root = graph.add("Sqrt", _either(graph, "Add", variance, epsilon))
    if graph.draw.random() < 0.3:
        inverse = graph.add("Div", _number(graph, 1.0), root)
        found = _either(graph, "Mul", centred, inverse)
    else:
        found = graph.add("Div", centred, root)
    if graph.draw.random() < 0.7:
        found = _either(graph, "Mul", found, graph.weight(n))
    return _either(graph, "Add", found, graph.weight(n)) if graph.draw.random() < 0.7 else found


def _scaled_product(graph: RandomGraph, x: str) -> str | None:
    """Scales by products and quotients around a product of matrices."""
    rank, n = graph.values[x].ndim - 1, graph.values[x].shape[-1]
    if rank < 2:
        return None

    def scaled(of: str) -> str:
        number = graph.stored(np.array(10 ** graph.draw.uniform(-3, 3), np.float32))
        kind = graph.draw.integers(4)
        if kind == 0:
            return _either(graph, "Mul", of, number)
        return graph.add("Div", of, number) if kind == 1 else of

    turned = graph.add("Transpose", x, perm=[*range(rank - 2), rank - 1, rank - 2])
    other = graph.weight(n, 2) if graph.draw.random() < 0.4 else scaled(turned)
    return scaled(graph.add("MatMul", scaled(x), other))


def _fraction(graph: RandomGraph, x: str) -> str:
    """y / x by way of 1 / x."""
    shifted = graph.add("Add", graph.add("Abs", x), _number(graph, 1.0, near=False))
    return _either(graph, "Mul", graph.add("Div", _number(graph, 1.0), shifted), x)


def _softmax_of_sum(graph: RandomGraph, x: str) -> str:
    return graph.add("Softmax", _either(graph, "Add", x, _side(graph, x)), axis=-1)


def _padded(graph: RandomGraph, x: str) -> str | None:
    shape = graph.values[x].shape[1:]
    if len(shape) != 4:
        return None
    pads = graph.stored(np.array([0, 0, 1, 1, 0, 0, 0, 1]))
    fill = graph.stored(np.array(graph.draw.choice(np.array([0.0, 0.3, -1e-6])), np.float32))
    wide = graph.add("Pad", x, pads, fill)
    kind = graph.draw.integers(3)
    if kind == 0:
        return graph.add("Conv", wide, graph.weight(2, shape[1], 2, 2))
    operator = "MaxPool" if kind == 1 else "AveragePool"
    return graph.add(operator, wide, kernel_shape=[2, 2], strides=[1, 1])


def _convolved_and_more(graph: RandomGraph, x: str) -> str | None:
    """A convolution, and what a runtime may merge into it."""
    if graph.values[x].ndim != 5:
        return None
    found, m = _convolved(graph, x)
    for _ in range(int(graph.draw.integers(1, 4))):
        kind = graph.draw.integers(6)
        side = graph.weight(*((1, m, 1, 1), (m, 1, 1), (1, 1, 1), ())[graph.draw.integers(4)])
        if kind < 2:
            found = _either(graph, ("Add", "Mul")[kind], found, side)
        elif kind == 2:
            found = graph.add(str(graph.draw.choice(np.array(["Relu", "Sigmoid", "Tanh"]))), found)
        elif kind == 3:
            found = graph.add("LeakyRelu", found, alpha=0.3)
        elif kind == 4:
            found = graph.add("HardSigmoid", found, alpha=0.3, beta=0.4)
        else:
            ends = (graph.stored(np.array(n, np.float32)) for n in (-0.3, 0.4))
            found = graph.add("Clip", found, *ends)
    return found


STEPS: dict[str, Callable[[RandomGraph, str], str | None]] = {
    **{f"elementwise{at}": _elementwise for at in range(4)},
    **{
        each.__name__: each
        for each in (
            *(_relu, _leaky, _arithmetic, _there_and_back, _scaled_back, _branches, _clip, _power),
            *(_convolution, _turned_convolution, _batch_norm, _pool, _other_pool, _norm, _softmax),
            *(_reduction, _running_sum, _matrix, _dense, _scaled_matrices, _moved),
            *(_gelu_from_parts, _tanh_gelu_from_parts, _swish_from_parts, _norm_from_parts),
            *(_scaled_product, _fraction, _softmax_of_sum, _padded, _convolved_and_more),
        )
    },
}
"""Nodes that a graph may grow by."""

PLAIN: dict[str, Callable[[RandomGraph, str], str | None]] = {
    each.__name__: each
    for each in (
        *(_relu, _leaky, _sum_with, _times, _there_and_back, _scaled_back, _residual, _clip),
        *(_convolution, _batch_norm, _pool, _mean, _matrix, _dense, _moved),
    )
}
"""Those that the checker of proofs knows."""
