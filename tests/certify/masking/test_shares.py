"""Comparisons of attacks on models with random outputs, on draws whose probabilities are known."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from robcert.certify.attacks import PgdConfig
from robcert.certify.core import Ball, Batch, Norm
from robcert.certify.masking.checklist import ATTACKS
from robcert.certify.masking.random_outputs import ascents, ascents_towards_classes, one_step
from robcert.certify.masking.schema import BY_GRADIENT, JUDGED
from robcert.certify.masking.shares import excess, excess_with_chance, misclassified
from robcert.certify.masking.views import averaged, wrong_shares
from robcert.certify.model.classifier import Classifier, ModelInfo

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from robcert.certify.session import Columns

DRAWS = 20
NAIVE = ("pgd_file",)


def table(probabilities: dict[str, NDArray[np.float64]], n: int, seed: int = 0) -> Columns:
    """Columns in which attacks end where one draw is misclassified with ``probabilities``."""
    rng = np.random.default_rng(seed)
    shares = np.full((n, len(JUDGED), 2), np.nan)
    columns: Columns = {}
    for at, name in enumerate(JUDGED):
        p = probabilities.get(name, np.full(n, np.nan))
        known = ~np.isnan(p)
        shares[known, at] = rng.binomial(DRAWS, p[known, None], (int(known.sum()), 2)) / DRAWS
        columns[name] = np.where(known, shares[:, at].mean(1) > 0.5, -1).astype(np.int8)
    columns["correct"] = np.ones(n, np.int8)
    columns["earlier"] = columns["rounds"] = np.full(n, -1, np.int8)
    columns["long_search"] = columns.get("long_search", np.full(n, -1, np.int8))
    return columns | {"wrong_share": shares}


def test_many_equal_attacks_gain_nothing_but_chance() -> None:
    n = 4000
    columns = table({name: np.full(n, 0.5) for name in JUDGED if name != "clean"}, n)
    columns["wrong_share"][:, 0] = 0.0
    assert abs(excess(columns, ATTACKS, NAIVE).mean()) < 0.01
    assert excess_with_chance(columns, ATTACKS, NAIVE).mean() > 0.1
    assert misclassified(columns, ATTACKS).mean() == pytest.approx(0.5, abs=0.01)
    # without fresh draws every image would count
    assert (
        excess(
            columns | {"wrong_share": np.full_like(columns["wrong_share"], np.nan)}, ATTACKS, NAIVE
        ).mean()
        > 0.4
    )


def test_a_better_attack_gains_what_it_gains() -> None:
    n = 4000
    weak, strong = np.full(n, 0.2), np.where(np.arange(n) < n // 4, 0.9, 0.1)
    columns = table({"clean": np.zeros(n), "pgd_file": weak, "pgd_ce": weak, "search": strong}, n)
    true = np.where(np.arange(n) < n // 4, 0.7, 0.0)
    assert excess(columns, ("search",), BY_GRADIENT).mean() == pytest.approx(true.mean(), abs=0.01)
    assert misclassified(columns, ("search",)).mean() == pytest.approx(strong.mean(), abs=0.01)


def test_attacks_already_in_the_file_were_not_judged_and_do_not_count() -> None:
    columns = table({"clean": np.zeros(10), "pgd_file": np.full(10, 0.1)}, 10)
    columns["earlier"] = np.ones(10, np.int8)
    assert np.all(excess(columns, ("earlier",), NAIVE) == 0)


class Drawn(nn.Module):
    """Two classes; class 1 has the sum of the pixels minus 8 and normal noise."""

    def __init__(self, noise: float) -> None:
        super().__init__()
        self.noise = noise

    def forward(self, x: Tensor) -> Tensor:
        margin = x.flatten(1).sum(1) - 8
        margin = margin + self.noise * torch.randn_like(margin)
        return torch.stack([torch.zeros_like(margin), margin], 1)


def drawn(noise: float) -> Classifier:
    info = ModelInfo(file="drawn", sha256="drawn", kind="module", random=True)
    return Classifier.from_module(Drawn(noise), image_shape=(1, 4, 4), num_classes=2, info=info)


def batch(margin: float, n: int = 32) -> Batch:
    x = torch.full((n, 1, 4, 4), (8 + margin) / 16)
    return Batch(np.arange(n), x, torch.ones(n, dtype=torch.int64))


def test_the_share_of_wrong_draws_is_that_of_the_model() -> None:
    # P[1 + e < 0] for e of standard deviation 2 is 0.3085
    one = batch(1.0, n=200)
    shares = wrong_shares(drawn(2.0), one.x, one.y, 100)
    assert shares.shape == (200, 2)
    assert float(shares.mean()) == pytest.approx(0.3085, abs=0.01)
    assert not torch.equal(shares[:, 0], shares[:, 1])


@pytest.mark.parametrize("norm", list(Norm))
def test_attacks_on_a_random_linear_model_end_at_the_worst_point(norm: Norm) -> None:
    torch.manual_seed(0)
    epsilon = {Norm.LINF: 0.1, Norm.L2: 0.4, Norm.L1: 1.6}[norm]  # each moves the sum by 1.6
    ball, clean = Ball(norm, epsilon), batch(1.0)
    model = averaged(drawn(0.5), 8, 4)
    for found in (
        one_step(model, clean, ball),
        ascents(model, clean, ball, PgdConfig(20, restarts=2)),
        ascents_towards_classes(model, clean, ball, PgdConfig(20), targets=3),
    ):
        moved = (clean.x - found.x_adv).flatten(1).sum(1)
        assert torch.allclose(moved, torch.full_like(moved, 1.6), rtol=0.02), moved
        assert bool((found.distance <= epsilon * (1 + 1e-6) + 1e-6).all())
        assert float(wrong_shares(drawn(0.5), found.x_adv, clean.y, 40).mean()) > 0.8


class Three(nn.Module):
    """The margin of class 1 over class 0 is the sum minus 8; over class 2 it is far larger."""

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(1)
        return torch.stack([torch.zeros(len(x)), flat.sum(1) - 8, 10 * flat[:, 0] - 30], 1)


def test_the_target_that_is_reached_is_kept() -> None:
    clean, ball = batch(1.0), Ball(Norm.LINF, 0.1)
    model = Classifier.from_module(Three(), image_shape=(1, 4, 4), num_classes=3)
    found = ascents_towards_classes(model, clean, ball, PgdConfig(20), targets=2)
    assert bool((found.prediction == 0).all())
    assert torch.allclose((clean.x - found.x_adv).flatten(1).sum(1), torch.tensor(1.6), rtol=0.02)
