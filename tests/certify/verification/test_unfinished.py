"""Why images stay open, from a results file to words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pytest
from linear_prover import SEED, LinearProver, exact, session

from robcert.certify.attacks.search.budget import AttackBudget
from robcert.certify.attacks.suites import BUDGETS, Suite
from robcert.certify.verification.analysis import analyse, summarise
from robcert.certify.verification.outcome import CertifiedRadius, Decision, Method, Open
from robcert.certify.verification.settings import VerificationSettings
from robcert.certify.verification.tables import tables
from robcert.certify.verification.unfinished import WhyOpen, advice

if TYPE_CHECKING:
    from pathlib import Path

    from robcert.certify.verification.summary import VerificationSummary

SMALL = AttackBudget(steps=5, restarts=1, targets=3, descent_steps=40, halvings=8, queries=30)


@dataclass
class OutOfTime(LinearProver):
    """A prover whose time ends in the bounds of its second operation."""

    operations: tuple[str, ...] = ("input", "_convolution_", "relu")

    def decide(self, *_: object, **__: object) -> Decision:
        return Decision(False, -1.0, Method.CROWN_IBP, reason=Open.TIME, stopped_at=1)

    def largest_radius(self, *_: object, **how: object) -> CertifiedRadius:
        return CertifiedRadius(0.0, Method.CROWN_IBP, reason=Open.TIME, stopped_at=1)


def summary_of(
    folder: Path, monkeypatch: pytest.MonkeyPatch, prover: LinearProver, *shares: float
) -> VerificationSummary:
    """The images of an undisturbed linear model, with radii as shares of the first distance."""
    monkeypatch.setitem(BUDGETS, Suite.QUICK, SMALL)
    at = int(np.argmax(exact()))
    radii = tuple(share * exact()[at] for share in shares)
    settings = VerificationSettings(epsilons=radii, seconds=5.0)
    with (opened := session(folder / "r.h5", indices=(at,))).store as store:
        return summarise(store, analyse(opened, settings, prover=prover.of))


def test_an_interrupted_pass_is_named_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    summary = summary_of(tmp_path, monkeypatch, OutOfTime(SEED), 0.3, 0.6)
    where = WhyOpen("time", "crown-ibp", "convolution, operation 2 of 3", 1)
    assert [entry.why for entry in summary.robust_accuracy] == [(where,), (where,)]
    (said,) = summary.advice
    assert "On 1 of 1 images the budget of 5 s ended before the linear bounds" in said
    assert "robcert verify with a larger --budget" in said
    (table,) = [table for table in tables([summary]) if table.title == "open images (linf)"]
    (row,) = table.rows
    assert row[:2] == ("time", "crown-ibp")
    assert row[2] == "in the linear bounds of convolution, operation 2 of 3"
    assert [part.split()[0] for part in row[3].split(", ")] == ["1", "1"]
    assert said in table.note
    stored = summary.to_json()
    assert stored["robust_accuracy"][0]["why"][0]["stopped_in"] == where.stopped_in
    assert stored["advice"] == [said]


def test_nothing_is_said_where_nothing_is_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    summary = summary_of(tmp_path, monkeypatch, LinearProver(SEED), 0.3, 0.6)
    assert summary.advice == ()
    assert all(entry.why == () for entry in summary.robust_accuracy)
    assert "open images (linf)" not in [table.title for table in tables([summary])]


@pytest.mark.parametrize(
    ("reason", "reached", "method", "said"),
    [
        (Open.TIME, "branch", Method.AUTO, "a larger --budget branch and bound"),
        (Open.TIME, "crown", Method.AUTO, None),
        (Open.LOOSE, "crown", Method.CROWN, "robcert verify --method auto"),
        (Open.LOOSE, "branch", Method.AUTO, None),
        (Open.ROUNDING, "alpha", Method.AUTO, "no method certifies that"),
    ],
)
def test_advice_fits_the_reason(
    reason: Open, reached: str, method: Method, said: str | None
) -> None:
    found = [WhyOpen(str(reason), reached, "", 2)]
    lines = advice(found, method=method, budget=10.0, incomplete=0, n=5)
    assert len(lines) == (said is not None)
    assert all(said is not None and said in line for line in lines)


@pytest.mark.parametrize(
    ("reached", "ended"),
    [
        ("", "before the first bounds"),
        ("crown-ibp", "before the linear bounds inside the network"),
        ("alpha", "before branch and bound"),
        ("branch", "in branch and bound"),
    ],
)
def test_the_place_where_time_ended_follows_from_what_was_complete(
    reached: str, ended: str
) -> None:
    assert WhyOpen("time", reached, "", 1).ended == ended
    assert WhyOpen("loose bounds", reached, "", 1).ended == "with the method's last step"
