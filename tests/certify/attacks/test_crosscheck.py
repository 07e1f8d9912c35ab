"""Our attacks against foolbox's and AutoAttack (extra `crosscheck`), on the bundled models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from peers import Counted, correct, distances

from robcert.certify.attacks import suites
from robcert.certify.attacks.black_box.boundary import boundary
from robcert.certify.attacks.black_box.hopskipjump import hopskipjump
from robcert.certify.attacks.gradient.carlini_wagner import CarliniWagnerConfig, carlini_wagner
from robcert.certify.attacks.gradient.ddn import ddn
from robcert.certify.attacks.gradient.deepfool import deepfool
from robcert.certify.attacks.gradient.fmn import fmn
from robcert.certify.attacks.search.state import Found, SearchState
from robcert.certify.attacks.suites import BUDGETS, Suite
from robcert.certify.auditing.open import bundled
from robcert.certify.core import Batch, Norm
from robcert.certify.importer.load import load_classifier
from robcert.certify.model.classifier import Classifier

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # of the peers, which are not ours to mend
]

WORSE = 1.05
STEPS = 100

Ours = Callable[[Classifier, Batch], Found]

PAIRS: dict[str, tuple[Norm, str, dict[str, Any], Ours]] = {
    "fmn-l1": (
        *(Norm.L1, "L1FMNAttack", {"steps": STEPS}),
        lambda model, batch: fmn(model, batch, norm=Norm.L1, steps=70),
    ),
    "fmn-l2": (
        *(Norm.L2, "L2FMNAttack", {"steps": STEPS}),
        lambda model, batch: fmn(model, batch, norm=Norm.L2, steps=70),
    ),
    "fmn-linf": (
        *(Norm.LINF, "LInfFMNAttack", {"steps": STEPS}),
        lambda model, batch: fmn(model, batch, norm=Norm.LINF, steps=70),
    ),
    "ddn": (
        *(Norm.L2, "DDNAttack", {"steps": STEPS}),
        lambda model, batch: ddn(model, batch, steps=70),
    ),
    "deepfool-l2": (
        *(Norm.L2, "L2DeepFoolAttack", {"steps": 50, "candidates": 10, "overshoot": 0.02}),
        lambda model, batch: deepfool(model, batch, norm=Norm.L2, steps=50, classes=9),
    ),
    "deepfool-linf": (
        *(Norm.LINF, "LinfDeepFoolAttack", {"steps": 50, "candidates": 10, "overshoot": 0.02}),
        lambda model, batch: deepfool(model, batch, norm=Norm.LINF, steps=50, classes=9),
    ),
    "cw": (
        *(Norm.L2, "L2CarliniWagnerAttack", {"steps": STEPS, "binary_search_steps": 9}),
        lambda model, batch: carlini_wagner(model, batch, CarliniWagnerConfig(60)),
    ),
}
"""Norm, foolbox's attack and its settings, ours with steps for no more gradients than it takes."""


@pytest.mark.parametrize("name", ["fashion-honest.onnx", "fashion-gaussian.onnx"])
@pytest.mark.parametrize("pair", PAIRS)
def test_distances_are_no_worse_than_those_of_foolbox(pair: str, name: str) -> None:
    foolbox = pytest.importorskip("foolbox")
    norm, attack, settings, ours = PAIRS[pair]
    model = load_classifier(bundled(name))
    batch, counted = correct(model, 40), Counted(model).eval()
    peer = foolbox.PyTorchModel(counted, bounds=(0, 1), device="cpu")
    criterion = foolbox.criteria.Misclassification(batch.y)
    theirs = getattr(foolbox.attacks, attack)(**settings)
    _, adversarial, _ = theirs(peer, batch.x, criterion, epsilons=None)
    found = ours(model, batch)
    assert found.n_backward.double().mean() <= counted.gradients / len(batch)
    median = distances(model, batch, adversarial, norm).median()
    assert found.distance.median() <= WORSE * median


@pytest.mark.parametrize("name", ["fashion-honest.onnx", "fashion-gaussian.onnx"])
@pytest.mark.parametrize("steps", [1000, 5000])
def test_boundary_is_no_worse_than_that_of_foolbox(steps: int, name: str) -> None:
    """Medians of 20 images at fewer queries; the search for starts takes some two hundred."""
    foolbox = pytest.importorskip("foolbox")
    torch.manual_seed(0)
    peer = foolbox.attacks.BoundaryAttack(steps=steps)
    labels_only(peer, name, Norm.L2, lambda model, batch: boundary(model, batch, queries=steps))


@pytest.mark.parametrize("name", ["fashion-honest.onnx", "fashion-gaussian.onnx"])
@pytest.mark.parametrize(("norm", "queries"), [(Norm.L2, 2300), (Norm.LINF, 2450)])
def test_hopskipjump_is_no_worse_than_that_of_foolbox(norm: Norm, queries: int, name: str) -> None:
    """Beside the search for a start; in linf foolbox's ten steps take more of them."""
    foolbox = pytest.importorskip("foolbox")
    torch.manual_seed(0)
    peer = foolbox.attacks.HopSkipJumpAttack(steps=10, constraint=str(norm))
    labels_only(
        peer, name, norm, lambda model, batch: hopskipjump(model, batch, norm, queries=queries)
    )


def labels_only(peer: Any, name: str, norm: Norm, ours: Ours) -> None:
    """Compare ``ours`` with foolbox's ``peer`` at no more queries."""
    foolbox = pytest.importorskip("foolbox")
    model = load_classifier(bundled(name))
    batch, counted = correct(model, 20), Counted(model).eval()
    asked = foolbox.PyTorchModel(counted, bounds=(0, 1), device="cpu")
    criterion = foolbox.criteria.Misclassification(batch.y)
    _, adversarial, _ = peer(asked, batch.x, criterion, epsilons=None)
    found = ours(model, batch)
    assert found.n_forward.double().mean() <= counted.images / len(batch)
    assert found.distance.median() <= WORSE * distances(model, batch, adversarial, norm).median()


@pytest.mark.parametrize(("norm", "epsilon"), [(Norm.LINF, 0.025), (Norm.L2, 0.3), (Norm.L1, 1.0)])
def test_robust_accuracy_is_no_higher_than_that_of_autoattack(norm: Norm, epsilon: float) -> None:
    """One image of a hundred may be missing."""
    peers = pytest.importorskip("pyautoattack")
    model = load_classifier(bundled("fashion-honest.onnx"))
    batch = correct(model, 100)
    theirs = peers.AutoAttack(
        model=Counted(model).eval(),
        norm={Norm.LINF: "Linf", Norm.L2: "L2", Norm.L1: "L1"}[norm],
        eps=epsilon,
        seed=0,
        device="cpu",
    )
    adversarial = theirs.run_standard_evaluation(batch.x, batch.y)[0]
    reached = distances(model, batch, adversarial, norm) <= epsilon * (1 + 1e-5)
    state = SearchState(model, batch, norm)
    names = suites.attacks_of(Suite.THOROUGH, (), norm, differentiable=True)
    suites.run(state, names, replace(BUDGETS[Suite.THOROUGH], epsilons=(epsilon,)))
    ours = state.within(torch.full((len(batch),), epsilon))
    assert 0.05 < reached.double().mean() < 0.95  # or the comparison says little
    assert ours.sum() >= reached.sum() - 1
