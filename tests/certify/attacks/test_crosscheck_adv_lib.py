"""Our smallest distances against adv-lib's (extra `crosscheck`), on the bundled models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from peers import Counted, correct, distances

from robcert.certify.attacks.gradient.carlini_wagner import CarliniWagnerConfig, carlini_wagner
from robcert.certify.attacks.gradient.ddn import ddn
from robcert.certify.attacks.gradient.deepfool import deepfool
from robcert.certify.attacks.gradient.fmn import fmn
from robcert.certify.attacks.search.state import Found
from robcert.certify.auditing.open import bundled
from robcert.certify.core import Batch, Norm
from robcert.certify.importer.load import load_classifier
from robcert.certify.model.classifier import Classifier

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # of the peer, which are not ours to mend
]

WORSE = 1.05
STEPS = 100
NUMBERS = {Norm.L1: 1.0, Norm.L2: 2.0, Norm.LINF: float("inf")}

Ours = Callable[[Classifier, Batch, Norm], Found]

PAIRS: dict[str, tuple[tuple[Norm, ...], str, dict[str, Any], Ours]] = {
    "fmn": (
        (Norm.L1, Norm.L2, Norm.LINF),
        *("fmn", {"steps": STEPS}),
        lambda model, batch, norm: fmn(model, batch, norm=norm, steps=70),
    ),
    "ddn": (
        (Norm.L2,),
        *("ddn", {"steps": STEPS, "levels": None}),
        lambda model, batch, _: ddn(model, batch, steps=70),
    ),
    "deepfool": (
        (Norm.L2, Norm.LINF),
        *("df", {"steps": 50}),
        lambda model, batch, norm: deepfool(model, batch, norm=norm, steps=50, classes=9),
    ),
    "cw": (
        (Norm.L2,),
        *("carlini_wagner_l2", {"max_iterations": STEPS, "binary_search_steps": 9}),
        lambda model, batch, _: carlini_wagner(model, batch, CarliniWagnerConfig(60)),
    ),
}
"""Norms, adv-lib's attack and its settings, ours with steps for no more gradients than it takes."""

CASES = [(pair, norm) for pair, (norms, *_) in PAIRS.items() for norm in norms]


@pytest.mark.parametrize("name", ["fashion-honest.onnx", "fashion-gaussian.onnx"])
@pytest.mark.parametrize(("pair", "norm"), CASES)
def test_distances_are_no_worse_than_those_of_adv_lib(pair: str, norm: Norm, name: str) -> None:
    """Medians over the images that adv-lib breaks, at no more gradients over all of them."""
    peer = pytest.importorskip("adv_lib.attacks")
    norms, attack, settings, ours = PAIRS[pair]
    if len(norms) > 1:
        settings = {**settings, "norm": NUMBERS[norm]}
    model = load_classifier(bundled(name))
    batch, counted = correct(model, 40), Counted(model).eval()
    theirs = distances(
        model, batch, getattr(peer, attack)(counted, batch.x, batch.y, **settings), norm
    )
    found = ours(model, batch, norm)
    assert found.n_backward.double().mean() <= counted.gradients / len(batch)
    broken = theirs.isfinite()
    assert broken.sum() >= 9  # FMN in l1 does not move on the others of the honest model
    assert found.distance[broken].median() <= WORSE * theirs[broken].median()
