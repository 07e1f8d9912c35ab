"""Attacks at a radius against foolbox's and AutoAttack's of the same name (extra `crosscheck`).

Success on a hundred images at no more gradients (or queries, for Square). Three images may be
missing: another seed moves the count by one or two, of the peer's as of ours.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from peers import Counted, correct, distances
from torch import Tensor

from robcert.certify.attacks.black_box.square import SquareConfig, square
from robcert.certify.attacks.gradient.apgd import run_apgd
from robcert.certify.attacks.gradient.pgd import PgdConfig, fgsm, pgd
from robcert.certify.attacks.search.radius import RadiusTask
from robcert.certify.attacks.search.state import Found, SearchState
from robcert.certify.auditing.open import bundled
from robcert.certify.core import Ball, Batch, Norm
from robcert.certify.importer.load import load_classifier
from robcert.certify.model.classifier import Classifier
from robcert.certify.numerics.losses import Loss

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # of the peers, which are not ours to mend
]

COUNT, STEPS, QUERIES, CHANCE = 100, 20, 300, 3

RADII = {
    "fashion-honest.onnx": {Norm.LINF: 0.025, Norm.L2: 0.3, Norm.L1: 2.5},
    "fashion-gaussian.onnx": {Norm.LINF: 0.1, Norm.L2: 1.5, Norm.L1: 15.0},
}

Peer = Callable[[Counted, Batch, float], Tensor]
"""Model, images and radius to what the peer makes of the images."""
Ours = Callable[[Classifier, Batch, float], Found]


def of_foolbox(attack: str, **settings: Any) -> Peer:
    def run(counted: Counted, batch: Batch, epsilon: float) -> Tensor:
        foolbox = pytest.importorskip("foolbox")
        peer = foolbox.PyTorchModel(counted, bounds=(0, 1), device="cpu")
        criterion = foolbox.criteria.Misclassification(batch.y)
        made = getattr(foolbox.attacks, attack)(**settings)
        return made(peer, batch.x, criterion, epsilons=epsilon)[1]

    return run


def of_autoattack(module: str, attack: str, **settings: Any) -> Peer:
    def run(counted: Counted, batch: Batch, epsilon: float) -> Tensor:
        peers = pytest.importorskip(f"pyautoattack.{module}")
        made = getattr(peers, attack)(counted, eps=epsilon, device="cpu", seed=0, **settings)
        return made.perturb(batch.x, batch.y)

    return run


def ours_of(attack: Callable[[Classifier, Batch, Ball], Found], norm: Norm) -> Ours:
    return lambda model, batch, epsilon: attack(model, batch, Ball(norm, epsilon))


def our_pgd(model: Classifier, batch: Batch, ball: Ball) -> Found:
    return pgd(model, batch, ball, PgdConfig(STEPS, loss=Loss.CE))


def our_square(model: Classifier, batch: Batch, ball: Ball) -> Found:
    return square(model, batch, ball, SquareConfig(QUERIES - 5))


def our_apgd(model: Classifier, batch: Batch, ball: Ball, *, ratio: bool) -> Found:
    state = SearchState(model, batch, ball.norm)
    run_apgd(state, RadiusTask.of_ball(state, ball), steps=50, ratio=ratio)
    return state.result()


def pairs() -> dict[str, tuple[Norm, Peer, Ours]]:
    found: dict[str, tuple[Norm, Peer, Ours]] = {}
    for norm, name in ((Norm.LINF, "Linf"), (Norm.L2, "L2"), (Norm.L1, "L1")):
        one_step = of_foolbox(f"{name}FastGradientAttack")
        found[f"fgsm-{norm}"] = (norm, one_step, ours_of(fgsm, norm))
        # its own step, 1/30 or 1/40 of the radius, does not get far in 20
        longer = {"steps": STEPS, "rel_stepsize": 0.1}
        found[f"pgd-{norm}"] = (
            norm,
            of_foolbox(f"{name}ProjectedGradientDescentAttack", **longer),
            ours_of(our_pgd, norm),
        )
        for loss in ("ce", "dlr"):
            settings = {"n_iter": 50, "norm": name, "loss": loss, "use_largereps": name == "L1"}
            found[f"apgd-{loss}-{norm}"] = (
                norm,
                of_autoattack("autopgd_base", "APGDAttack", **settings),
                ours_of(partial(our_apgd, ratio=loss == "dlr"), norm),
            )
        if norm is not Norm.L1:
            found[f"square-{norm}"] = (
                norm,
                of_autoattack("square", "SquareAttack", n_queries=QUERIES, norm=name),
                ours_of(our_square, norm),
            )
    return found


PAIRS = pairs()


@pytest.mark.parametrize("name", RADII)
@pytest.mark.parametrize("pair", PAIRS)
def test_no_fewer_images_break_than_with_the_peer(pair: str, name: str) -> None:
    norm, theirs, ours = PAIRS[pair]
    model, epsilon = load_classifier(bundled(name)), RADII[name][norm]
    batch, counted = correct(model, COUNT), Counted(model).eval()
    torch.manual_seed(0)
    adversarial = theirs(counted, batch, epsilon)
    broken = int((distances(model, batch, adversarial, norm) <= epsilon * (1 + 1e-4)).sum())
    found = ours(model, batch, epsilon)
    assert found.n_backward.sum() <= counted.gradients
    if pair.startswith("square"):
        assert found.n_forward.sum() <= 1.02 * counted.images  # with clean images and re-checks
    assert 5 <= broken <= 95  # or the comparison says little
    assert found.found.sum() >= broken - CHANCE
