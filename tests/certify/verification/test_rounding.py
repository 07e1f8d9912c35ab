"""What float32 does to a network, and what bounds in float64 do to themselves.

Networks whose real value and whose evaluation in float32 disagree (Jia, Rinard 2021,
arXiv:2003.03021; Zombori et al. 2021, "Fooling a complete neural network verifier").
"""

from __future__ import annotations

import time
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
import onnx_models as om
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from robcert.certify.core import Ball, Norm
from robcert.certify.errors import UnsupportedOperatorError
from robcert.certify.importer import LoadOptions, load_classifier
from robcert.certify.verification import Arithmetic, Method, Prover
from robcert.certify.verification.bounds import Region, Rounding, propagate
from robcert.certify.verification.network import traced, translated

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray
    from onnx import NodeProto

    Single = NDArray[np.float32]

POINT = Ball(Norm.LINF, 1e-30)
"""The image alone, and what its rounding adds."""


def added_up(terms: Single, order: NDArray[np.int64]) -> np.float32:
    """The sum in one order, rounded to float32 after each term."""
    total = np.float32(0)
    for term in terms[order]:
        total = np.float32(total + term)
    return total


def in_halves(terms: Single) -> np.float32:
    """The sum as a balanced tree."""
    if len(terms) == 1:
        return terms[0]
    half = len(terms) // 2
    return np.float32(in_halves(terms[:half]) + in_halves(terms[half:]))


def sums_of(terms: Single, seed: int, count: int = 60) -> list[float]:
    """Float32 sums of the same terms in many orders."""
    draws = np.random.default_rng(seed)
    n = len(terms)
    by_size = np.argsort(np.abs(terms))
    by_value = np.argsort(terms)
    orders = [np.arange(n), np.arange(n)[::-1], by_size, by_size[::-1], by_value, by_value[::-1]]
    orders += [draws.permutation(n) for _ in range(count)]
    found = [added_up(terms, order) for order in orders]
    found += [in_halves(terms[order]) for order in orders]
    return [float(value) for value in found]


def linear(weight: Single, bias: Single) -> Callable[[Tensor], Tensor]:
    """Scores ``x w + b``."""
    matrix, offset = torch.from_numpy(weight), torch.from_numpy(bias)

    def function(x: Tensor) -> Tensor:
        return torch.addmm(offset, x.flatten(1), matrix)

    return function


@settings(max_examples=120)
@given(
    seed=st.integers(0, 10**6),
    n=st.sampled_from([2, 7, 40, 200]),
    spread=st.sampled_from([0.0, 3.0, 6.0]),
    margin=st.floats(-9, 0),
    offset=st.sampled_from([0.0, 1.0, 1e4]),
)
def test_what_is_certified_holds_for_every_order_of_a_sum(
    seed: int, n: int, spread: float, margin: float, offset: float
) -> None:
    """Two classes; the terms of the first cancel down to a small margin, the second is 0."""
    draws = np.random.default_rng(seed)
    x = draws.random(n).astype(np.float32)
    weight = np.zeros((n, 2), np.float32)
    weight[:, 0] = draws.normal(size=n) * 10 ** draws.uniform(0, spread, size=n)
    exact = sum(
        Fraction(float(w)) * Fraction(float(p)) for w, p in zip(weight[:, 0], x, strict=True)
    )
    size = float(np.abs(weight[:, 0] * x).sum()) + offset
    bias = np.array([offset + size * 10**margin, float(exact) + offset], np.float32)
    for arithmetic in Arithmetic:
        prover = Prover.of_function(linear(weight, bias), (1, 1, n), arithmetic)
        image = torch.from_numpy(x).view(1, 1, n)
        proved = [prover.decide(image, y, POINT).proved for y in (0, 1)]
        assert not all(proved)
        real = exact + Fraction(float(bias[0])) - Fraction(float(bias[1]))
        if proved[0]:
            assert real > 0
        if proved[1]:
            assert real < 0
        if arithmetic is Arithmetic.FLOAT32 and any(proved):
            terms = np.append(weight[:, 0] * x, bias[0]).astype(np.float32)
            scores = sums_of(terms, seed)
            other = float(bias[1])
            assert all(score > other if proved[0] else score < other for score in scores)


def test_a_bias_that_is_added_first_swallows_small_terms() -> None:
    """Real: 1 + 4096 * 2^-25 = 1.0001; bias first, every sum stays 1."""
    n = 4096
    weight = np.zeros((n, 2), np.float32)
    weight[:, 0] = 2.0**-25
    bias = np.array([1.0, np.nextafter(np.float32(1), np.float32(2))], np.float32)
    x = torch.ones(1, 64, 64)
    first = np.append(bias[0], weight[:, 0]).astype(np.float32)
    assert added_up(first, np.arange(n + 1)) < bias[1]
    for function in (linear(weight, bias), _bias_after(weight, bias)):
        real = Prover.of_function(function, (1, 64, 64), Arithmetic.REAL)
        assert real.decide(x, 0, Ball(Norm.LINF, 1e-6)).proved
        single = Prover.of_function(function, (1, 64, 64))
        assert not single.decide(x, 0, Ball(Norm.LINF, 1e-6)).proved


def _bias_after(weight: Single, bias: Single) -> Callable[[Tensor], Tensor]:
    """The same as a convolution, a batch normalisation and a residual, which a runtime may fuse."""
    n = len(weight)
    kernel = torch.from_numpy(np.ascontiguousarray(weight.T)).view(2, n, 1, 1)
    offset = torch.from_numpy(bias).view(1, 2, 1, 1)
    one, zero = torch.ones(2), torch.zeros(2)

    def function(x: Tensor) -> Tensor:
        sums = F.conv2d(x.view(len(x), n, 1, 1), kernel, zero)
        sums = F.batch_norm(sums, zero, one, one, zero, eps=0.0)
        return (sums + (offset + 0 * x[:, :, :1, :2].view(-1, 2, 1, 1))).flatten(1)

    return function


def test_a_large_constant_that_cancels_is_not_lost_in_the_bounds() -> None:
    """(x + 2^60) - 2^60 is x: in real arithmetic the margin 0.5 - x is negative for large x."""
    large = 2.0**60

    def function(x: Tensor) -> Tensor:
        pixel = x.flatten(1)[:, :1]
        same = F.linear(
            torch.relu(F.linear(pixel, torch.ones(1, 1), torch.tensor([large]))),
            torch.ones(1, 1),
            torch.tensor([-large]),
        )
        return torch.cat([0.5 - same, 0 * same], 1)

    for arithmetic in Arithmetic:
        prover = Prover.of_function(function, (1, 2, 2), arithmetic)
        for centre in (0.2, 0.9):
            for y in (0, 1):
                for method in Method:
                    x = torch.full((1, 2, 2), centre)
                    wide = prover.decide(x, y, Ball(Norm.LINF, 0.7), method=method)
                    assert not wide.proved
        # float32 gives (0.5, 0) everywhere, real arithmetic (-0.4, 0) at 0.9
        assert not prover.decide(torch.full((1, 2, 2), 0.9), 0, POINT).proved


def test_real_and_float32_disagree_and_neither_is_certified_wrongly() -> None:
    """2^25 + x - 2^25 in float32: 0 for small x, whatever x is."""

    def function(x: Tensor) -> Tensor:
        pixel = x.flatten(1)[:, :1]
        sums = (pixel + 2.0**25) - 2.0**25
        return torch.cat([sums, 0 * sums + 0.25], 1)

    x = torch.full((1, 1, 2), 0.9)
    assert int(function(x[None]).argmax()) == 1
    network = translated(*traced(function, (1, 1, 2)))
    real = Prover(network, Arithmetic.REAL, torch.float64)
    assert real.decide(x, 0, Ball(Norm.LINF, 0.1)).proved
    assert not real.decide(x, 1, Ball(Norm.LINF, 0.1)).proved
    single = Prover(network, Arithmetic.FLOAT32, torch.float64)
    for y in (0, 1):
        assert not single.decide(x, y, Ball(Norm.LINF, 0.1)).proved


def test_overflow_in_float32_is_not_certified() -> None:
    """Real: z = x, far below 1/2; in float32 inf, so the other class."""

    def function(x: Tensor) -> Tensor:
        z = x.flatten(1)[:, :1]
        for factor in (1e30, 1e20, 1e-25, 1e-25):
            z = F.linear(z, torch.full((1, 1), factor))
        return torch.cat([z, 1 - z], 1)

    x = torch.full((1, 2, 2), 0.2)
    assert int(function(x[None]).argmax()) == 0
    ball = Ball(Norm.LINF, 0.1)
    assert Prover.of_function(function, (1, 2, 2), Arithmetic.REAL).decide(x, 1, ball).proved
    for method in Method:
        single = Prover.of_function(function, (1, 2, 2))
        assert not single.decide(x, 1, ball, method=method).proved


def test_a_model_without_finite_scores_is_refused_for_what_it_is() -> None:
    """Infinity times 0 in float32, where the exact product is 0."""

    def function(x: Tensor) -> Tensor:
        z = (x.flatten(1)[:, :1] + 1) * 1e30 * 1e30 * 0
        return torch.cat([z, 1 - z], 1)

    with pytest.raises(UnsupportedOperatorError, match="are not finite numbers"):
        Prover.of_function(function, (1, 2, 2))


def test_squares_that_overflow_in_float32_are_not_certified() -> None:
    def function(x: Tensor) -> Tensor:
        z = (x.flatten(1)[:, :1] * 1e20).square() * 1e-20 * 1e-20
        return torch.cat([z, 1 - z], 1)

    single = Prover.of_function(function, (1, 2, 2))
    assert not single.decide(torch.full((1, 2, 2), 0.2), 1, Ball(Norm.LINF, 0.1)).proved


@pytest.mark.parametrize("norm", list(Norm))
@pytest.mark.parametrize("layers", [0, 1, 3, 4, 7, 9])
def test_tiny_weights_keep_their_exact_distance(layers: int, norm: Norm) -> None:
    """Scores (x_0, x_1) times 1e-42 for each layer: the distance does not depend on the layers.

    Below 1e-150, nothing is certified.
    """
    small = torch.eye(2) * 1e-42

    def function(x: Tensor) -> Tensor:
        z = F.linear(x.flatten(1), torch.eye(4)[:2])
        for _ in range(layers):
            z = F.linear(z, small)
        return z

    module, image = traced(function, (1, 2, 2))
    real = Prover(translated(module, image), Arithmetic.REAL, torch.float64)
    x = torch.tensor([[[0.75, 0.5], [0.25, 0.25]]])
    exact = {Norm.LINF: 0.125, Norm.L2: 0.25 / 2**0.5, Norm.L1: 0.25}[norm]
    assert not real.decide(x, 0, Ball(norm, exact * 1.001)).proved
    assert real.decide(x, 0, Ball(norm, exact * 0.999)).proved == (layers < 4)


def test_exact_zeros_and_huge_pixels_factors_are_bounded() -> None:
    weight = np.array([[0.0, 0.0], [1e30, -1e30]], np.float32)
    prover = Prover.of_function(linear(weight, np.zeros(2, np.float32)), (1, 1, 2))
    x = torch.tensor([[[0.5, 0.5]]])
    assert prover.decide(x, 0, Ball(Norm.LINF, 0.4)).proved
    assert not prover.decide(x, 0, Ball(Norm.LINF, 0.5)).proved


# --- ONNX Runtime ----------------------------------------------------------------------------


def by_runtime(
    nodes: list[NodeProto], x: Single, opset: int, **weights: Single
) -> NDArray[np.float64]:
    made = om.model(nodes, inputs={"x": x.shape}, outputs={"y": None}, weights=weights, opset=opset)
    session = onnxruntime.InferenceSession(
        made.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return np.asarray(session.run(None, {"x": x})[0], np.float64).reshape(-1)


def contained(function: Callable[[Tensor], Tensor], x: Single, value: NDArray[np.float64]) -> None:
    """Assert that the bounds of ``function`` at ``x`` in float32 contain ``value``."""
    network = translated(*traced(function, x.shape[1:]))
    region = Region.of_ball(torch.from_numpy(x[0]), POINT)
    region = (
        Region.of_box(torch.from_numpy(x[0]), torch.from_numpy(x[0])) if x.max() > 1 else region
    )
    for method in (Method.INTERVAL, Method.CROWN):
        rounding = Rounding(Arithmetic.FLOAT32, torch.float64)
        bounds = propagate(network, region, rounding, method=method)
        found = torch.from_numpy(value)
        assert (bounds.lower[network.output].flatten() <= found).all()
        assert (bounds.upper[network.output].flatten() >= found).all()
        rows = torch.eye(len(value), dtype=torch.float64)[:50]
        shaped = rows.view(-1, *network.nodes[network.output].shape)
        assert (bounds.minima(network.output, shaped) <= found[:50]).all()
        assert (bounds.minima(network.output, -shaped) <= -found[:50]).all()


FUNCTIONS: dict[str, tuple[int, Callable[[Tensor], Tensor]]] = {
    "Sigmoid": (17, torch.sigmoid),
    "Tanh": (17, torch.tanh),
    "Erf": (17, torch.erf),
    "Exp": (17, torch.exp),
    "Softplus": (17, F.softplus),
    "Elu": (17, F.elu),
    "Selu": (17, F.selu),
    "Celu": (17, F.celu),
    "HardSwish": (17, F.hardswish),
    "HardSigmoid": (17, lambda x: (0.2 * x + 0.5).clamp(0, 1)),
    "Gelu": (20, F.gelu),
    "Mish": (20, F.mish),
    "Sin": (17, torch.sin),
    "Cos": (17, torch.cos),
    "Atan": (17, torch.atan),
    "Asinh": (17, torch.asinh),
    "Sinh": (17, torch.sinh),
    "Abs": (17, torch.abs),
    "LeakyRelu": (17, F.leaky_relu),
}


@pytest.mark.parametrize("name", list(FUNCTIONS))
def test_the_runtimes_functions_are_within_their_error(name: str) -> None:
    opset, function = FUNCTIONS[name]
    for low, high in [
        (-25, -10),
        (-6, -4),
        (-3.2, -2.8),
        (-1e-3, 1e-3),
        (-3, 3),
        (3, 12),
        (60, 75),
    ]:
        if name in ("Exp", "Sinh") and high > 50:
            continue
        x = np.linspace(low, high, 800).astype(np.float32).reshape(1, 1, 20, 40)
        value = by_runtime([om.node(name, "x", "y")], x, opset)
        low_x = Region.of_box(torch.from_numpy(x[0]), torch.from_numpy(x[0]))
        network = translated(*traced(lambda t: function(t).flatten(1), (1, 20, 40)))
        rounding = Rounding(Arithmetic.FLOAT32, torch.float64)
        bounds = propagate(network, low_x, rounding, method=Method.INTERVAL)
        at, found = network.output, torch.from_numpy(value)
        assert (bounds.lower[at].flatten() <= found).all(), (low, high)
        assert (bounds.upper[at].flatten() >= found).all(), (low, high)


@pytest.mark.parametrize("seed", range(5))
def test_the_runtimes_layers_are_within_their_error(seed: int) -> None:
    """Convolution, batch normalisation, residual sum, softmax: fused as the runtime likes."""
    draws = np.random.default_rng(seed)

    def single(*shape: int) -> Single:
        return (draws.normal(size=shape) * 10 ** draws.uniform(-2, 3)).astype(np.float32)

    x = draws.random((1, 3, 6, 6)).astype(np.float32)
    w, b, scale, shift, mean = single(3, 3, 3, 3), single(3), single(3), single(3), single(3)
    variance = draws.uniform(1e-6, 2, size=3).astype(np.float32)
    dense = (draws.normal(size=(108, 5)) * 1e-3).astype(np.float32)
    nodes = [
        om.node("Conv", "x w b", "c", pads=[1, 1, 1, 1]),
        om.node("BatchNormalization", "c scale shift mean variance", "n", epsilon=1e-5),
        om.node("Add", "n x", "s"),
        om.node("Relu", "s", "r"),
        om.node("Flatten", "r", "f"),
        om.node("MatMul", "f dense", "y"),
    ]
    weights = {"w": w, "b": b, "scale": scale, "shift": shift, "mean": mean, "variance": variance}
    value = by_runtime(nodes, x, 17, dense=dense, **weights)
    held = {name: torch.from_numpy(array) for name, array in weights.items()}

    def function(image: Tensor) -> Tensor:
        y = F.conv2d(image, held["w"], held["b"], padding=1)
        y = F.batch_norm(y, held["mean"], held["variance"], held["scale"], held["shift"], eps=1e-5)
        return torch.relu(y + image).flatten(1) @ torch.from_numpy(dense)

    contained(function, x, value)


@pytest.mark.parametrize("mean", [0.0, 1.0, 4.0])
@pytest.mark.parametrize("n", [4, 64])
def test_the_runtimes_layer_norm_is_within_its_error(n: int, mean: float) -> None:
    """The runtime takes E[x^2] - mean^2, which cancels where the mean is large."""
    draws = np.random.default_rng(n)
    x = draws.random((1, n)).astype(np.float32)
    shift = np.full(n, mean, np.float32)
    nodes = [
        om.node("Add", "x shift", "s"),
        om.node("LayerNormalization", "s one", "y", axis=-1, epsilon=1e-5),
    ]
    value = by_runtime(nodes, x, 17, shift=shift, one=np.ones(n, np.float32))

    def function(image: Tensor) -> Tensor:
        return F.layer_norm(image + mean, (n,), eps=1e-5)

    contained(function, x, value)


@pytest.mark.parametrize("operator", ["Softmax", "LogSoftmax"])
@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_the_runtimes_softmax_is_within_its_error(operator: str, scale: float) -> None:
    draws = np.random.default_rng(3)
    x = draws.random((1, 40)).astype(np.float32)
    factor = np.float32(scale)
    nodes = [om.node("Mul", "x factor", "s"), om.node(operator, "s", "y", axis=-1)]
    value = by_runtime(nodes, x, 17, factor=np.array(factor))
    rule = torch.softmax if operator == "Softmax" else torch.log_softmax
    contained(lambda image: rule(image * scale, 1), x, value)


# --- coefficients in float32 -----------------------------------------------------------------


def scaled(x: Tensor, *factors: float) -> Tensor:
    """1 x 1 convolutions, one behind the other."""
    for factor in factors:
        x = F.conv2d(x, torch.full((1, 1, 1, 1), factor))
    return x


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("arithmetic", list(Arithmetic))
def test_coefficients_that_vanish_are_allowed_for(
    arithmetic: Arithmetic, dtype: torch.dtype
) -> None:
    """The coefficient 1e-25 * 1e-25 of a number near 1e37 is 0 in float32."""

    def function(x: Tensor) -> Tensor:
        z = scaled(F.relu(x - 0.5), 1e19, 1e18, 1e-25, 1e-25).flatten(1)[:, :1]
        return torch.cat([5e-15 - z, 0 * z], 1)

    network = translated(*traced(function, (1, 1, 2)))
    x = torch.full((1, 1, 2), 0.9)
    assert float(network(x[None].double())[0, 0]) < 0
    for method in Method:
        prover = Prover(network, arithmetic, dtype)
        assert not prover.decide(x, 0, Ball(Norm.LINF, 0.45), method=method).proved


def test_numbers_that_vanish_in_float64_are_allowed_for() -> None:
    """1e-45^8 * 1e38^9 x is 0 in float64, and 1e-18 x in real arithmetic."""

    def function(x: Tensor) -> Tensor:
        z = scaled(x, *[1e-45] * 8, *[1e38] * 9).flatten(1)[:, :1]
        return torch.cat([1e-20 - z, 0 * z], 1)

    network = translated(*traced(function, (1, 1, 2)))
    x = torch.full((1, 1, 2), 0.9)
    for method in Method:
        for dtype in (torch.float32, torch.float64):
            prover = Prover(network, Arithmetic.REAL, dtype)
            assert not prover.decide(x, 0, Ball(Norm.LINF, 0.05), method=method).proved


def test_float32_coefficients_are_used_only_where_they_are_plain_sums() -> None:
    def function(x: Tensor) -> Tensor:
        return scaled(x, 2.0).flatten(1)

    assert Prover.of_function(function, (1, 1, 2)).dtype is torch.float32
    tiny = Prover.of_function(lambda x: scaled(x, 1e-35, 1e35).flatten(1), (1, 1, 2))
    assert tiny.dtype is torch.float64


@pytest.mark.parametrize("seed", range(6))
def test_float32_coefficients_give_bounds_that_float64_confirms(seed: int) -> None:
    """The bound in float32 is below the one in float64 but for the rounding of the latter."""
    torch.manual_seed(seed)
    module = torch.nn.Sequential(
        torch.nn.Conv2d(1, 8, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.Conv2d(8, 8, 3, stride=2),
        torch.nn.BatchNorm2d(8).eval(),
        torch.nn.ReLU(),
        torch.nn.Flatten(),
        torch.nn.Linear(72, 4),
    ).requires_grad_(requires_grad=False)
    network = translated(*traced(module, (1, 8, 8)))
    x = torch.rand(1, 8, 8, generator=torch.Generator().manual_seed(seed))
    region = Region.of_ball(x, Ball(Norm.LINF, 0.05))
    exact = Rounding(Arithmetic.REAL, torch.float64)
    bounds = propagate(network, region, exact, method=Method.INTERVAL)
    rows = torch.randn(10, 1, 4, dtype=torch.float32).view(10, *network.nodes[network.output].shape)
    single = bounds.minima(network.output, rows)
    double = bounds.minima(network.output, rows.double())
    assert (single <= double + 1e-9).all()
    assert torch.allclose(single, double, atol=1e-2)


def folded_constants(x: Tensor) -> Tensor:
    """Scores (0.5, -0.5) everywhere, unless 1e-25 * 1e-25 is computed before it meets 1e37."""
    t = (x.flatten(1).sum(1, keepdim=True) - 15).relu()
    small = ((t * 1e37) * 1e-25) * 1e-25
    back = small.relu() * 1e13
    return torch.cat([0.5 + 10 * (back - t), -0.5 - 10 * (back - t)], dim=1)


@pytest.mark.parametrize(("arithmetic", "proved"), [("float32", False), ("real", True)])
def test_constants_that_a_runtime_folds_may_underflow(arithmetic: str, proved: bool) -> None:
    prover = Prover.of_function(folded_constants, (1, 4, 4), Arithmetic(arithmetic))
    image, ball = torch.full((1, 4, 4), 0.925), Ball(Norm.LINF, 0.05)
    decision = prover.decide(image, 0, ball, deadline=time.monotonic() + 5)
    assert decision.proved is proved


def cancelling_before_a_logarithm(x: Tensor) -> Tensor:
    """Scores from log(2 (8 - t)), where 8 - t is taken from 2^27 - t in float32."""
    t = (100 * (x.flatten(1).sum(1, keepdim=True) - 15).relu()).clamp(0, 7.9)
    rest = (2.0**27 - t) - (2.0**27 - 8)
    score = torch.log(2 * rest)
    return torch.cat([score + 3, -score - 3], dim=1)


@pytest.mark.parametrize(("arithmetic", "proved"), [("float32", False), ("real", True)])
def test_cancellation_before_a_sum_of_positive_terms_counts(arithmetic: str, proved: bool) -> None:
    prover = Prover.of_function(cancelling_before_a_logarithm, (1, 4, 4), Arithmetic(arithmetic))
    image, ball = torch.full((1, 4, 4), 0.925), Ball(Norm.LINF, 0.05)
    decision = prover.decide(image, 0, ball, deadline=time.monotonic() + 5)
    assert decision.proved is proved


def moved_scale(x: Tensor) -> Tensor:
    """Scores (0.5, -0.5) everywhere, unless 1e-20 is multiplied after 1e25."""
    t = (x.flatten(1).sum(1, keepdim=True) - 15).relu()
    back = (((t * 1e20).relu() * 1e-20) * 1e25).relu() * 1e-25
    return torch.cat([0.5 + 10 * (back - t), -0.5 - 10 * (back - t)], dim=1)


@pytest.mark.parametrize(("arithmetic", "proved"), [("float32", False), ("real", True)])
def test_a_scale_that_a_runtime_moves_may_overflow(arithmetic: str, proved: bool) -> None:
    prover = Prover.of_function(moved_scale, (1, 4, 4), Arithmetic(arithmetic))
    image, ball = torch.full((1, 4, 4), 0.925), Ball(Norm.LINF, 0.05)
    decision = prover.decide(image, 0, ball, deadline=time.monotonic() + 5)
    assert decision.proved is proved


@pytest.mark.parametrize(("classes", "covered"), [(2, False), (1, True)])
def test_sigmoids_of_several_scores_are_not_certified_in_float32(
    tmp_path: Path, classes: int, covered: bool
) -> None:
    """Where both round to 1 the runtime's class is the first one, whatever the logits are."""
    nodes = [
        om.node("Flatten", "x", "flat"),
        om.node("Gemm", "flat w b", "z"),
        om.node("Sigmoid", "z", "y"),
    ]
    made = {
        "w": np.eye(2, classes, dtype=np.float32),
        "b": np.array([17, 18][:classes], np.float32),
    }
    graph = om.model(
        nodes, inputs={"x": (1, 1, 1, 2)}, outputs={"y": (1, classes)}, weights=made, opset=17
    )
    classifier = load_classifier(om.saved(tmp_path, graph), LoadOptions())
    if covered:
        Prover.of(classifier)
    else:
        with pytest.raises(UnsupportedOperatorError, match="sigmoid of each score"):
            Prover.of(classifier)
    x = torch.full((1, 1, 2), 0.5)
    decision = Prover.of(classifier, Arithmetic.REAL).decide(x, 1, Ball(Norm.LINF, 0.2))
    assert decision.proved


@pytest.mark.parametrize("kind", [TensorProto.INT32, TensorProto.INT64])
def test_arithmetic_with_integers_is_refused(tmp_path: Path, kind: int) -> None:
    """It wraps around where the numbers become too large, and no bound of real numbers says so."""
    number = np.array([8454661, 1], np.int32 if kind == TensorProto.INT32 else np.int64)
    nodes = [
        om.node("Cast", "x", "whole", to=kind),
        om.node("Mul", "whole factors", "large"),
        om.node("Cast", "large", "z", to=TensorProto.FLOAT),
        om.node("Mul", "z small", "scaled"),
        om.node("Flatten", "scaled", "y"),
    ]
    made = {"factors": number, "small": np.array([1e-6, 4.0], np.float32)}
    graph = om.model(
        nodes,
        inputs={"x": (1, 1, 1, 2)},
        outputs={"y": (1, 2)},
        weights=made,
        opset=17,
        types={"x": TensorProto.UINT8},
    )
    classifier = load_classifier(om.saved(tmp_path, graph), LoadOptions())
    with pytest.raises(UnsupportedOperatorError, match=r"\(Cast\): arithmetic with integers"):
        Prover.of(classifier, Arithmetic.REAL)


def test_rounding_from_float64_to_float32_counts() -> None:
    """Two limits that are one number in float32, and no certificate that tells them apart."""
    limits = torch.tensor([[0.02, 0.02 + 1e-10]], dtype=torch.float64)

    def function(x: Tensor) -> Tensor:
        return torch.maximum(x.double().flatten(1), limits).float()

    x, ball = torch.zeros(1, 1, 2), Ball(Norm.LINF, 0.01)
    assert len(set(function(x[None])[0].tolist())) == 1
    exact = Prover.of_function(function, (1, 1, 2), Arithmetic.REAL)
    assert exact.decide(x, 1, ball).proved
    single = Prover.of_function(function, (1, 1, 2), Arithmetic.FLOAT32)
    assert not single.decide(x, 1, ball).proved
