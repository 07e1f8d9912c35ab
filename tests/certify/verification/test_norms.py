"""Norms of layers in float32: bounds that hold however a runtime computes the variance."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_models as om
import onnxruntime
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from robcert.certify.core import Ball, Norm
from robcert.certify.importer import load_classifier, load_tensor_function
from robcert.certify.verification.bounds import Region, Rounding, propagate
from robcert.certify.verification.bounds import rounding as roundings
from robcert.certify.verification.network import Affine, Network, traced, translated
from robcert.certify.verification.outcome import Arithmetic, Method
from robcert.certify.verification.prover import Prover, Statement

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray
    from onnx import ModelProto

    Array = NDArray[np.float32]

SIZE, CLASSES = 24, 3
EPSILON = np.float32(1e-5)
F32 = np.float32


def draws(*shape: int, seed: int) -> Array:
    return np.random.default_rng(seed).normal(size=shape).astype(F32)


GAIN, BIAS, WEIGHT = draws(SIZE, seed=1), draws(SIZE, seed=2), draws(SIZE, CLASSES, seed=3)


def by_operator() -> ModelProto:
    nodes = [
        om.node("LayerNormalization", "x gain bias", "n", axis=-1, epsilon=float(EPSILON)),
        om.node("MatMul", "n w", "y"),
    ]
    return graph(nodes, {})


def by_parts() -> ModelProto:
    """What ONNX Runtime fuses into its layer normalisation."""
    nodes = [
        om.node("ReduceMean", "x", "m", axes=[-1]),
        om.node("Sub", "x m", "c"),
        om.node("Pow", "c two", "s"),
        om.node("ReduceMean", "s", "v", axes=[-1]),
        om.node("Add", "v eps", "e"),
        om.node("Sqrt", "e", "d"),
        om.node("Div", "c d", "q"),
        om.node("Mul", "q gain", "g"),
        om.node("Add", "g bias", "n"),
        om.node("MatMul", "n w", "y"),
    ]
    return graph(nodes, {"two": F32(2), "eps": EPSILON})


def graph(nodes: Any, more: dict[str, Any]) -> ModelProto:
    constants = {"gain": GAIN, "bias": BIAS, "w": WEIGHT, **more}
    return om.model(
        nodes, inputs={"x": ("batch", SIZE)}, outputs={"y": None}, weights=constants, opset=17
    )


GRAPHS = {"operator": by_operator, "parts": by_parts}


def finished(x: Array, mean: np.float32, variance: np.float32) -> Array:
    with np.errstate(invalid="ignore"):
        normal = (x - mean) / np.sqrt(variance + EPSILON) * GAIN + BIAS
    return np.asarray(normal @ WEIGHT)


def in_one_pass(x: Array) -> Array:
    """Mean of squares less squared mean, added up one by one."""
    total = square = F32(0)
    for value in x:
        total, square = total + value, square + value * value
    mean = total / F32(SIZE)
    return finished(x, mean, square / F32(SIZE) - mean * mean)


def in_two_passes(x: Array) -> Array:
    total = square = F32(0)
    for value in x:
        total = total + value
    mean = total / F32(SIZE)
    for value in x:
        square = square + (value - mean) * (value - mean)
    return finished(x, mean, square / F32(SIZE))


def as_affine(x: Array) -> Array:
    """x r + (b - m r), as kernels of instance normalisation have it."""
    mean = x.mean(dtype=F32)
    factor = F32(1) / np.sqrt(((x - mean) ** 2).mean(dtype=F32) + EPSILON) * GAIN
    return np.asarray((x * factor + (BIAS - mean * factor)) @ WEIGHT)


def by_torch(x: Array) -> Array:
    with torch.no_grad():
        t = torch.from_numpy
        n = F.layer_norm(t(x[None]), (SIZE,), t(GAIN), t(BIAS), float(EPSILON))
    return np.asarray(n.numpy()[0] @ WEIGHT)


def by_runtime(made: ModelProto) -> Callable[[Array], Array]:
    session = onnxruntime.InferenceSession(
        made.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return lambda x: np.asarray(session.run(None, {"x": x[None]})[0][0])


def by_updates(x: Array) -> Array:
    """Mean and variance updated element by element (Welford 1962), as kernels of CUDA have it."""
    mean = square = F32(0)
    for count, value in enumerate(x, start=1):
        change = value - mean
        mean = mean + change / F32(count)
        square = square + change * (value - mean)
    return finished(x, mean, square / F32(SIZE))


EVALUATIONS: list[Callable[[Array], Array]] = [in_one_pass, in_two_passes, as_affine, by_torch]


def inputs(offset: float, spread: float, n: int = 6) -> list[Array]:
    return [(offset + spread * draws(SIZE, seed=at)).astype(F32) for at in range(n)]


def network_of(folder: Path, made: ModelProto) -> Network:
    function = load_tensor_function(om.saved(folder, made))
    return Prover.of_function(function.twin, function.input_shape, Arithmetic.FLOAT32).network


def at_a_point(network: Network, x: Array, arithmetic: Arithmetic) -> tuple[Array, Array]:
    point = torch.from_numpy(x).double()
    rounding = Rounding(arithmetic, torch.float64)
    bounds = propagate(network, Region.of_box(point, point), rounding, method=Method.INTERVAL)
    at = network.output
    return bounds.lower[at].flatten().numpy(), bounds.upper[at].flatten().numpy()


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("offset", [0.0, 0.5, -3.0, 20.0])
def test_bounds_hold_for_every_way_to_compute_a_layer_norm(
    tmp_path: Path, name: str, offset: float
) -> None:
    made = GRAPHS[name]()
    network = network_of(tmp_path, made)
    ways = [*EVALUATIONS, *(by_runtime(make()) for make in GRAPHS.values())]
    outside = False
    for x in inputs(offset, 0.3):
        lower, upper = at_a_point(network, x, Arithmetic.FLOAT32)
        low, high = at_a_point(network, x, Arithmetic.REAL)
        for evaluate in ways:
            y = evaluate(x)
            assert (lower <= y).all(), evaluate
            assert (y <= upper).all(), evaluate
            outside |= bool(((y < low) | (y > high)).any())
    assert outside


@pytest.mark.parametrize("name", GRAPHS)
def test_means_that_a_gpu_updates_are_covered_there(tmp_path: Path, name: str) -> None:
    classifier = load_classifier(om.saved(tmp_path, on_images(GRAPHS[name]())))
    here = Prover.of(classifier).network
    there = Prover.of(replace(classifier, device=torch.device("cuda"))).network
    exact = Prover.of(replace(classifier, device=torch.device("cuda")), Arithmetic.REAL).network
    assert sum(roundings_of(there)) >= sum(roundings_of(here)) + 2 * SIZE
    assert roundings_of(exact) == roundings_of(here)
    for x in inputs(-3.0, 0.3):
        lower, upper = at_a_point(there, x.reshape(1, 4, -1), Arithmetic.FLOAT32)
        y = by_updates(x)
        assert (lower <= y).all()
        assert (y <= upper).all()


def on_images(made: ModelProto) -> ModelProto:
    """The same network behind a flattening."""
    made.graph.input[0].name = "image"
    made.graph.node.insert(0, om.node("Flatten", "image", "x"))
    shape = made.graph.input[0].type.tensor_type.shape
    for size in (4, SIZE // 4):
        shape.dim.add().dim_value = size
    shape.dim[1].dim_value = 1
    return made


def roundings_of(network: Network) -> list[int]:
    return [node.terms for node in network.nodes if isinstance(node, Affine)]


@pytest.mark.parametrize("name", GRAPHS)
def test_without_the_allowance_for_variances_they_would_not_hold(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The planted fault: the variance as accurate as the sum of squared differences."""
    network = network_of(tmp_path, GRAPHS[name]())
    monkeypatch.setattr(roundings.Rounding, "square_of_difference", lambda *_: None)
    wrong = False
    for x in inputs(200.0, 1.0):
        lower, upper = at_a_point(network, x, Arithmetic.FLOAT32)
        y = in_one_pass(x)
        wrong |= bool(((y < lower) | (y > upper)).any())
    assert wrong


@pytest.mark.parametrize("offset", [2000.0, 50000.0])
def test_where_the_variance_may_come_out_negative_nothing_is_certified(
    tmp_path: Path, offset: float
) -> None:
    """There a runtime may compute the root of a negative number."""
    network = network_of(tmp_path, by_parts())
    prover = Prover(network, Arithmetic.FLOAT32)
    x = torch.from_numpy(inputs(offset, 0.05, n=1)[0]).double()
    scores = network(x[None])[0]
    best = torch.eye(CLASSES, dtype=torch.float64)[int(scores.argmax())][None]
    statement = Statement(x, x, best, -scores.max()[None] + 100)  # true by far, if not of NaN
    assert not prover.decide_statement(statement, method=Method.CROWN).proved
    exact = replace(prover, arithmetic=Arithmetic.REAL)
    assert exact.decide_statement(statement, method=Method.CROWN).proved


def group_norm(x: Tensor) -> Tensor:
    return F.group_norm(x, 2, eps=1e-3).flatten(1)


def rms_norm(x: Tensor) -> Tensor:
    return (x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-3)).flatten(1)


@pytest.mark.parametrize("function", [group_norm, rms_norm], ids=lambda f: f.__name__)
@pytest.mark.parametrize("offset", [0.0, 5.0])
def test_other_norms_are_covered_too(function: Callable[[Tensor], Tensor], offset: float) -> None:
    network = translated(*traced(function, (4, 3, 3)))
    draw = torch.Generator().manual_seed(4)
    for _ in range(10):
        x = offset + torch.rand(4, 3, 3, generator=draw)
        lower, upper = at_a_point(network, x.numpy(), Arithmetic.FLOAT32)
        y = function(x[None])[0].numpy()
        assert (lower <= y).all()
        assert (y <= upper).all()
        assert float((upper - lower).max()) < (1.0 if offset else 0.01)


def test_a_normalised_network_is_certified_in_float32(tmp_path: Path) -> None:
    function = load_tensor_function(om.saved(tmp_path, by_operator()))
    x = torch.from_numpy(inputs(0.5, 0.3, n=1)[0]).clamp(0, 1)
    y = int(function.runtime(x[None]).argmax())
    found = {
        arithmetic: Prover.of_function(function.twin, (SIZE,), arithmetic).decide(
            x, y, Ball(Norm.LINF, 0.002), method=Method.CROWN
        )
        for arithmetic in Arithmetic
    }
    assert all(decision.proved for decision in found.values())
    assert found[Arithmetic.FLOAT32].bound < found[Arithmetic.REAL].bound
