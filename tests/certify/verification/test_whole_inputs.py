"""Integer inputs: the certified ball holds every level whose distance is the radius."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import h5py
import numpy as np
import onnx_models as om
import pytest
import torch
from onnx import TensorProto
from proved_nets import sealed

from robcert.certify.core import Ball, Norm
from robcert.certify.errors import UnsupportedOperatorError
from robcert.certify.importer import LoadOptions, load_classifier
from robcert.certify.model import InputGrid, Preprocessing, PreprocessOptions
from robcert.certify.proof_check import check
from robcert.certify.proof_check.errors import ProofFileError
from robcert.certify.proof_check.preprocessing import Preprocessing as StatedPreprocessing
from robcert.certify.verification.outcome import Arithmetic, Method
from robcert.certify.verification.proofs import Claim, ProofWriter
from robcert.certify.verification.prover import Prover

if TYPE_CHECKING:
    from pathlib import Path

CLEAN, MOVED = 128, 126
"""The pixel CLEAN / 255 is above its value in float32, by 3e-8."""


def at_a_level(folder: Path) -> Path:
    """The class changes just above the level MOVED of the first pixel, with a slope of 1e6."""
    nodes = [
        om.node("Cast", "x", "number", to=TensorProto.FLOAT),
        om.node("Flatten", "number", "flat"),
        om.node("Sub", "flat level", "above"),
        om.node("Mul", "above steep", "scaled"),
        om.node("Sub", "scaled one", "score"),
        om.node("MatMul", "score w", "y"),
    ]
    weights = {
        "level": np.array([MOVED, 0, 0, 0], np.float32),
        "steep": np.array([1e6, 0, 0, 0], np.float32),
        "one": np.array(1, np.float32),
        "w": np.array([[1, -1]] + [[0, 0]] * 3, np.float32),
    }
    made = om.model(
        nodes,
        inputs={"x": ("batch", 1, 2, 2)},
        outputs={"y": None},
        weights=weights,
        types={"x": TensorProto.UINT8},
    )
    return om.saved(folder, made)


@pytest.mark.parametrize("norm", Norm)
def test_no_ball_is_certified_that_a_level_of_another_class_bounds(
    tmp_path: Path, norm: Norm
) -> None:
    path = at_a_level(tmp_path)
    classifier = load_classifier(path)
    grid, radius = classifier.grid, (CLEAN - MOVED) / 255
    assert grid is not None
    x, other = (torch.full((1, 2, 2), level / 255) for level in (CLEAN, CLEAN))
    other[0, 0, 0] = MOVED / 255
    assert classifier.logits(torch.stack([x, other])).argmax(1).tolist() == [0, 1]
    assert float(norm.of(grid.difference(other[None], x[None]))) == radius
    prover = Prover.of(classifier, Arithmetic.REAL)
    assert not prover.decide(x, 0, Ball(norm, radius)).proved
    less = radius - 1e-6
    decision = prover.decide(x, 0, Ball(norm, less), method=Method.CROWN, keep_proof=True)
    assert decision.proof is not None
    with ProofWriter(tmp_path / "p.h5", prover, classifier) as writer:
        writer.add(Claim(0, x, 0, Ball(norm, less)), decision.proof)
    assert check(tmp_path / "p.h5", path).proved
    with h5py.File(tmp_path / "p.h5", "r+") as file:
        file["statements/000000"].attrs["radius"] = radius
    sealed(tmp_path / "p.h5")
    assert not check(tmp_path / "p.h5", path).proved


BETWEEN_LEVELS = {"white": (0.0, 254.6), "black": (0.4, 255.0), "both": (254.6, 0.4)}
ON_LEVELS = {"usual": (0.0, 255.0), "turned": (255.0, 0.0), "beyond": (-0.3, 300.5)}


@pytest.mark.parametrize("ends", [*BETWEEN_LEVELS.values(), *ON_LEVELS.values()], ids=str)
def test_only_levels_may_end_the_pixels(ends: tuple[float, float]) -> None:
    stated = Preprocessing(range=ends, dtype="uint8", input_shape=(1, 2, 2))
    text = json.dumps(asdict(stated))
    if ends in ON_LEVELS.values():
        assert InputGrid(stated).end_error < 1e-12
        assert StatedPreprocessing.from_json(text).range == ends
        return
    assert InputGrid(stated).end_error == pytest.approx(0.4 / 254.6, rel=0.02)
    with pytest.raises(ProofFileError, match="black and white"):
        StatedPreprocessing.from_json(text)


def test_means_and_deviations_move_the_ends() -> None:
    usual = Preprocessing(range=(0, 255), mean=(128,), std=(1,), dtype="int8")
    assert InputGrid(usual).end_error == 0
    coarse = Preprocessing(range=(0, 255), mean=(7,), std=(40,), dtype="int32")
    assert InputGrid(coarse).end_error == pytest.approx(0.2 * 40 / 255)


def test_no_certificate_where_white_is_rounded_to_a_level_without_a_pixel(tmp_path: Path) -> None:
    stated = PreprocessOptions(range=(0.0, 254.6))
    classifier = load_classifier(at_a_level(tmp_path), LoadOptions(preprocess=stated))
    for arithmetic in Arithmetic:
        with pytest.raises(UnsupportedOperatorError, match="not whole numbers of the uint8 input"):
            Prover.of(classifier, arithmetic)
