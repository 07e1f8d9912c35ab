"""Bounds of random graphs against ONNX Runtime at every level of its graph optimisation.

More seeds: ``ROBCERT_RANDOM_GRAPHS=1000:3000 pytest`` of this file.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np
import onnx_models as om
import pytest
import torch
from checked_nets import preprocessing
from graph_steps import MORE
from random_graphs import outputs, random_model, sessions

from robcert.certify.core import Ball, Norm
from robcert.certify.errors import RobcertError
from robcert.certify.importer import load_tensor_function
from robcert.certify.proof_check import read_network
from robcert.certify.proof_check.bounds import Bounds
from robcert.certify.proof_check.errors import ProofCheckError
from robcert.certify.proof_check.region import Region as CheckedRegion
from robcert.certify.verification.bounds import Region, Rounding, propagate
from robcert.certify.verification.bounds.intervals import UnboundedError
from robcert.certify.verification.outcome import Arithmetic, Method
from robcert.certify.verification.prover import Prover
from robcert.certify.verification.relaxations import InvalidIntervalError, OutsideDomainError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray
    from onnx import ModelProto

    Array = NDArray[np.float64]
    Images = NDArray[np.float32]

NO_BOUNDS = (RobcertError, UnboundedError, OutsideDomainError, InvalidIntervalError)

RADII = (1e-30, 1e-6, 1e-3, 0.1)


def seeds() -> range:
    first, _, last = os.environ.get("ROBCERT_RANDOM_GRAPHS", "0:15").partition(":")
    return range(int(first), int(last))


def images_within(image: Images, radius: float, seed: int) -> Images:
    """The image, corners of its linf ball and images inside."""
    draws = np.random.default_rng(seed)
    steps = draws.choice([-1.0, 1.0], (6, *image.shape)) * np.array(
        [0, 1, 1, 1, draws.random(), draws.random()]
    ).reshape(-1, *[1] * image.ndim)
    moved = np.clip(image + radius * steps, 0, 1).astype(np.float32)
    wide = np.abs(moved.astype(np.float64) - image).reshape(len(moved), -1).max(1)
    return moved[wide <= radius]


def of_prover(
    folder: Path, made: ModelProto, image: Images, radius: float, arithmetic: Arithmetic
) -> Iterator[tuple[Array, Array]]:
    """Bounds of the scores, by intervals and by lines."""
    function = load_tensor_function(om.saved(folder, made))
    prover = Prover.of_function(function.twin, function.input_shape, arithmetic)
    network, at = prover.network, prover.network.output
    region = Region.of_ball(torch.from_numpy(image), Ball(Norm.LINF, radius))
    rounding = Rounding(arithmetic, prover.coefficient_type)
    for method in (Method.INTERVAL, Method.CROWN):
        bounds = propagate(network, region, rounding, method=method)
        lower, upper = bounds.lower[at].flatten(), bounds.upper[at].flatten()
        rows = torch.eye(len(lower), dtype=torch.float64).view(-1, *network.nodes[at].shape)
        yield lower.numpy(), upper.numpy()
        yield bounds.minima(at, rows).numpy(), -bounds.minima(at, -rows).numpy()


def of_checker(made: ModelProto, image: Images, radius: float) -> tuple[Array, Array]:
    shape = image.shape
    network = read_network(made.SerializeToString(), "", preprocessing(shape), shape)
    region = CheckedRegion.around(image.astype(np.float64), "linf", radius)
    bounds = Bounds(network, region, float32=True)
    for _ in network.nodes:
        bounds.extend()
    at, rows = network.scores, np.eye(network.classes)
    lower = np.maximum(bounds.lower[at], bounds.minima(at, rows))
    return lower, np.minimum(bounds.upper[at], -bounds.minima(at, -rows))


@pytest.mark.parametrize(
    "menu",
    [
        "usual",
        pytest.param("plain", marks=pytest.mark.slow),
        pytest.param("more", marks=pytest.mark.slow),
    ],
)
def test_scores_of_the_runtime_lie_within_the_bounds(tmp_path: Path, menu: str) -> None:
    bounded, plain = 0, menu == "plain"
    for seed in seeds():
        made, image = random_model(seed, plain=plain, more=MORE if menu == "more" else None)
        radius = RADII[seed % len(RADII)]
        images = images_within(image, radius, seed)
        scores = np.stack([outputs(each, images) for each in sessions(made)]).astype(np.float64)
        found: list[tuple[Array, Array]] = []
        try:
            found += of_prover(tmp_path, made, image, radius, Arithmetic.FLOAT32)
            found += [of_checker(made, image, radius)] if plain else []
        except (*NO_BOUNDS, ProofCheckError):
            continue
        bounded += 1
        for lower, upper in found:
            assert ((lower <= scores) & (scores <= upper)).all(), seed
    assert bounded > len(seeds()) / 4
