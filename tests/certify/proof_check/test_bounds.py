"""The checker's bounds against sampled and float32 evaluations, and its regions against minima."""

from __future__ import annotations

import itertools
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import onnx_models as om
import pytest
from checked_nets import preprocessing
from scipy.optimize import linprog

from robcert.certify.proof_check import read_network
from robcert.certify.proof_check.bounds import Bounds
from robcert.certify.proof_check.errors import UncheckableModelError
from robcert.certify.proof_check.leaves import Units, covers
from robcert.certify.proof_check.region import NORMS, Norm, Region

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from robcert.certify.proof_check import Network

    Array = NDArray[np.float64]

DRAWS = np.random.default_rng(1)
SHAPE = (1, 3, 3)


def floats(*shape: int) -> NDArray[np.float32]:
    return DRAWS.normal(size=shape).astype(np.float32)


def network() -> Network:
    """Two ReLU layers, the second with a residual sum."""
    nodes = [
        om.node("Conv", "x k kb", "c", pads=[1, 1, 1, 1]),
        om.node("Relu", "c", "cr"),
        om.node("Flatten", "cr", "f"),
        om.node("Gemm", "f w wb", "a"),
        om.node("Relu", "a", "ar"),
        om.node("Add", "ar a", "s"),
        om.node("Gemm", "s u", "z"),
    ]
    weights = {
        "k": floats(2, 1, 3, 3),
        "kb": floats(2),
        "w": floats(18, 6),
        "wb": floats(6),
        "u": floats(6, 3),
    }
    made = om.model(nodes, inputs={"x": (1, *SHAPE)}, outputs={"z": None}, weights=weights)
    return read_network(made.SerializeToString(), "", preprocessing(SHAPE), SHAPE)


def complete(bounds: Bounds) -> Bounds:
    for _ in bounds.network.nodes:
        bounds.extend()
    return bounds


def points(region: Region, count: int) -> Array:
    """Images of a region, half of them at its edge."""
    low, high = region.lower - region.centre, region.upper - region.centre
    change = np.where(DRAWS.random((count, low.size)) < 0.5, low, high)
    change[::2] *= DRAWS.random((len(change[::2]), low.size))
    if region.norm != "linf":
        order = 2 if region.norm == "l2" else 1
        length = np.linalg.norm(change, order, axis=1, keepdims=True)
        change *= np.minimum(1, region.radius / length)
    return region.centre + change


@pytest.mark.parametrize("norm", NORMS)
def test_bounds_hold_at_images_of_the_region_whatever_the_slopes(norm: Norm) -> None:
    for trial in range(6):
        net = network()
        radius = {"linf": 0.1, "l2": 0.3, "l1": 0.8}[norm] * (1 + trial)
        region = Region.around(DRAWS.random(SHAPE), norm, radius)
        bounds = complete(Bounds(net, region, float32=False))
        sampled = points(region, 400)
        values = [net.values(x) for x in sampled]
        for at in range(len(net.nodes)):
            found = np.array([each[at] for each in values])
            assert (found >= bounds.lower[at] - 1e-9).all()
            assert (found <= bounds.upper[at] + 1e-9).all()
        rows = DRAWS.normal(size=(30, net.classes))
        scores = np.array([each[net.scores] for each in values])
        least = (scores @ rows.T).min(0)
        assert (bounds.minimum(net.scores, rows) <= least + 1e-9).all()
        _check_assumptions(bounds, rows, values)


def _check_assumptions(bounds: Bounds, rows: Array, values: list[list[Array]]) -> None:
    """Bounds under assumed signs hold where the assumptions do."""
    net = bounds.network
    elements = {at: np.arange(net.nodes[at].size) for at in net.relus}
    units = Units(bounds, elements)
    count = sum(map(len, elements.values()))
    signs = DRAWS.choice([-1, 0, 1], size=(len(rows), count), p=[0.05, 0.9, 0.05])
    slopes = DRAWS.normal(size=(len(rows), count)) + 0.5
    multipliers = DRAWS.exponential(size=(len(rows), count)) - 0.3
    lines = units.lines(signs.astype(np.int8), slopes, multipliers)
    found = bounds.minimum(net.scores, rows, lines)
    for each in values:
        inputs = np.concatenate([each[net.nodes[at].parents[0]] for at in net.relus])
        holds = (signs * inputs >= 0).all(1)
        assert (found <= rows @ each[net.scores] + 1e-9)[holds].all()


@pytest.mark.parametrize("norm", NORMS)
def test_minima_of_linear_functions(norm: Norm) -> None:
    image = DRAWS.random(SHAPE)
    for radius in (0.05, 0.4, 5.0):
        region = Region.around(image, norm, radius)
        rows = DRAWS.normal(size=(20, image.size))
        found = region.minimum(rows)
        sampled = (points(region, 3000) @ rows.T).min(0)
        assert (found <= sampled).all()
        exact = [_exact(region, row) for row in rows]
        np.testing.assert_allclose(found, exact, rtol=1e-5, atol=1e-6)
        assert (found <= np.array(exact) + 1e-9).all()
    assert region.minimum(np.zeros((1, image.size)))[0] == pytest.approx(0, abs=1e-12)


def _exact(region: Region, row: Array) -> float:
    low, high = region.lower - region.centre, region.upper - region.centre
    base = float(row @ region.centre)
    if region.norm == "linf":
        return base + float(np.minimum(row * low, row * high).sum())
    if region.norm == "l1":  # the change as a difference of two that are not negative
        limits = [*zip([0] * len(row), high, strict=True), *zip([0] * len(row), -low, strict=True)]
        solved = linprog(
            np.concatenate([row, -row]),
            A_ub=[[1.0] * 2 * len(row)],
            b_ub=[region.radius],
            bounds=limits,
        )
        return base + float(solved.fun)
    near, far = 1e-9, 1e9  # the multiplier at which the clipped change is as long as the radius
    for _ in range(200):
        t = (near * far) ** 0.5
        change = np.clip(-row / (2 * t), low, high)
        near, far = (t, far) if (change**2).sum() > region.radius**2 else (near, t)
    return base + float(row @ np.clip(-row / (2 * far), low, high))


def test_an_evaluation_that_starts_with_the_bias_is_within_the_error() -> None:
    inputs, bias = 784, 1000.0
    weight = np.zeros((inputs, 2), np.float32)
    weight[:, 0] = 1e-5
    nodes = [
        om.node("Flatten", "x", "f"),
        om.node("MatMul", "f w", "m"),
        om.node("Add", "m b", "z"),
    ]
    weights = {"w": weight, "b": np.full(2, bias, np.float32)}
    shape = (1, 28, 28)
    made = om.model(nodes, inputs={"x": (1, *shape)}, outputs={"z": None}, weights=weights)
    net = read_network(made.SerializeToString(), "", preprocessing(shape), shape)
    region = Region.around(np.ones(shape), "linf", 1e-6)
    evaluated = np.float32(bias)
    for term in weight[:, 0]:
        evaluated = np.float32(evaluated + term)
    assert evaluated == bias  # every term is lost
    rows = np.array([[1.0, -1.0]])
    real = complete(Bounds(net, region, float32=False))
    assert real.minimum(net.scores, rows)[0] == pytest.approx(784e-5, rel=1e-3)
    in_float32 = complete(Bounds(net, region, float32=True))
    assert in_float32.lower[net.scores][0] <= evaluated
    assert in_float32.minimum(net.scores, rows)[0] < 0


def test_constants_whose_product_underflows_are_refused_in_float32() -> None:
    nodes = [
        om.node("Flatten", "x", "f"),
        om.node("MatMul", "f w", "m"),
        om.node("Mul", "m s", "z"),
    ]
    weights = {"w": np.full((9, 2), 1e-25, np.float32), "s": np.full(2, 1e-25, np.float32)}
    made = om.model(nodes, inputs={"x": (1, *SHAPE)}, outputs={"z": None}, weights=weights)
    net = read_network(made.SerializeToString(), "", preprocessing(SHAPE), SHAPE)
    region = Region.around(np.ones(SHAPE), "linf", 0.1)
    assert np.isfinite(complete(Bounds(net, region, float32=False)).lower[net.scores]).all()
    with pytest.raises(UncheckableModelError, match="may underflow"):
        complete(Bounds(net, region, float32=True))


def test_float32_evaluations_in_any_order_are_within_the_bounds() -> None:
    """Scores of a network with large weights that cancel, with its sums in random orders."""
    shape, hidden = (1, 1, 40), 30
    w, u = floats(40, hidden) * 100, floats(hidden, 2) * 100
    b = floats(hidden) * 1000
    nodes = [
        om.node("Flatten", "x", "f"),
        om.node("Gemm", "f w b", "a"),
        om.node("Relu", "a", "r"),
        om.node("Gemm", "r u", "z"),
    ]
    weights = {"w": w, "b": b, "u": u}
    made = om.model(nodes, inputs={"x": (1, *shape)}, outputs={"z": None}, weights=weights)
    net = read_network(made.SerializeToString(), "", preprocessing(shape), shape)
    image = DRAWS.random(shape).astype(np.float32)
    region = Region.around(image.astype(np.float64), "linf", 1e-12)
    bounds = complete(Bounds(net, region, float32=True))
    width = (bounds.upper[net.scores] - bounds.lower[net.scores]).max()
    exact = net.values(image.astype(np.float64))[net.scores]
    off = 0.0
    for _ in range(50):
        first = np.maximum(_summed(np.vstack([image.ravel()[:, None] * w, b])), 0)
        scores = _summed(first[:, None] * u)
        assert (scores >= bounds.lower[net.scores]).all()
        assert (scores <= bounds.upper[net.scores]).all()
        off = max(off, float(np.abs(scores - exact).max()))
    assert 0 < off < width < 1e-3 * np.abs(w).max() * np.abs(u).max() * 1200


def _summed(terms: NDArray[np.float32]) -> NDArray[np.float32]:
    """The sum over the first axis in float32, one after the other in a random order."""
    total = np.zeros(terms.shape[1], np.float32)
    for row in DRAWS.permutation(len(terms)):
        total = (total + terms[row].astype(np.float32)).astype(np.float32)
    return total


def test_covers_is_a_tree_of_splits() -> None:
    for _ in range(300):
        leaves = _tree(DRAWS.permutation(5).tolist(), depth=int(DRAWS.integers(0, 5)))
        signs = np.array(leaves, np.int8)
        assert covers(DRAWS.permutation(signs))
        assert _covers_by_hand(signs)
        changed = signs.copy()
        if len(signs) > 1:
            assert not covers(np.delete(signs, DRAWS.integers(len(signs)), axis=0))
            row, unit = np.argwhere(changed != 0)[DRAWS.integers(np.count_nonzero(changed))]
            changed[row, unit] *= -1
            assert not covers(changed)
            changed[row, unit] = 0
            assert not covers(changed) or _covers_by_hand(changed)
    for _ in range(500):  # whatever it accepts covers all signs
        signs = DRAWS.integers(-1, 2, size=(int(DRAWS.integers(1, 7)), 3)).astype(np.int8)
        assert not covers(signs) or _covers_by_hand(signs)
    assert not covers(np.zeros((0, 3), np.int8))


def _tree(units: list[int], depth: int) -> list[list[int]]:
    if not depth:
        return [[0] * 5]
    unit, *rest = units
    found = []
    for sign in (1, -1):
        for leaf in _tree(rest, int(DRAWS.integers(0, depth))):
            leaf[unit] = sign
            found.append(leaf)
    return found


def _covers_by_hand(signs: NDArray[np.int8]) -> bool:
    patterns = itertools.product((1, -1), repeat=signs.shape[1])
    return all(bool(((signs == 0) | (signs == one)).all(1).any()) for one in patterns)


def test_the_checker_imports_nothing_of_the_prover() -> None:
    code = (
        "import sys, robcert.certify.proof_check; "
        "print(sorted(m for m in sys.modules if m.split('.')[0] in ('torch', 'scipy', 'robcert')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    names = [name for name in eval(done.stdout) if "proof_check" not in name]  # noqa: S307
    assert names == ["robcert", "robcert.certify"]
