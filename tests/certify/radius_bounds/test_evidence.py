"""Adversarial images of the same file as evidence about gamma, the bounds and the ledger."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from bounds_runs import SETTINGS, Run, curved, images, run_lengths
from known_functions import two_logits

from robcert.certify import attacks, local_linearity
from robcert.certify.attacks import AttackSettings
from robcert.certify.core import Norm
from robcert.certify.local_linearity import LinearitySettings
from robcert.certify.numerics import Loss
from robcert.certify.radius_bounds import Margin
from robcert.certify.radius_bounds.summary import summarise
from robcert.certify.radius_bounds.tables import tables
from robcert.certify.session import Session
from robcert.certify.store import evidence_about, ledger
from robcert.certify.store.store import ResultStore

if TYPE_CHECKING:
    from pathlib import Path

    import torch
    from numpy.typing import NDArray

    from robcert.certify.radius_bounds.fits import FitSummary
    from robcert.certify.radius_bounds.summary import BoundsSummary
    from robcert.certify.store import AnalysisGroup

    Reals = NDArray[np.float64]

N = 12
ATTACKS = AttackSettings(Norm.L2, attacks=("pgd",))
GAMMA = LinearitySettings(Norm.L2, 0.9, Loss.MARGIN, steps=10, restarts=8)


@pytest.fixture
def session(tmp_path: Path) -> Session:
    model, data = two_logits(curved, 2), images()
    store = ResultStore.open(tmp_path / "r.h5", model=model.info, data=data.info)
    return Session(model, data, np.arange(N), store)


def test_the_loss_at_an_adversarial_image_of_a_paraboloid(session: Session) -> None:
    """F8: along x to the circle the margin rises by its gap; residual and excess are ½d²."""
    attacks.analyse(session, ATTACKS)
    (found,) = evidence_about(session.store, norm="l2", loss="margin", indices=np.arange(N))
    assert session.store.existing("evidence")[0].complete
    lengths = run_lengths(images(), N)
    some = lengths < 1
    assert (np.isnan(found.distance) == ~some).all()
    length, distance = lengths[some], found.distance[some]
    assert found.gradient_norm[some] == pytest.approx(length, rel=1e-5)
    assert found.residual[some] == pytest.approx(0.5 * distance**2, rel=1e-3, abs=1e-6)
    assert (found.change[some] >= 0.5 * (1 - length**2) - 1e-5).all()
    assert (found.slope[some] <= length + 0.5 * distance + 1e-4).all()
    assert (found.excess[some] <= 0.5 * distance**2 + 1e-5).all()
    session.store.close()


def test_a_gamma_that_an_adversarial_image_exceeds_is_refuted(session: Session) -> None:
    with session.store as store:
        attacks.analyse(session, ATTACKS)
        path = local_linearity.analyse(session, GAMMA)
        honest = local_linearity.summarise(store, path)
        assert honest.refuted.compared > 0
        assert (honest.refuted.gamma, honest.refuted.proposition_4_1) == (0, 0)
        before = ledger(store)
        assert {c.quantity for c in before.comparisons} == {"deviation"}
        assert before.count == 0
        assert "none of" in before.sentence
        rows = store.at(path).column("gamma").copy()
        with store.file.change() as file:
            file[path]["gamma"][...] = 1e-3 * rows
        low = local_linearity.summarise(store, path)
        assert low.refuted.gamma == low.refuted.compared
        assert 0 < low.refuted.proposition_4_1 <= low.refuted.gamma
        assert low.gamma.mean > 1e-3 * honest.gamma.mean
        assert any("refute the gamma" in line for line in low.warnings)
        assert ledger(store).count >= low.refuted.gamma
        assert "values of γ" in ledger(store).sentence
        gamma, change = local_linearity.tables([low])
        assert gamma.rows[0][-1] == f"{low.refuted.gamma} of {low.refuted.compared}"
        assert change.rows[0][3] == f"{low.refuted.proposition_4_1} of {low.refuted.compared}"


def test_a_bound_of_the_loss_that_another_search_exceeds_is_refuted(session: Session) -> None:
    """A lower gamma alone is no violation; a larger change of the loss than its bound is one."""
    with session.store as store:
        wide = local_linearity.analyse(session, GAMMA)
        near = local_linearity.analyse(session, replace(GAMMA, epsilon=0.5))
        assert ledger(store).compared > 0
        assert ledger(store).count == 0
        with store.file.change() as file:
            file[wide]["gamma"][...] = 0.9 * file[wide]["gamma"][()]
        again = local_linearity.analyse(session, replace(GAMMA, restarts=7))
        found = local_linearity.summarise(store, wide)
        assert found.refuted.bound > 0
        told = [one for one in ledger(store).comparisons if one.count]
        assert {(one.estimate, one.attack) for one in told} == {(f"{wide}:loss_bound", again)}
        assert sum(one.count for one in told) == found.refuted.bound
        assert local_linearity.summarise(store, near).refuted.bound == 0
        assert "another search" in ledger(store).sentence


def test_rows_of_a_search_do_not_depend_on_what_else_the_file_holds(tmp_path: Path) -> None:
    model, data = two_logits(curved, 2), images()
    rows = []
    for name in ("alone", "after an attack"):
        with ResultStore.open(tmp_path / f"{name}.h5", model=model.info, data=data.info) as store:
            session = Session(model, data, np.arange(N), store)
            if name != "alone":
                attacks.analyse(session, ATTACKS)
            group = store.at(local_linearity.analyse(session, GAMMA))
            rows.append({column: group.column(column) for column in group.columns})
    for column, values in rows[0].items():
        np.testing.assert_array_equal(values, rows[1][column])


def test_saved_adversarial_images_of_an_earlier_version_become_evidence(session: Session) -> None:
    saved = replace(ATTACKS, save_images=True)
    with session.store as store:
        attacks.analyse(session, saved)
        (first,) = evidence_about(store, norm="l2", loss="ce", indices=np.arange(N))
        with store.file.change() as file:
            del file["evidence"]
        assert not list(evidence_about(store, norm="l2", loss="ce"))
        attacks.analyse(session, saved)
        (again,) = evidence_about(store, norm="l2", loss="ce", indices=np.arange(N))
        np.testing.assert_array_equal(first.residual, again.residual)


def test_own_radii_are_lowered_and_fits_marked(tmp_path: Path) -> None:
    """Searches that find nothing give radii too large; adversarial images take them back."""
    run = Run(tmp_path, two_logits(curved, 2), images())
    store, group = run(SETTINGS)
    with store:
        attacks.analyse(Session(run.classifier, run.images, np.arange(40), store), ATTACKS)
        honest = summarise(store, group.path)
        assert sum(one.refuted for one in honest.radius.values()) == 0
        assert {one.fit.refuted for one in honest.omega} == {0}
        assert {one.fit.refuted for one in honest.rho} == {0}
        n = len(group.column("loss"))
        with store.file.change() as file:
            place = file[group.path]
            for name in ("gamma_upper", "rho_own"):
                place[name][...] = np.where(np.isnan(place[name][()]), np.nan, 0.0)
            for name in ("gamma_bound", "rho_own_bound"):
                place[name][...] = np.where(group.column("loss") < 0, 0.79, 0.0)
        fits = group.attribute("rho_fits")
        group.set_attributes(rho_fits=[{**fit, "point": 1e-6} for fit in fits])
        fits_table = next(iter(tables([summarise(store, group.path)])))
        assert any("point refuted at" in row[-1] for row in fits_table.rows)
        group.set_attributes(rho_fits=[{**fit, "upper": 1e-6} for fit in fits])
        wrong = summarise(store, group.path)
        distance = store.existing("attack")[0].column("distance", np.arange(n))
        for name in ("gamma_bound", "rho_own_bound"):
            assert wrong.radius[name].refuted > 0
            assert wrong.radius[name].mean <= np.minimum(distance, 0.79).mean() + 1e-3
        assert wrong.rho[-1].fit.refuted > 0
        assert wrong.rho[-1].fit.refuted_point == 0
        shown = tuple(tables([wrong]))
    assert any("refuted at" in cell for row in shown[0].rows for cell in row)
    assert {one.bound for one in wrong.offenders} >= {"gamma_bound", "rho_own_bound"}


@pytest.mark.slow
def test_limits_that_the_sample_of_another_run_exceeds_are_marked(tmp_path: Path) -> None:
    """Limits that no row of the first run's sample exceeds, but rows of the second one's do."""
    run = Run(tmp_path, two_logits(steeper_to_one_side, 2), images())
    store, first = run(replace(SETTINGS, steps=1, rho_steps=1))
    with store:
        lengthened = _limited_by_the_largest_seen(store, first)
        alone = summarise(store, first.path)
        assert {_marks(fit) for fit in _fits(alone)} == {(0, 0)}
    store, second = run(replace(SETTINGS, blocks=40))
    with store:
        more = store.existing("bounds-sample")[1]
        found = [more.column("gradient_norm")[:, None], *_by_radius(more), _curvature(more)]
        floor = more.column("floor")[:, None]
        floors = [np.zeros_like(floor), floor, floor, np.zeros_like(floor)]
        over = np.concatenate(
            [
                (values > limits + floor).sum(0)
                for values, limits, floor in zip(found, lengthened, floors, strict=True)
            ]
        )
        marked = [_marks(fit) for fit in _fits(summarise(store, first.path))]
        assert marked == [(count, count) for count in over]
        assert (over > 0).mean() > 0.3
        assert {_marks(fit)[0] for fit in _fits(summarise(store, second.path))} == {0}
    store, _ = run(replace(SETTINGS, margin=Margin.PROBABILITY))
    with store:
        assert [_marks(fit) for fit in _fits(summarise(store, first.path))] == marked


def steeper_to_one_side(x: torch.Tensor) -> torch.Tensor:
    """A margin loss whose curvature rises along x."""
    return x[:, 0] ** 4 + 0.5 * (x * x).sum(1) - 0.5


def _limited_by_the_largest_seen(store: ResultStore, group: AnalysisGroup) -> list[Reals]:
    """Replace every limit by the sample's largest value, and return them by quantity."""
    (sample,) = store.existing("bounds-sample")
    residual, excess = (values.max(0) for values in _by_radius(sample))
    slope, curvature = sample.column("gradient_norm").max(), sample.column("curvature").max()
    limits = [np.array([slope]) * (1 + 1e-6), residual, excess, np.array([curvature]) * (1 + 1e-6)]
    lipschitz, *omega = group.attribute("fits")

    def limited(fits: list[dict[str, Any]], values: Reals) -> list[dict[str, Any]]:
        return [
            {**fit, "point": value, "upper": value}
            for fit, value in zip(fits, values.tolist(), strict=True)
        ]

    group.set_attributes(
        fits=[*limited([lipschitz], limits[0]), *limited(omega, residual)],
        rho_fits=limited(group.attribute("rho_fits"), excess),
        curvature_fit=limited([group.attribute("curvature_fit")], limits[3])[0],
    )
    return limits


def _by_radius(sample: AnalysisGroup) -> tuple[Reals, Reals]:
    return sample.column("residual"), sample.column("excess")


def _curvature(sample: AnalysisGroup) -> Reals:
    return np.asarray(sample.column("curvature")[:, None])


def _fits(summary: BoundsSummary) -> list[FitSummary]:
    assert summary.lipschitz is not None
    assert summary.curvature is not None
    omega, rho = ([one.fit for one in fits] for fits in (summary.omega, summary.rho))
    return [summary.lipschitz, *omega, *rho, summary.curvature]


def _marks(fit: FitSummary) -> tuple[int, int]:
    return fit.refuted, fit.refuted_point
