"""The stated errors of functions in float32 against what runtimes compute."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_models as om
import onnxruntime
import pytest
import torch
from onnx import numpy_helper

from robcert.certify.verification.bounds.rounding import FUNCTION_ERROR, Rounding
from robcert.certify.verification.network import Activation, traced, translated
from robcert.certify.verification.outcome import Arithmetic

if TYPE_CHECKING:
    from numpy.typing import NDArray

FLOAT32 = Rounding(Arithmetic.FLOAT32, torch.float64)
POWERS = (0.5, 1.7, 3.0, 7.0, 10.0, 33.3, 128.0, 1000.0, 20000.0, -0.5, -2.5, -40.0, -3000.5)


def bases(power: float, n: int = 4000) -> NDArray[np.float32]:
    """Positive numbers whose power lies between 1e-30 and 1e30, many of them near 1."""
    draw = np.random.default_rng(11)
    logs = draw.uniform(-1, 1, n) * np.geomspace(1e-6, 1, n) * 69 / abs(power)
    return np.exp(np.clip(logs, -69, 69)).astype(np.float32)


def exact_power(x: NDArray[np.float32], power: float) -> NDArray[np.longdouble]:
    return np.power(x.astype(np.longdouble), np.longdouble(power))


def by_onnxruntime(x: NDArray[np.float32], power: float) -> NDArray[np.float32]:
    made = om.model([om.node("Pow", "x p", "y")], inputs={"x": (len(x),)}, outputs={"y": (len(x),)})
    made.graph.initializer.append(numpy_helper.from_array(np.float32(power), "p"))
    session = onnxruntime.InferenceSession(
        made.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (found,) = session.run(None, {"x": x})
    return np.asarray(found)


def by_logarithm(x: NDArray[np.float32], power: float) -> NDArray[np.float32]:
    return np.exp(np.float32(power) * np.log(x))


def by_squaring(x: NDArray[np.float32], power: float) -> NDArray[np.float32]:
    found = np.ones_like(x)
    for bit in f"{int(power):b}":
        found = found * found
        found = found * x if bit == "1" else found
    return found


def stated(power: float, value: NDArray[np.longdouble]) -> NDArray[np.float64]:
    """The error that the network allows for at values of the power."""
    network = translated(*traced(lambda x: torch.pow(x + 1, power).flatten(1), (1, 1, 1)))
    (node,) = [node for node in network.nodes if isinstance(node, Activation)]
    values = torch.from_numpy(value.astype(np.float64))
    return FLOAT32.function(node.relaxation.name, values, node.error).numpy()


@pytest.mark.parametrize("power", [np.float32(p) for p in POWERS])
def test_no_evaluation_of_a_power_is_off_by_more_than_stated(power: np.float32) -> None:
    x = bases(float(power))
    exact = exact_power(x, float(power))
    allowed = stated(float(power), exact)
    ways = [np.power(x, power), by_onnxruntime(x, float(power)), by_logarithm(x, float(power))]
    ways += [torch.pow(torch.from_numpy(x), float(power)).numpy()]
    if power > 0 and power == int(power) and power <= 128:
        ways.append(by_squaring(x, float(power)))
    for found in ways:
        off = np.abs(found.astype(np.longdouble) - exact)
        assert (off <= allowed).all(), float((off / allowed).max())


def test_the_error_of_an_elementary_function_would_not_cover_a_large_power() -> None:
    x = bases(20000.0)
    exact = exact_power(x, 20000.0)
    off = np.abs(by_logarithm(x, 20000.0).astype(np.longdouble) - exact)
    assert (off > FUNCTION_ERROR * (1 + exact)).any()
