"""`robcert verify` into a results file and out of it, with a prover in closed form."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from linear_models import linear_classifier, near_grey
from linear_prover import COUNT, SEED, LinearProver, exact, session

from robcert.certify.attacks.search.budget import AttackBudget
from robcert.certify.attacks.suites import BUDGETS, Suite
from robcert.certify.core import Norm
from robcert.certify.errors import (
    ContradictionError,
    InvalidParameterError,
    TwinUnavailableError,
    UnverifiableError,
)
from robcert.certify.store.ledger import ledger
from robcert.certify.verification.analysis import analyse, summarise
from robcert.certify.verification.outcome import Arithmetic, Method, Open
from robcert.certify.verification.schema import METHODS, REASONS, Status
from robcert.certify.verification.settings import VerificationSettings, guarantee
from robcert.certify.verification.tables import between, tables

if TYPE_CHECKING:
    from pathlib import Path

SMALL = AttackBudget(steps=5, restarts=1, targets=3, descent_steps=40, halvings=8, queries=30)
RADII = (0.004, 0.01, 0.002)
SETTINGS = VerificationSettings(epsilons=RADII)


@pytest.fixture(autouse=True)
def small_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BUDGETS, Suite.QUICK, SMALL)


@pytest.mark.parametrize("norm", list(Norm))
def test_rows_are_the_closed_form(tmp_path: Path, norm: Norm) -> None:
    truth = exact(norm)
    # between the distances: at one itself rounding decides
    radii = tuple(0.999 * float(at) for at in np.quantile(truth[truth > 0], [0.5, 0.2, 0.8]))
    settings = VerificationSettings(norm=norm, epsilons=radii)
    prover = LinearProver(SEED)
    with (opened := session(tmp_path / "r.h5")).store as store:
        path = analyse(opened, settings, prover=prover.of)
        group = store.at(path)
        assert path.startswith(f"/verify/{norm}-auto-")
        assert group.complete
        radius, distance = group.column("radius"), group.column("distance")
        status = group.column("status")
        summary = summarise(store, path)
        found = ledger(store)
    right = truth > 0
    assert (radius <= truth).all()
    assert (distance >= truth * (1 - 1e-6)).all()
    np.testing.assert_allclose(radius[right], truth[right], rtol=1e-6)
    for place, epsilon in enumerate(radii):
        proved = status[:, place] == Status.CERTIFIED
        assert (proved == (radius >= epsilon)).all()
        assert proved.sum() == (truth > epsilon).sum()
        assert (status[truth * 1.05 < epsilon, place] <= Status.REFUTED).all()
        bracket = summary.robust_accuracy[place]
        assert bracket.certified <= (truth > epsilon).mean() <= bracket.attacked
        assert bracket.width == pytest.approx(bracket.attacked - bracket.certified)
        assert summary.certified_accuracy[place].value == bracket.certified
    assert (status[1] == Status.MISCLASSIFIED).all()
    assert (radius[1], distance[1]) == (0, 0)
    assert summary.n == COUNT
    assert summary.headline_epsilon == radii[0]
    assert found.contradictions == ()
    assert found.count == 0
    assert any(one.proven and one.kind == "certified" for one in found.comparisons)
    assert "none of" in found.sentence


def test_a_proof_covers_smaller_radii_and_bounds_their_margin(tmp_path: Path) -> None:
    prover = LinearProver(SEED)
    at = int(np.argmax(exact()))
    radii = tuple(share * exact()[at] for share in (0.1, 0.2, 0.3, 0.4))
    settings = VerificationSettings(epsilons=radii)
    with (opened := session(tmp_path / "r.h5", indices=(at,))).store as store:
        group = store.at(analyse(opened, settings, prover=prover.of))
        lower = group.column("margin_lower")[0]
        assert group.column("status")[0].tolist() == [Status.CERTIFIED] * 4
        assert group.column("reason")[0].tolist() == [REASONS.index(Open.NO)] * 4
        assert group.column("branches")[0] == 18  # three decisions, three searches
        assert METHODS[group.column("method")[0]] is Method.CROWN_IBP
        distance = float(group.column("distance")[0])
    assert 0 < lower[1] == lower[2] < lower[0]
    assert prover.asked[:3] == [("decide", radii[at]) for at in (0, 2, 3)]
    assert prover.asked[3:] == [("largest", distance)] * 3


def test_what_attacks_break_is_not_proved(tmp_path: Path) -> None:
    prover = LinearProver(SEED)
    settings = VerificationSettings(epsilons=(0.2, 0.1))
    with (opened := session(tmp_path / "r.h5")).store as store:
        group = store.at(analyse(opened, settings, prover=prover.of))
        distance = group.column("distance")
        status = group.column("status")
        assert np.isnan(group.column("margin_lower")).all()
    assert (distance <= 0.1).all()
    assert {kind for kind, _ in prover.asked} == {"largest"}
    assert {limit for _, limit in prover.asked} == set(distance[distance > 0])
    assert set(status[distance > 0].flatten()) == {Status.REFUTED}


def test_a_budget_that_ends_leaves_the_image_open_and_says_so(tmp_path: Path) -> None:
    truth = exact()
    at = int(np.argmax(truth))
    radii = (0.3 * truth[at], 0.6 * truth[at])
    prover = LinearProver(SEED, gives_up_beyond=0.5 * truth[at])
    settings = VerificationSettings(epsilons=radii)
    with (opened := session(tmp_path / "r.h5", indices=(at,))).store as store:
        path = analyse(opened, settings, prover=prover.of)
        group, summary = store.at(path), summarise(store, path)
        assert group.column("status")[0].tolist() == [Status.CERTIFIED, Status.OPEN]
        assert REASONS[group.column("reason")[0, 1]] is Open.TIME
        assert radii[0] <= group.column("radius")[0] < radii[1]
    decided = [radius for kind, radius in prover.asked if kind == "decide"]
    assert decided == [radii[0], *[radii[1]] * 3]  # by each method once
    assert summary.timed_out == 1
    assert summary.robust_accuracy[1].open == {"time": 1, "loose bounds": 0, "rounding": 0}
    assert summary.robust_accuracy[1].width == 1
    assert "between 0.0 % (certified) and 100.0 % (attacked)" in between(summary.robust_accuracy[1])
    shown = [cell for table in tables([summary]) for row in table.rows for cell in row]
    assert "1 time" in shown
    assert "1 of 1" in shown


def test_a_spent_budget_starts_no_search_for_the_radius(tmp_path: Path) -> None:
    prover = LinearProver(SEED)
    settings = VerificationSettings(epsilons=(0.5,), seconds=1e-9)
    with (opened := session(tmp_path / "r.h5", indices=(0,))).store as store:
        path = analyse(opened, settings, prover=prover.of)
        assert REASONS[store.at(path).column("radius_reason")[0]] is Open.TIME
        assert store.at(path).column("radius")[0] == 0
        assert summarise(store, path).timed_out == 1
    assert prover.asked == []


def test_counterexamples_of_the_prover_count_once_the_runtime_confirms_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("robcert.certify.attacks.suites._run", lambda *_: None)  # finds nothing
    truth = exact()
    settings = VerificationSettings(epsilons=(1.5 * truth[0],), save_images=True)
    prover = LinearProver(SEED)
    with (opened := session(tmp_path / "r.h5", indices=(0,))).store as store:
        group = store.at(analyse(opened, settings, prover=prover.of))
        distance = float(group.column("distance")[0])
        image = torch.from_numpy(group.column("adversarial"))
        assert group.column("status")[0, 0] == Status.REFUTED
        assert group.column("radius")[0] == pytest.approx(truth[0])
        summary = summarise(store, group.path)
    assert distance == pytest.approx(1.5 * truth[0], rel=1e-4)
    assert distance <= 1.5 * truth[0] * (1 + 1e-6)
    predicted = int(linear_classifier(SEED).logits(image).argmax())
    assert predicted != near_grey(linear_classifier(SEED), COUNT).y[0]
    assert summary.robust_accuracy[0].attacked == 0


def test_one_that_the_runtime_does_not_confirm_leaves_it_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("robcert.certify.attacks.suites._run", lambda *_: None)
    truth = exact(Norm.L2)
    settings = VerificationSettings(norm=Norm.L2, epsilons=(1.5 * truth[0],))
    prover = LinearProver(SEED)  # in l2 its counterexample is the image itself
    with (opened := session(tmp_path / "r.h5", indices=(0,))).store as store:
        group = store.at(analyse(opened, settings, prover=prover.of))
        assert group.column("status")[0, 0] == Status.OPEN
        assert REASONS[group.column("reason")[0, 0]] is Open.ROUNDING
        assert math.isinf(group.column("distance")[0])
    assert prover.asked[-1] == ("largest", 1.5 * truth[0])


def test_rows_are_the_same_after_a_break_and_on_a_subset(tmp_path: Path) -> None:
    prover = LinearProver(SEED)
    with (opened := session(tmp_path / "whole.h5")).store as store:
        whole = store.at(analyse(opened, SETTINGS, prover=prover.of))
        columns = {name: whole.column(name) for name in whole.columns}
    with (opened := session(tmp_path / "parts.h5", indices=(7, 2))).store as store:
        analyse(opened, SETTINGS, prover=prover.of)
    with (opened := session(tmp_path / "parts.h5")).store as store:
        again = store.at(analyse(opened, SETTINGS, prover=prover.of))
        for name, values in columns.items():
            if "seconds" not in name:
                np.testing.assert_array_equal(values, again.column(name, np.arange(COUNT)))
        asked = len(prover.asked)
        analyse(opened, SETTINGS, prover=prover.of)
    assert len(prover.asked) == asked  # nothing is computed twice


def test_without_labels_the_class_is_the_models_own(tmp_path: Path) -> None:
    with (opened := session(tmp_path / "r.h5", labelled=False)).store as store:
        summary = summarise(store, analyse(opened, SETTINGS, prover=LinearProver(SEED).of))
    assert summary.clean_accuracy.value == 1
    assert summary.reference == "the model's own prediction"


def test_a_certificate_that_an_attack_reaches_is_an_error(tmp_path: Path) -> None:
    with (opened := session(tmp_path / "r.h5")).store as store:
        path = analyse(opened, SETTINGS, prover=LinearProver(SEED, boast=2.0).of)
        found, summary = ledger(store), summarise(store, path)
        assert store.at(path).complete  # the rows are written
        with pytest.raises(ContradictionError) as caught:
            found.require_sound()
    (comparison,) = found.contradictions
    assert comparison.attack.startswith("/attack/linf-quick-")
    assert path in str(caught.value)
    assert "fault of robcert" in str(caught.value)
    assert "report" in caught.value.hint
    assert "fault of robcert" in found.sentence
    assert "fault of robcert" in summary.warnings[0]


def test_models_that_no_proof_can_be_about(tmp_path: Path) -> None:
    model = linear_classifier(SEED)
    drawn = replace(model, info=replace(model.info, random=True))
    opened = session(tmp_path / "a.h5", classifier=drawn)
    with opened.store, pytest.raises(UnverifiableError, match="different scores"):
        analyse(opened, SETTINGS, prover=LinearProver(SEED).of)
    opened = session(tmp_path / "b.h5", classifier=replace(model, twin=None))
    with opened.store, pytest.raises(TwinUnavailableError):
        analyse(opened, SETTINGS, prover=LinearProver(SEED).of)


def test_settings_are_checked() -> None:
    for wrong in ({"seconds": 0.0}, {"epsilons": (2.0,)}, {"epsilons": (-1.0,)}):
        with pytest.raises(InvalidParameterError):
            VerificationSettings(**wrong)
    l2 = VerificationSettings(norm=Norm.L2)
    assert l2.attack.norm is Norm.L2
    assert l2.radii == (0.5, 0.0625, 0.125, 0.25, 1.0)  # the attacks' curve, the headline first
    assert [VerificationSettings.of_profile(p).seconds for p in ("quick", "standard")] == [2, 10]


def test_the_guarantee_names_the_arithmetic() -> None:
    every = guarantee("linf", Arithmetic.FLOAT32)
    real = guarantee("l2", Arithmetic.REAL, integer_input=True)
    assert "without probability" in every
    assert "float32, in whatever order" in every
    assert "real arithmetic" in real
    assert "levels" in real
