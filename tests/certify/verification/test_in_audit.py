"""The proofs as a part of an audit: settings, verdict, comparison, figures."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from linear_prover import COUNT, SEED, LinearProver, session

from robcert.certify.attacks.analysis import analyse as attack
from robcert.certify.attacks.search.budget import AttackBudget
from robcert.certify.attacks.suites import BUDGETS, Suite
from robcert.certify.auditing.settings import AuditSettings
from robcert.certify.auditing.verdict import cards, findings_of, verdict_of
from robcert.certify.comparison.overview import overview
from robcert.certify.comparison.overview_table import overview_table
from robcert.certify.core import Norm
from robcert.certify.report.page import render
from robcert.certify.report.svg import brackets
from robcert.certify.verification.analysis import analyse, summarise
from robcert.certify.verification.settings import VerificationSettings

if TYPE_CHECKING:
    from pathlib import Path

    from robcert.certify.core import Profile

SMALL = AttackBudget(steps=5, restarts=1, targets=3, descent_steps=40, halvings=8, queries=30)
EPSILON = 0.004


@pytest.fixture(autouse=True)
def small_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    for suite in Suite:
        monkeypatch.setitem(BUDGETS, suite, SMALL)


@pytest.mark.parametrize("profile", ["quick", "standard"])
@pytest.mark.parametrize("epsilons", [(), (0.01, EPSILON)])
def test_an_audit_attacks_each_image_once(
    tmp_path: Path, profile: Profile, epsilons: tuple[float, ...]
) -> None:
    norm = Norm.LINF
    epsilon = epsilons[0] if epsilons else norm.usual_radius
    settings = AuditSettings.of_profile(profile, norm=norm, epsilon=epsilon, epsilons=epsilons)
    with (opened := session(tmp_path / "r.h5", indices=(0, 1, 2))).store as store:
        path = attack(opened, settings.attack, epsilons=settings.epsilons)
        before = {name: store.at(path).attribute(name) for name in ("epsilons", "headline_epsilon")}
        key = analyse(opened, settings.verify, prover=LinearProver(SEED).of)
        (table,) = store.existing("attack")
        summary = summarise(store, key)
        after = {name: table.attribute(name) for name in before}
    assert table.path == path
    assert after == before
    assert summary.headline_epsilon == epsilon
    assert summary.seconds.attack == 0


def test_verdict_and_report_state_the_bracket(tmp_path: Path) -> None:
    settings = VerificationSettings(epsilons=(EPSILON,))
    prover = LinearProver(SEED, gives_up_beyond=EPSILON / 2)
    with (opened := session(tmp_path / "r.h5")).store as store:
        summary = summarise(store, analyse(opened, settings, prover=prover.of))
        verdict, page, shown = verdict_of(store), render(store), cards(findings_of(store))
    bracket = summary.headline
    assert bracket is not None
    assert bracket.certified == 0
    assert 0 < bracket.attacked == bracket.width < 1
    said = f"between 0.0 % (certified) and {100 * bracket.attacked:.1f} % (attacked)"
    assert any(said in sentence for sentence in verdict.sentences)
    assert "0.0 % provably" in verdict.headline
    assert said in page
    assert "certified radius and attacked distance of each image (linf)" in page
    assert any(card.claim == "certified" and said in card.text for card in shown)


def test_a_comparison_has_a_column_of_it(tmp_path: Path) -> None:
    settings = VerificationSettings(epsilons=(EPSILON,))
    with (opened := session(tmp_path / "r.h5")).store as store:
        summary = summarise(store, analyse(opened, settings, prover=LinearProver(SEED).of))
        row = overview(store)
    assert row.proven is not None
    assert row.attacked is not None
    assert row.proven.value == summary.certified_accuracy[0].value <= row.attacked.value
    assert row.proven.n == COUNT
    table = overview_table([row, replace(row, proven=None)])
    place = table.header.index("0.004 linf certified")
    assert [cells[place] for cells in table.rows] == [f"{100 * row.proven.value:.1f} %", "–"]


def test_the_figure_has_one_column_per_image() -> None:
    lower, upper = np.array([0.0, 0.1, 0.2]), np.array([0.05, 0.3, np.inf])
    drawn = brackets(lower, upper, x_label="images", y_label="distance", title="brackets")
    assert drawn.count('class="bar certified"') == 2
    assert drawn.count('class="bar measured"') == 3
    assert drawn.count('class="bar attacked"') == 2
    assert brackets(lower[:0], upper[:0], x_label="", y_label="", title="none").startswith("<svg")
