"""Loss surfaces of models whose values on the grid are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from known_functions import flat_batch, two_logits

from robcert.certify.core import Norm
from robcert.certify.landscape.surface import SurfaceSettings, loss_surface, turns

WEIGHT = torch.tensor([3.0, -1.0, 0.5])


@pytest.mark.parametrize("norm", Norm)
def test_surface_of_a_linear_margin(norm: Norm) -> None:
    """The margin is affine in (a, b); u and v have length epsilon, u points uphill."""
    classifier = two_logits(lambda x: x @ WEIGHT - 2, 3)
    batch = flat_batch(torch.tensor([[0.5, 0.5, 0.5]]))
    settings = SurfaceSettings(norm, epsilon=0.1, resolution=5, steps=20)
    found = loss_surface(classifier, batch, settings, seed=0)
    assert norm.of(found.u[None]).item() == pytest.approx(0.1, rel=1e-5)
    assert norm.of(found.v[None]).item() == pytest.approx(0.1, rel=1e-5)
    rise = 0.1 * norm.dual.of(WEIGHT[None]).item()
    a, b = torch.meshgrid(found.offsets, found.offsets, indexing="ij")
    aside = float(found.v.flatten() @ WEIGHT)
    expected = (batch.x.flatten() @ WEIGHT - 2) + a * rise + b * aside
    assert torch.allclose(found.margin, expected, atol=5e-3)
    assert torch.allclose(found.cross_entropy, torch.log1p(expected.exp()), atol=5e-3)
    assert ((found.prediction == 1) == (found.margin > 0)).all()


def test_surface_is_the_same_again() -> None:
    classifier = two_logits(lambda x: x @ WEIGHT - 2, 3)
    batch = flat_batch(torch.tensor([[0.5, 0.4, 0.3]]))
    settings = SurfaceSettings(Norm.LINF, epsilon=0.1, resolution=3, steps=3)
    one, two = (loss_surface(classifier, batch, settings, seed=4) for _ in range(2))
    assert torch.equal(one.cross_entropy, two.cross_entropy)


def test_turns() -> None:
    line = np.linspace(0, 1, 21)
    assert turns(np.tile(line[:, None], 3)) == 0
    assert turns(np.tile((line[:, None] - 0.5) ** 2, 3)) == 1
    assert turns(np.tile(np.cos(8 * np.pi * line)[:, None], 2)) == 7
    assert turns(np.zeros((5, 5))) == 0
