"""Further nodes that a random graph may grow by; see :mod:`random_graphs`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from random_graphs import RandomGraph


def _one(graph: RandomGraph, *options: Any) -> Any:
    """One of several."""
    return options[int(graph.draw.integers(len(options)))]


def _is_image(graph: RandomGraph, x: str) -> bool:
    return graph.values[x].ndim == 5


def _shape(graph: RandomGraph, x: str) -> tuple[int, ...]:
    """With the batch axis."""
    return tuple(graph.values[x].shape[1:])


def _integers(graph: RandomGraph, values: Sequence[int]) -> str:
    return graph.stored(np.array(values, np.int64))


def _number(graph: RandomGraph, value: float) -> str:
    return graph.stored(np.array(value, np.float32))


# --- moves ----------------------------------------------------------------------------------------


def _sliced(graph: RandomGraph, x: str) -> str:
    shape = _shape(graph, x)
    axis = len(shape) - 1 - int(graph.draw.integers(min(2, len(shape) - 1)))
    start, stop, step = _one(
        graph, (0, 99, 2), (-1, -99, -1), (-1, -99, -2), (1, 99, 1), (0, -1, 1)
    )
    given = [_integers(graph, [n]) for n in (start, stop, axis, step)]
    return graph.add("Slice", x, *given)


def _reshaped(graph: RandomGraph, x: str) -> str:
    shape = _shape(graph, x)
    size = int(np.prod(shape))
    side = int(_one(graph, *[n for n in range(1, size + 1) if size % n == 0]))
    axes = _one(graph, [1, side, -1], [1, 1, side, -1], [1, -1])
    return graph.add("Reshape", x, _integers(graph, axes))


def _rearranged(graph: RandomGraph, x: str) -> str | None:
    shape = _shape(graph, x)
    kind = graph.draw.integers(5)
    if kind == 0 and _is_image(graph, x) and shape[1] % 4 == 0:
        return graph.add("DepthToSpace", x, blocksize=2, mode=_one(graph, "DCR", "CRD"))
    if kind == 1 and _is_image(graph, x) and shape[2] % 2 == shape[3] % 2 == 0:
        return graph.add("SpaceToDepth", x, blocksize=2)
    if kind == 2:
        return graph.add("Tile", x, _integers(graph, [1] * (len(shape) - 1) + [2]))
    if kind == 3:
        return graph.add("Expand", x, _integers(graph, [2, *[1] * len(shape)]))
    index = graph.draw.integers(0, shape[-1], shape)
    return graph.add("GatherElements", x, graph.stored(index), axis=len(shape) - 1)


def _padded_around(graph: RandomGraph, x: str) -> str:
    rank = len(_shape(graph, x))
    pads = np.zeros(2 * rank, np.int64)
    pads[rank - 1], pads[-1] = _one(graph, (1, 0), (0, 1), (1, 1), (-1, 0), (0, -1))
    mode = _one(graph, "reflect", "edge", "wrap", "constant")
    return graph.add("Pad", x, graph.stored(pads), mode=mode)


def _joined_with_constants(graph: RandomGraph, x: str) -> str:
    return graph.add("Concat", x, graph.weight(*_shape(graph, x)), axis=-1)


def _triangle(graph: RandomGraph, x: str) -> str | None:
    if len(_shape(graph, x)) < 3:
        return None
    return graph.add("Trilu", x, upper=int(graph.draw.integers(2)))


def _chosen_by_a_mask(graph: RandomGraph, x: str) -> str:
    mask = graph.stored(graph.draw.random(_shape(graph, x)) < 0.5)
    other = graph.weight(*_shape(graph, x)) if graph.draw.random() < 0.5 else _twin(graph, x)
    return graph.add("Where", mask, *_one(graph, (x, other), (other, x)))


def _twin(graph: RandomGraph, x: str) -> str:
    """Another output of the same shape, or x."""
    shape = graph.values[x].shape
    return str(_one(graph, *[name for name, v in graph.values.items() if v.shape == shape]))


def _widened(graph: RandomGraph, x: str) -> str | None:
    if not _is_image(graph, x):
        return None
    how = {"mode": _one(graph, "nearest", "nearest", "linear", "cubic")}
    how["coordinate_transformation_mode"] = _one(
        graph, "asymmetric", "half_pixel", "align_corners", "pytorch_half_pixel"
    )
    if how["mode"] == "nearest":
        how["nearest_mode"] = _one(graph, "floor", "round_prefer_floor", "ceil")
    scales = graph.stored(np.array([1, 1, *_one(graph, (2, 2), (1.5, 0.6), (3, 1))], np.float32))
    return graph.add("Resize", x, "", scales, **how)


# --- sums and products ----------------------------------------------------------------------------


def _summed_up(graph: RandomGraph, x: str) -> str:
    operator = _one(graph, "Sum", "Mean", "Max", "Min")
    return graph.add(operator, x, _twin(graph, x), _number(graph, graph.draw.normal()))


def _product_by_letters(graph: RandomGraph, x: str) -> str | None:
    shape = _shape(graph, x)
    if len(shape) == 4:
        equation, sides = _one(
            graph, ("bchw,cd->bdhw", (shape[1], 2)), ("bchw,wk->bkch", (shape[3], 2))
        )
        return graph.add("Einsum", x, graph.weight(*sides), equation=equation)
    if len(shape) == 2:
        return graph.add("Einsum", x, graph.weight(3, shape[1]), equation="bi,ji->bj")
    return None


def _wide_convolution(graph: RandomGraph, x: str) -> str | None:
    if not _is_image(graph, x):
        return None
    c, *sides = _shape(graph, x)[1:]
    groups = int(_one(graph, 1, 1, c))
    kernel = [int(graph.draw.integers(1, 4)) for _ in sides]
    how: dict[str, Any] = {"strides": [int(n) for n in graph.draw.integers(1, 4, 2)]}
    if graph.draw.random() < 0.4:
        how["auto_pad"] = _one(graph, "SAME_UPPER", "SAME_LOWER", "VALID")
    else:
        how["pads"] = [int(n) for n in graph.draw.integers(0, 3, 4)]
        how["dilations"] = [int(n) for n in graph.draw.integers(1, 3, 2)]
    bias = [graph.weight(2 * groups)] if graph.draw.random() < 0.5 else []
    weight = graph.weight(2 * groups, c // groups, *kernel)
    return graph.add("Conv", x, weight, *bias, group=groups, **how)


def _wide_turned_convolution(graph: RandomGraph, x: str) -> str | None:
    if not _is_image(graph, x):
        return None
    c = _shape(graph, x)[1]
    groups = int(_one(graph, 1, c))
    kernel = [int(graph.draw.integers(1, 4)) for _ in range(2)]
    strides = [int(n) for n in graph.draw.integers(1, 4, 2)]
    how: dict[str, Any] = {
        "strides": strides,
        "dilations": [int(n) for n in graph.draw.integers(1, 3, 2)],
        "pads": [int(n) for n in graph.draw.integers(0, 2, 4)],
        "output_padding": [int(graph.draw.integers(0, n)) for n in strides],
    }
    bias = [graph.weight(groups)] if graph.draw.random() < 0.5 else []
    return graph.add("ConvTranspose", x, graph.weight(c, 1, *kernel), *bias, group=groups, **how)


def _wide_pool(graph: RandomGraph, x: str) -> str | None:
    if not _is_image(graph, x):
        return None
    operator = _one(graph, "MaxPool", "AveragePool")
    how: dict[str, Any] = {"kernel_shape": [int(n) for n in graph.draw.integers(1, 4, 2)]}
    how["strides"] = [int(n) for n in graph.draw.integers(1, 3, 2)]
    how["ceil_mode"] = int(graph.draw.integers(2))
    if graph.draw.random() < 0.3:
        how["auto_pad"] = _one(graph, "SAME_UPPER", "SAME_LOWER", "VALID")
    else:
        how["pads"] = [int(n) for n in graph.draw.integers(0, 2, 4)]
        how["dilations"] = [int(n) for n in graph.draw.integers(1, 3, 2)]
    if operator == "AveragePool":
        how["count_include_pad"] = int(graph.draw.integers(2))
    return graph.add(operator, x, **how)


def _normed_product(graph: RandomGraph, x: str) -> str | None:
    """A product with a matrix and what normalises its channels, which a runtime merges."""
    n = _shape(graph, x)[-1]
    channels = 3
    found = graph.add("Reshape", x, _integers(graph, [-1, n]))
    if graph.draw.random() < 0.5:
        found = graph.add("Gemm", found, graph.weight(n, channels), graph.weight(channels))
    else:
        found = graph.add("MatMul", found, graph.weight(n, channels))
    variance = graph.stored((10 ** graph.draw.uniform(-6, 2, channels)).astype(np.float32))
    given = [graph.weight(channels) for _ in range(3)]
    found = graph.add("BatchNormalization", found, *given, variance)
    return graph.add("Reshape", found, _integers(graph, [1, -1]))


def _tiny_or_huge(graph: RandomGraph, x: str) -> str:
    """Numbers near the ends of float32, and back."""
    size = 10 ** _one(graph, -44.0, -38.0, -30.0, 20.0, 30.0, 37.0)
    there = graph.add(_one(graph, "Mul", "Div"), x, _number(graph, size))
    if graph.draw.random() < 0.5:
        there = graph.add(_one(graph, "Relu", "Abs", "Neg"), there)
    return graph.add(_one(graph, "Mul", "Div"), there, _number(graph, size))


def _in_double(graph: RandomGraph, x: str) -> str:
    wide = graph.add("Cast", x, to=11)
    n = _shape(graph, x)[-1]
    found = graph.add("MatMul", wide, graph.stored(graph.draw.normal(size=(n, 2))))
    return graph.add("Cast", found, to=1)


def _same_weight_twice(graph: RandomGraph, x: str) -> str:
    n = _shape(graph, x)[-1]
    weight = graph.weight(n, n)
    found = graph.add(_one(graph, "Relu", "Tanh", "Identity"), graph.add("MatMul", x, weight))
    return graph.add("MatMul", found, weight)


def _shifted_sums(graph: RandomGraph, x: str) -> str:
    axis = graph.stored(np.array(len(_shape(graph, x)) - 1))
    return graph.add("CumSum", x, axis, exclusive=1, reverse=int(graph.draw.integers(2)))


# --- functions ------------------------------------------------------------------------------------


def _with_parameters(graph: RandomGraph, x: str) -> str:
    a, b = (float(np.float32(n)) for n in 10 ** graph.draw.uniform(-2, 1, 2))
    operator, how = _one(
        graph,
        ("Elu", {"alpha": a}),
        ("Celu", {"alpha": a}),
        ("Selu", {"alpha": a, "gamma": b}),
        ("HardSigmoid", {"alpha": a, "beta": b}),
        ("LeakyRelu", {"alpha": -a}),
        ("Gelu", {"approximate": "tanh"}),
        ("Shrink", {"lambd": a, "bias": b}),
        ("ThresholdedRelu", {"alpha": a}),
    )
    return graph.add(operator, x, **how)


def _parametric_relu(graph: RandomGraph, x: str) -> str:
    shape = _shape(graph, x)
    sides = _one(graph, (), (shape[-1],), (shape[1], *[1] * (len(shape) - 2)))
    return graph.add("PRelu", x, graph.weight(*sides))


def _other_power(graph: RandomGraph, x: str) -> str:
    kind = graph.draw.integers(3)
    if kind == 0:
        return graph.add("Pow", _number(graph, _one(graph, 2.0, 0.3, 1.0)), x)
    if kind == 1:
        return graph.add("Pow", graph.add("Abs", x), _number(graph, _one(graph, 0.25, 2.5, 0.0)))
    return graph.add("Pow", x, _number(graph, _one(graph, 4.0, 1.0, -2.0, 5.0, 0.0)))


def _quotient_by(graph: RandomGraph, x: str) -> str:
    """A constant or another output divided by x."""
    above = graph.weight() if graph.draw.random() < 0.5 else _twin(graph, x)
    below = x
    if graph.draw.random() < 0.6:
        below = graph.add(
            "Add", graph.add("Abs", x), _number(graph, 10 ** graph.draw.uniform(-3, 1))
        )
    return graph.add("Div", above, below)


def _gated(graph: RandomGraph, x: str) -> str:
    """Hard swish as exporters spell it out."""
    if graph.draw.random() < 0.5:
        gate = graph.add("HardSigmoid", x, alpha=1 / 6, beta=0.5)
        return graph.add("Mul", x, gate)
    shifted = graph.add("Add", x, _number(graph, 3.0))
    inside = graph.add("Clip", shifted, _number(graph, 0.0), _number(graph, 6.0))
    product = graph.add("Mul", x, inside)
    return graph.add(*_one(graph, ("Div",), ("Mul",)), product, _number(graph, 6.0))


def _clipped_by_the_graph(graph: RandomGraph, x: str) -> str:
    limits = (graph.weight(), graph.weight())
    return graph.add("Clip", x, *limits)


def _clipped_on_one_side(graph: RandomGraph, x: str) -> str:
    value = _number(graph, graph.draw.normal())
    return graph.add("Clip", *_one(graph, (x, value), (x, "", value)))


def _remainder(graph: RandomGraph, x: str) -> str:
    return graph.add("Mod", x, _number(graph, 0.3), fmod=1)


def _limited(graph: RandomGraph, x: str) -> str:
    """The larger or smaller of x and a constant that the graph may compute."""
    pair = [x, graph.weight()]
    return graph.add(_one(graph, "Max", "Min"), *_one(graph, pair, pair[::-1]))


# --- norms and attention --------------------------------------------------------------------------


def _other_norm(graph: RandomGraph, x: str) -> str | None:
    shape = _shape(graph, x)
    if graph.draw.random() < 0.3:
        return graph.add("LpNormalization", x, axis=-1, p=int(_one(graph, 1, 2)))
    if not _is_image(graph, x):
        return None
    if graph.draw.random() < 0.3:
        return graph.add("MeanVarianceNormalization", x, axes=[2, 3])
    if graph.draw.random() < 0.5:
        return graph.add("GlobalLpPool", x, p=int(_one(graph, 1, 2)))
    groups = int(_one(graph, 1, shape[1]))
    given = [graph.weight(groups) for _ in range(2)]
    return graph.add("GroupNormalization", x, *given, num_groups=groups, epsilon=1e-3)


def _unit_vectors(graph: RandomGraph, x: str) -> str:
    axes = _integers(graph, [len(_shape(graph, x)) - 1])
    length = graph.add(_one(graph, "ReduceL2", "ReduceL1"), x, axes, keepdims=1)
    return graph.add("Div", x, graph.add("Max", length, _number(graph, 1e-3)))


def _norm_of_a_sum(graph: RandomGraph, x: str) -> str:
    """A residual before layer normalisation, which a runtime merges on three axes."""
    n = _shape(graph, x)[-1]
    flat = [
        graph.add("Reshape", each, _integers(graph, [1, -1, n])) for each in (x, _twin(graph, x))
    ]
    total = graph.add("Add", *flat)
    if graph.draw.random() < 0.5:
        total = graph.add("Add", total, graph.weight(n))
    given = [graph.weight(n), graph.weight(n)]
    epsilon = float(10 ** graph.draw.uniform(-7, -1))
    return graph.add("LayerNormalization", total, *given, axis=-1, epsilon=epsilon)


def _attention(graph: RandomGraph, x: str) -> str:
    n = _shape(graph, x)[-1]
    tokens = graph.add("Reshape", x, _integers(graph, [1, -1, n]))
    query, key, value = (graph.add("MatMul", tokens, graph.weight(n, 2)) for _ in range(3))
    turned = graph.add("Transpose", key, perm=[0, 2, 1])
    products = graph.add("MatMul", query, turned)
    scaled = graph.add(_one(graph, "Div", "Mul"), products, _number(graph, 2**0.5))
    return graph.add("MatMul", graph.add("Softmax", scaled, axis=-1), value)


def _reduced(graph: RandomGraph, x: str) -> str | None:
    rank = len(_shape(graph, x))
    if rank < 3:
        return None
    operator = _one(graph, "ReduceMean", "ReduceMax", "ReduceMin", "ReduceL2", "ReduceSumSquare")
    found = graph.add(operator, x, _integers(graph, [-1, 1]), keepdims=int(graph.draw.integers(2)))
    return graph.add("Reshape", found, _integers(graph, [1, -1]))


MORE: dict[str, Callable[[RandomGraph, str], str | None]] = {
    each.__name__: each
    for each in (
        *(_sliced, _reshaped, _rearranged, _padded_around, _joined_with_constants, _triangle),
        *(_chosen_by_a_mask, _widened, _summed_up, _product_by_letters, _wide_convolution),
        *(_wide_turned_convolution, _wide_pool, _normed_product, _tiny_or_huge, _in_double),
        *(_same_weight_twice, _shifted_sums, _with_parameters, _parametric_relu, _other_power),
        *(_quotient_by, _gated, _clipped_by_the_graph, _clipped_on_one_side, _remainder, _limited),
        *(_other_norm, _unit_vectors, _norm_of_a_sum, _attention, _reduced),
    )
}
"""Nodes that a graph may grow by."""
