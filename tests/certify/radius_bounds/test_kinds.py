"""The gamma-bound, the curvature bound, top-k margins, and attacks beside them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from bounds_runs import SETTINGS, Run, curved, images, run_lengths
from known_functions import two_logits
from torch import nn

from robcert.certify.attacks.schema import ATTACK
from robcert.certify.core import Norm
from robcert.certify.errors import InvalidParameterError
from robcert.certify.model.classifier import Classifier
from robcert.certify.radius_bounds.analysis import summarise
from robcert.certify.radius_bounds.clever import capped_radii
from robcert.certify.radius_bounds.tables import tables
from robcert.certify.stats.extremes import Method
from robcert.certify.store.ledger import comparisons

if TYPE_CHECKING:
    from pathlib import Path

    from robcert.certify.store.store import ResultStore


NAN = float("nan")


def truth(n: int = 40) -> np.ndarray:
    """F8: distances 1 - ‖x‖ of the first images from the unit circle."""
    return np.asarray(np.maximum(1 - run_lengths(images(), n), 0))


def test_gamma_bound_of_an_image_apart_is_that_of_a_sampled_one(tmp_path: Path) -> None:
    """60 images sampled of 80: the others search for themselves, and no row shows it."""
    few = replace(SETTINGS, blocks=6, block_size=10, restarts=2)
    data, model = images(80), two_logits(curved, 2)
    store, group = Run(tmp_path, model, data)(few, indices=np.arange(80))
    with store:
        sampled = set(store.at(f"{group.path}/bounds-sample").column("index").tolist())
        assert 0 < len(sampled & set(range(80))) < 80
        lengths, radius = run_lengths(data, 80), group.column("gamma_bound")
        own, epsilons = group.column("gamma_upper"), np.array(group.attribute("epsilons"))
        omega = group.column("omega_bound")
        assert (group.column("gamma_censored") == (radius >= epsilons[-1])).all()
    known = ~np.isnan(own)
    assert known[lengths < 1, 0].all()
    assert not known[lengths >= 1].any()
    expected = np.broadcast_to(0.5 * epsilons**2, own.shape)
    assert own[known] == pytest.approx(expected[known], rel=1e-3)
    # from below by a step of the grid, and never more
    far = np.maximum(1 - lengths, 0)
    assert (radius <= np.minimum(far, epsilons[-1]) + 1e-4).all()
    assert (radius >= np.minimum(0.5 * far, 0.5 * epsilons[-1])).all()
    assert np.isnan(omega).all()  # six blocks are too few for a fit


def test_curvature_bound_of_a_paraboloid_is_its_distance(tmp_path: Path) -> None:
    """F8: C = 1 everywhere, so the radius is 1 - ‖x‖ exactly."""
    store, group = Run(tmp_path, two_logits(curved, 2), images())(SETTINGS)
    with store:
        assert group.column("curvature_bound") == pytest.approx(truth(), abs=1e-4)
        summary = summarise(store, group.path)
    assert summary.curvature is not None
    assert summary.curvature.status == "degenerate"
    assert summary.curvature.upper == pytest.approx(1, rel=1e-5)
    assert summary.radius["curvature_bound"].mean == pytest.approx(truth().mean(), abs=1e-4)


def test_curvature_of_a_kinked_model_is_refused(tmp_path: Path) -> None:
    """A paraboloid of flat pieces: bends every 1/20 that the Hessian does not see."""

    def kinked(x: torch.Tensor) -> torch.Tensor:
        bends = torch.arange(20, device=x.device) / 20
        return (x[:, :, None] - bends).relu().sum((1, 2)) / 20 - 0.5

    store, group = Run(tmp_path, two_logits(kinked, 2), images())(SETTINGS)
    with store:
        summary = summarise(store, group.path)
        assert np.isnan(group.column("curvature_bound")).all()
    assert summary.curvature is not None
    assert summary.curvature.status == "invalid"
    assert "curvature_bound" not in summary.radius
    assert all(row.curvature_bound is None for row in summary.error_at)
    assert any("has kinks, which curvature misses" in line for line in summary.warnings)


def test_curvature_that_grows_away_from_the_images_is_flagged(tmp_path: Path) -> None:
    """5‖x‖⁴ has four times the curvature twice as far out, and residuals say so."""

    def steeper(x: torch.Tensor) -> torch.Tensor:
        return 5 * (x * x).sum(1) ** 2 - 0.5

    settings = replace(SETTINGS, epsilon=1.0, evt=Method.MAX)
    store, group = Run(tmp_path, two_logits(steeper, 2), images())(settings)
    with store:
        summary = summarise(store, group.path)
    assert summary.curvature is not None
    assert summary.curvature.status == "max"
    assert any("exceeds ½ C ε²" in flag for flag in summary.curvature.flags)


def test_curvature_speaks_of_l2_alone(tmp_path: Path) -> None:
    settings = replace(SETTINGS, norm=Norm.LINF)
    store, group = Run(tmp_path, two_logits(curved, 2), images())(settings)
    with store:
        assert summarise(store, group.path).curvature is None
        assert np.isnan(group.column("curvature_bound")).all()


@pytest.mark.slow
def test_clever_bound_of_a_paraboloid(tmp_path: Path) -> None:
    """F8: within R of an image the slope reaches ‖x‖ + R, so gap / L is below 1 - ‖x‖."""
    settings = replace(SETTINGS, clever_blocks=30)
    run = Run(tmp_path, two_logits(curved, 2), images())
    store, group = run(settings)
    with store:
        lengths, end = run_lengths(images(), 40), group.attribute("epsilons")[-1]
        gap = np.maximum(0.5 * (1 - lengths**2), 0)
        expected = np.minimum(gap / (lengths + end), end)
        for name in ("clever_score", "clever_bound"):
            assert group.column(name) == pytest.approx(expected, rel=0.1)
            assert (group.column(name) <= truth() + 1e-6).all()
            assert (group.column(f"{name}_capped") == 0).all()
        assert (group.column("clever_bound") <= group.column("clever_score")).all()
        assert summarise(store, group.path).error_at[0].clever_bound is not None
    before = SETTINGS.gradient_passes(0, 40)
    assert settings.gradient_passes(0, 40) == before + 40 * 30 * 64
    store, plain = run(SETTINGS)
    with store:
        assert plain.path != group.path
        assert np.isnan(plain.column("clever_bound")).all()
        assert (plain.column("clever_score_capped") == -1).all()


@pytest.mark.slow
def test_clever_at_its_cap_is_no_radius(tmp_path: Path) -> None:
    """Flat but for a cliff at x₁ = 0.9: no slope in the ball, and the boundary inside it."""

    def cliff(x: torch.Tensor) -> torch.Tensor:
        return 1000 * (x[:, 0] - 0.9).relu() - 1

    settings = replace(SETTINGS, norm=Norm.LINF, epsilon=0.01, clever_blocks=30)
    store, group = Run(tmp_path, two_logits(cliff, 2), images())(settings)
    with store:
        first = images().pixels(np.arange(40)).flatten(1)[:, 0].numpy()
        end = group.attribute("epsilons")[-1]
        far = first < 0.9 - end
        assert group.column("clever_score")[far] == pytest.approx(end)
        assert (group.column("clever_score_capped")[far] == 1).all()
        attacked(store, np.full(40, 0.5 * end), "nearer than the cap")
        summary = summarise(store, group.path)
        notes = [table.note for table in tables([summary])]
    score = summary.radius["clever_score"]
    assert (score.n, score.capped) == (40 - far.sum(), far.sum())
    assert not {o.index for o in summary.offenders if o.bound.startswith("clever")} & set(
        np.flatnonzero(far).tolist()
    )
    assert summary.error_at[0].clever_score is not None
    assert summary.error_at[0].clever_score >= far.mean()
    assert any(f"CLEVER score {far.sum()} of 40" in note for note in notes)


@pytest.mark.slow
def test_images_without_clever_are_counted(tmp_path: Path) -> None:
    """Steep slivers that 1 in 200 points of a ball meets: maxima tie, and no law fits them."""

    def slivers(x: torch.Tensor) -> torch.Tensor:
        return 0.1 * x[:, 0] + 5 * ((50 * x[:, 0]).frac() - 0.995).relu() - 2

    data = images()
    settings = replace(SETTINGS, norm=Norm.LINF, epsilon=0.01, clever_blocks=30)
    store, group = Run(tmp_path, two_logits(slivers, 2), data)(settings)
    with store:
        absent = np.isnan(group.column("clever_score"))
        summary = summarise(store, group.path)
        notes = [table.note for table in tables([summary])]
    score = summary.radius["clever_score"]
    assert score.absent == absent.sum() > 0
    assert score.n + score.capped + score.absent == 40
    assert any(f"CLEVER score {absent.sum()}" in note for note in notes)


def test_radii_without_a_slope_are_the_ball_and_without_a_fit_none() -> None:
    radii, capped = capped_radii(np.array([-1.0, -1, 0.5, -1]), np.array([0, 4, 4, NAN]), radius=1)
    assert radii == pytest.approx([1, 0.25, 0, NAN], nan_ok=True)
    assert capped.tolist() == [True, False, False, False]


class FourLogits(nn.Module):
    """z = (0, 9 + x₁, ½‖x‖² - ½, -9): class 0 leaves the first two where the third passes it."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        flat = x.flatten(1)
        zero = torch.zeros_like(flat[:, 0])
        return torch.stack([zero, 9 + flat[:, 0], curved(flat), zero - 9], 1)


def test_top_k_margins_have_their_own_radii(tmp_path: Path) -> None:
    model = Classifier.from_module(FourLogits(), image_shape=(1, 1, 2), num_classes=4)
    run = Run(tmp_path, model, images())
    store, group = run(replace(SETTINGS, top_k=2))
    with store:
        assert "top2" in group.key
        assert group.column("curvature_bound") == pytest.approx(truth(), abs=1e-4)
        attacked(store, np.full(40, 0.01), "first class")
        summary = summarise(store, group.path)
        assert summary.top_k == 2
        assert summary.attacked.n == 0  # of the first class, so it speaks of nothing here
        assert comparisons(store) == ()
    with pytest.raises(InvalidParameterError, match="below the number of classes"):
        run(replace(SETTINGS, top_k=4))


def attacked(store: ResultStore, distance: np.ndarray, name: str) -> None:
    group = store.group(ATTACK, prefix=name, settings={"norm": "l2", "name": name}, seed=0)
    rows = {column: np.zeros(len(distance)) for column in group.columns}
    group.append(np.arange(len(distance)), {**rows, "distance": distance})
    group.finish(np.arange(len(distance)))


def test_attacked_distances_stand_beside_the_radii(tmp_path: Path) -> None:
    """Two attacks: one near the truth on 30 images, one farther out that missed an image."""
    store, group = Run(tmp_path, two_logits(curved, 2), images())(SETTINGS)
    with store:
        before = summarise(store, group.path)
        assert before.attacked.n == 0
        assert before.error_at[0].attacked is None
        assert before.offenders == ()
        attacked(store, np.where(np.arange(40) == 7, np.inf, 2 * truth()), "weak")
        attacked(store, 1.01 * truth(30), "near")
        after = summarise(store, group.path)
        nearest = np.append(1.01 * truth(30), 2 * truth()[30:])
        assert after.attacked.n == 40
        assert after.attacked.mean == pytest.approx(nearest.mean())
        assert after.attacked.mean_correct == pytest.approx(nearest[nearest > 0].mean())
        for row in after.error_at:
            assert row.attacked == pytest.approx((nearest <= row.epsilon).mean())
            assert row.attacked is not None
            assert row.curvature_bound is not None
            assert row.attacked <= row.curvature_bound
        assert after.offenders == ()


def test_offenders_are_listed_the_worst_first(tmp_path: Path) -> None:
    store, group = Run(tmp_path, two_logits(curved, 2), images())(SETTINGS)
    with store:
        attacked(store, np.array([0.01, 0.02, 0.03]), "too close")
        summary = summarise(store, group.path)
        shown = tuple(tables([summary]))
    assert {one.index for one in summary.offenders} <= {0, 1, 2}
    ratios = [one.radius / one.distance for one in summary.offenders]
    assert ratios == sorted(ratios, reverse=True)
    assert min(ratios) > 1
    assert len(json.loads(json.dumps(summary.to_json()))["offenders"]) == len(ratios)
    titles = [table.title for table in shown]
    assert any(title.startswith("violations") for title in titles)
    errors = next(table for table in shown if table.title.startswith("error at"))
    assert errors.header == (
        *("ε", "by ρ-bound", "by L-bound", "by ω-bound", "by γ-bound", "by ρ-bound, own ρ"),
        *("by curvature bound", "attacked"),
    )


def test_tables_of_an_earlier_version_are_read(tmp_path: Path) -> None:
    store, group = Run(tmp_path, two_logits(curved, 2), images())(SETTINGS)
    newer = (
        *("gamma_upper", "gamma_bound", "gamma_censored"),
        *("curvature_bound", "clever_score", "clever_bound"),
        *("rho_bound", "rho_bound_point", "rho_own", "rho_own_bound"),
    )
    with store:
        with store.file.change() as file:
            place = file[group.path]
            for name in newer:
                del place[name]
            for name in ("curvature_fit", "sampled_residuals", "rho_fits"):
                del place.attrs[name]
        attacked(store, np.full(40, 0.5), "x")
        summary = summarise(store, group.path)
        assert set(summary.radius) == {
            *("l_bound", "omega_bound", "l_bound_point", "omega_bound_point")
        }
        assert len(comparisons(store)) == 4
        assert tuple(tables([summary]))
