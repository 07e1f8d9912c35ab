"""Nearest resizing: where rounding decides which entry is copied there is no certificate."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_models as om
import pytest
import torch
from onnx import helper

from robcert.certify.errors import UnsupportedOperatorError
from robcert.certify.importer import load_tensor_function
from robcert.certify.verification.prover import Prover

if TYPE_CHECKING:
    from pathlib import Path

    from robcert.certify.importer import TensorFunction

RULES = ("half_pixel", "pytorch_half_pixel", "asymmetric", "align_corners", "half_pixel_symmetric")
MODES = ("floor", "ceil", "round_prefer_floor", "round_prefer_ceil")


def resizing(
    folder: Path, width: int, scale: float, rule: str, mode: str, kind: str = "nearest"
) -> TensorFunction:
    how = {"coordinate_transformation_mode": rule, "nearest_mode": mode, "mode": kind}
    made = om.model(
        [
            helper.make_node("Resize", ["x", "", "scales"], ["wide"], name="resize", **how),
            om.node("Flatten", "wide", "y"),
        ],
        inputs={"x": (1, 1, 1, width)},
        outputs={"y": None},
        weights={"scales": np.array([1, 1, 1, scale], np.float32)},
        opset=19,
    )
    return load_tensor_function(om.saved(folder, made))


def test_what_rounding_decides_names_its_node(tmp_path: Path) -> None:
    function = resizing(tmp_path, 999, 3.3, "half_pixel", "round_prefer_floor")
    with pytest.raises(UnsupportedOperatorError, match=r"'resize' \(Resize\): which entries"):
        Prover.of_function(function.twin, function.input_shape)


@pytest.mark.slow
@pytest.mark.parametrize("rule", RULES)
def test_otherwise_the_entries_are_those_of_the_runtime(tmp_path: Path, rule: str) -> None:
    draws, accepted = np.random.default_rng(3), 0
    for at in range(8):
        width = int(draws.integers(2, 200))
        scale = float(np.float32(draws.uniform(0.3, 3) if at % 2 else draws.integers(2, 5)))
        mode = MODES[at // 2]
        function = resizing(tmp_path, width, scale, rule, mode)
        try:
            network = Prover.of_function(function.twin, function.input_shape).network
        except UnsupportedOperatorError:
            continue
        accepted += 1
        x = torch.arange(width, dtype=torch.float32).view(1, 1, 1, width)
        assert torch.equal(network(x.double()).float(), function.runtime(x))
    assert accepted >= 3


@pytest.mark.parametrize(("width", "scale"), [(10, 0.7), (30, 0.9), (300, 0.77), (30, 7 / 3)])
def test_an_axis_has_as_many_entries_as_the_runtime_gives_it(
    tmp_path: Path, width: int, scale: float
) -> None:
    """In float32 the product of length and scale is a whole number, exactly it is below."""
    assert int(width * float(np.float32(scale))) < round(width * scale)
    function = resizing(tmp_path, width, scale, "half_pixel", "floor", "linear")
    x = torch.rand(1, 1, 1, width, generator=torch.Generator().manual_seed(0))
    assert function.runtime(x).shape == function.twin(x).shape == (1, round(width * scale))
