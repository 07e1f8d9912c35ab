"""The bounds analysis on models whose L and omega are known."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from bounds_runs import SETTINGS, Run, curved, images, linear, run_lengths
from known_functions import two_logits

from robcert.certify.core import Norm
from robcert.certify.data.arrays import from_arrays
from robcert.certify.errors import InvalidParameterError, StoreError, TwinUnavailableError
from robcert.certify.radius_bounds.analysis import analyse, summarise
from robcert.certify.radius_bounds.schema import BOUNDS
from robcert.certify.radius_bounds.settings import SEARCH, Margin, Region
from robcert.certify.radius_bounds.tables import tables
from robcert.certify.session import Session
from robcert.certify.stats.extremes import Method
from robcert.certify.store.store import ResultStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path, linear(), images())


@pytest.mark.parametrize(
    ("norm", "dual"),
    [(Norm.L2, 5.0), (Norm.LINF, 7.0), pytest.param(Norm.L1, 4.0, marks=pytest.mark.slow)],
)
def test_binary_linear_model_is_exact(run: Run, norm: Norm, dual: float) -> None:
    """F2: L = ‖w‖_q at every point, omega = 0, both bounds are the distance to the boundary."""
    store, group = run(replace(SETTINGS, norm=norm))
    with store:
        summary = summarise(store, group.path)
        pixels = run.images.pixels(np.arange(40)).flatten(1).numpy()
        exact = np.maximum(pixels @ np.array([3.0, -4.0]), 0) / dual
        assert group.column("l_bound") == pytest.approx(exact, abs=1e-5)
        end = group.attribute("epsilons")[-1]
        assert group.column("omega_bound") == pytest.approx(np.minimum(exact, end), abs=1e-5)
        assert (group.column("censored") == (exact >= end)).all()
    assert summary.lipschitz is not None
    assert summary.lipschitz.status == "degenerate"
    assert summary.lipschitz.point == summary.lipschitz.upper == pytest.approx(dual)
    assert {entry.fit.status for entry in summary.omega} == {"degenerate"}
    assert all(entry.fit.upper < 1e-5 for entry in summary.omega)
    assert summary.n_correct == (exact > 0).sum()
    notes = [table.note for table in tuple(tables([summary]))]
    assert any("L was estimated from gradients at sampled images only" in note for note in notes)
    ends = any("limited by the largest ε that was searched" in note for note in notes)
    assert ends == bool((exact >= end).any())
    assert summary.censored.get("omega_bound", 0) == pytest.approx((exact >= end).mean())
    assert "l_bound" not in summary.censored  # of the data alone: nowhere capped
    assert summary.radius["l_bound"].mean == pytest.approx(exact.mean(), rel=1e-4)
    assert summary.radius["l_bound"].mean_correct == pytest.approx(
        exact[exact > 0].mean(), rel=1e-4
    )


@pytest.mark.slow
def test_a_quantised_model_jumps_where_its_gradient_knows_nothing_of_it(run: Run) -> None:
    store, group = run(SETTINGS)
    with store:
        assert not any("straight-through" in line for line in summarise(store, group.path).warnings)
        store.describe_model(straight_through=["Sign_0"])
        assert any("straight-through" in line for line in summarise(store, group.path).warnings)


def test_multi_class_linear_model_is_not_linear_in_its_margin(tmp_path: Path) -> None:
    """F3: omega(eps) is near eps max ‖w_j - w_i‖_q where a sampled image lies near a switch."""
    weight = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    store, group = Run(tmp_path, linear(weight), images())(replace(SETTINGS, norm=Norm.LINF))
    with store:
        for entry in summarise(store, group.path).omega:
            assert 0.8 * 2 * entry.epsilon < entry.fit.max <= 2 * entry.epsilon * (1 + 1e-4)


@pytest.mark.slow
def test_logit_margins_do_not_see_the_temperature(tmp_path: Path) -> None:
    radii = []
    for temperature in (0.01, 1.0, 100.0):
        model = linear(temperature=temperature)
        folder = tmp_path / str(temperature)
        store, group = Run(folder, model, images())(SETTINGS)
        with store:
            radii.append(group.column("omega_bound"))
    assert radii[0] == pytest.approx(radii[1], rel=1e-4, abs=1e-6)
    assert radii[2] == pytest.approx(radii[1], rel=1e-4, abs=1e-6)


@pytest.mark.parametrize(
    ("temperature", "expected"),
    [
        (0.01, 0.005),
        pytest.param(0.1, 0.05, marks=pytest.mark.slow),
        (1.0, 0.3808),
        pytest.param(10.0, 0.4983, marks=pytest.mark.slow),
        pytest.param(100.0, 0.5, marks=pytest.mark.slow),
    ],
)
def test_probability_margins_do(tmp_path: Path, temperature: float, expected: float) -> None:
    """F12: at margin 2 and ‖w‖ = 4 the radius is tanh(m/2T) 2T/‖w‖ with L = ‖w‖/2T.

    L is the slope where the margin is 0, so all images but the reported one lie there.
    """
    weight = torch.tensor([[2 * 2**0.5, 2 * 2**0.5], [0.0, 0.0]])
    pixels = np.full((400, 1, 1, 2), 0.0, np.float32)
    pixels[0] = 2 / (4 * 2**0.5)
    data = from_arrays("test", pixels, np.zeros(400, np.int64))
    model = linear(weight, temperature=temperature)
    settings = replace(SETTINGS, margin=Margin.PROBABILITY)
    store, group = Run(tmp_path, model, data)(settings, indices=np.array([0]))
    with store:
        assert group.column("l_bound")[0] == pytest.approx(expected, abs=6e-5)


def test_curved_model_keeps_below_the_true_distance(tmp_path: Path) -> None:
    """F8: omega = ½eps² is found to rounding; the bound is below 1 - ‖x‖ by a step of the grid."""
    settings = replace(SETTINGS, points=9)
    store, group = Run(tmp_path, two_logits(curved, 2), images())(settings)
    with store:
        summary = summarise(store, group.path)
        for entry in summary.omega:
            assert entry.fit.max == pytest.approx(0.5 * entry.epsilon**2, rel=1e-3)
            assert entry.random <= entry.fit.max
        lengths = run_lengths(images(), 40)
        truth = np.maximum(1 - lengths, 0)
        radius = group.column("omega_bound")
        assert (radius <= truth + 1e-4).all()
        near = (truth > 0.05) & (truth < 0.8)
        assert (radius[near] > 0.6 * truth[near]).all()
        assert (group.column("l_bound") <= truth + 1e-4).all()
        assert (group.column("l_bound") <= group.column("l_bound_point") + 1e-12).all()


def test_errors_count_misclassified_images_and_fall_with_epsilon(tmp_path: Path) -> None:
    store, group = Run(tmp_path, two_logits(curved, 2), images())(SETTINGS)
    with store:
        summary = summarise(store, group.path)
        wrong = (group.column("loss") >= 0).mean()
        shares = [row.omega_bound or 0.0 for row in summary.error_at]
        assert shares[0] >= wrong > 0
        assert shares == sorted(shares)
        at = summary.error_at[2]
        expected = ((group.column("loss") >= 0) | (group.column("omega_bound") < at.epsilon)).mean()
        assert at.omega_bound == pytest.approx(expected)
        assert summary.radius["omega_bound"].mean <= summary.radius["omega_bound"].mean_correct
        assert json.loads(json.dumps(summary.to_json()))["omega"][0]["blocks"] == 30


def test_ball_is_steeper_than_the_data_and_caps_the_radius(tmp_path: Path) -> None:
    """F8 again: the gradient is x, so within R of an image its norm reaches ‖x‖ + R."""
    settings = replace(SETTINGS, region=Region.BALL)
    store, group = Run(tmp_path, two_logits(curved, 2), images())(settings)
    with store:
        sample = store.at(f"{group.path}/bounds-sample")
        steepest = sample.column("gradient_norm") + 0.8
        assert sample.column("largest_gradient_norm") == pytest.approx(steepest, rel=1e-2)
        assert group.column("l_bound").max() <= 0.8
        summary = summarise(store, group.path)
    notes = [table.note for table in tuple(tables([summary]))]
    assert any("radii are capped at its radius" in note for note in notes)


@pytest.mark.slow
def test_radii_capped_at_the_ball_are_flagged(tmp_path: Path) -> None:
    """Margins up to 3 over a dual norm of 5 exceed the ball of 0.2 of the gradients for L."""
    settings = replace(SETTINGS, epsilon=0.1, region=Region.BALL)
    store, group = Run(tmp_path, linear(), images())(settings)
    with store:
        capped = (group.column("l_bound") >= 0.2).mean()
        summary = summarise(store, group.path)
    assert 0 < capped < 1
    assert summary.censored["l_bound"] == pytest.approx(capped)
    notes = [table.note for table in tuple(tables([summary]))]
    assert any("L-bound" in note for note in notes if "limited by the largest" in note)


@pytest.mark.slow
def test_staircase_claims_nothing(tmp_path: Path) -> None:
    """F11: gradients are 0 almost everywhere, so L and every radius are invalid, not infinite."""

    def steps(x: torch.Tensor) -> torch.Tensor:
        return ((16 * x).round() / 16) @ torch.tensor([3.0, -1.0]) - 0.2

    store, group = Run(tmp_path, two_logits(steps, 2), images())(SETTINGS)
    with store:
        summary = summarise(store, group.path)
        assert group.column("l_bound").max() == 0
        assert group.column("omega_bound").max() == 0
    assert summary.lipschitz is not None
    assert summary.lipschitz.status == "invalid"
    assert summary.vanishing_share == 1
    assert any("gradient vanishes" in line for line in summary.warnings)


def test_few_images_give_no_fit_and_no_radius(tmp_path: Path) -> None:
    """The largest of 60 images is no limit: radii from it grew when images were taken away."""
    store, group = Run(tmp_path, two_logits(curved, 2), images(60))(SETTINGS)
    rest = ("l_bound", "omega_bound", "curvature_bound", "l_bound_point", "omega_bound_point")
    with store:
        summary = summarise(store, group.path)
        assert all(np.isnan(group.column(name)).all() for name in rest)
        assert (group.column("censored") == -1).all()
        assert (group.column("gamma_bound") >= 0).all()  # the image's own, from no fit
        extremes = next(iter(tables([summary])))
    assert summary.lipschitz is not None
    assert not set(rest) & set(summary.radius)
    assert extremes.rows[0][:4] == ("L", f"{summary.lipschitz.max:.4g}", "–", "–")
    assert any("a fit takes 30 blocks, 300 images in blocks of 10" in s for s in summary.warnings)
    assert summary.lipschitz.status == "insufficient"
    assert np.isnan(summary.lipschitz.upper)
    assert "With 95% confidence at most 0.049 of inputs" in summary.lipschitz.wilks
    assert any("too few blocks for a fit" in line for line in summary.warnings)


@pytest.mark.slow
def test_sample_does_not_depend_on_the_images_reported_on(tmp_path: Path) -> None:
    model = two_logits(curved, 2)
    store, whole = Run(tmp_path / "whole", model, images())(SETTINGS)
    other, part = Run(tmp_path / "part", model, images(), batch_size=7)(
        SETTINGS, indices=np.array([30, 4])
    )
    with store, other:
        for name in whole.columns:
            wanted = np.array([30, 4])
            np.testing.assert_array_equal(whole.column(name, wanted), part.column(name, wanted))


def test_resumes_in_the_middle_of_the_sample(tmp_path: Path) -> None:
    model, data = two_logits(curved, 2), images()
    store, group = Run(tmp_path / "whole", model, data)(SETTINGS)
    with store:
        expected = group.column("omega_bound")
    with ResultStore.open(tmp_path / "r.h5", model=model.info, data=data.info) as store:
        session = Session(model, data, np.arange(40), store)

        def stop_later(task: str, done: int, total: int) -> None:
            if done >= 128:
                session.deadline = 0.0

        session.progress = stop_later
        path = analyse(session, SETTINGS)
        summary = summarise(store, path)
        assert summary.lipschitz is None
        assert "incomplete" in summary.warnings[0]
        assert store.at(f"{path}/bounds-sample").computed().sum() == 128
        session.deadline, session.progress = None, lambda task, done, total: None
        assert analyse(session, SETTINGS) == path
        assert store.at(path).column("omega_bound").tolist() == expected.tolist()


def test_fit_is_changed_without_sampling_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(tmp_path, two_logits(curved, 2), images())
    with pytest.raises(StoreError, match="cannot repeat the fit"):
        run(SETTINGS, refit=True)
    run(SETTINGS)[0].close()
    forbid_sampling(monkeypatch)
    store, group = run(replace(SETTINGS, evt=Method.MAX), refit=True)
    with store:
        summary = summarise(store, group.path)
        assert summary.lipschitz is not None
        assert summary.lipschitz.status == "max"
        maxima = group.array("lipschitz/block_maxima")
        assert summary.lipschitz.point == maxima.max()
        assert np.isnan(summary.lipschitz.upper)
        assert {"l_bound_point", "omega_bound_point"} <= set(summary.radius)
        assert not {"l_bound", "omega_bound"} & set(summary.radius)
        assert any("no upper limit" in line for line in summary.warnings)
        assert len(store.existing("bounds")) == 2


def forbid_sampling(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        pytest.fail("sampled again")

    refused: Callable[..., None] = refuse
    monkeypatch.setattr("robcert.certify.radius_bounds.sample.largest_residuals", refused)


def test_images_without_labels_refer_to_the_prediction(tmp_path: Path) -> None:
    store, group = Run(tmp_path, two_logits(curved, 2), images(labels=False))(SETTINGS)
    with store:
        assert (group.column("loss") <= 0).all()
        assert summarise(store, group.path).n_correct == 40


def test_cost_is_known_before_the_run() -> None:
    """5 radii, 8 steps, 1 round, 12 products: 1 + 100 + 24 gradients a sampled image.

    At each radius 8 starts of 1 step, 2 of 2 and 1 of 8: 20. And for rho 10 ascents at the largest
    radius, 4 down and 4 up, of 8 steps: 144.
    """
    assert SETTINGS.gradient_passes(300, 40) == 300 * (125 + 144) + 40
    assert SETTINGS.gradient_passes(300, 40, 7) == 300 * (125 + 144) + 40 + 7 * (100 + 144)
    assert replace(SETTINGS, region=Region.BALL).gradient_passes(300, 0) == 300 * (141 + 144)
    assert replace(SETTINGS, norm=Norm.LINF).gradient_passes(1, 0) == 101 + 144
    # two rounds, and three repeats of 8 steps at each radius
    four = replace(SETTINGS, norm=Norm.LINF, restarts=4)
    assert four.gradient_passes(1, 0) == 101 + 5 * 24 + 2 * 144


def test_rows_of_earlier_searches_keep_a_key_of_their_own(run: Run) -> None:
    """Equal settings of a version with one start are another table; its rows are never reused."""
    store, group = run(SETTINGS)
    with store:
        assert group.settings["search"] == SEARCH
        assert store.at(f"{group.path}/bounds-sample").settings["search"] == SEARCH
        before = {key: value for key, value in group.settings.items() if key != "search"}
        other = store.group(
            BOUNDS, prefix=SETTINGS.prefix, settings=before, seed=0, sizes={"epsilon": 5}
        )
        assert other.path != group.path


def test_model_without_twin_is_refused(run: Run) -> None:
    run.classifier = replace(run.classifier, twin=None)
    with pytest.raises(TwinUnavailableError):
        run(SETTINGS)


@pytest.mark.parametrize(
    "wrong", [{"epsilon": 0}, {"blocks": 0}, {"exceedance": 1.0}, {"level": 0.0}, {"steps": 0}]
)
def test_bad_settings_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InvalidParameterError, match=next(iter(wrong))):
        replace(SETTINGS, **wrong)  # type: ignore[arg-type]


def test_a_table_of_an_earlier_version_without_a_fit_gives_no_radius(tmp_path: Path) -> None:
    """Such a table has the largest value seen as its upper limit, and radii from it."""
    store, group = Run(tmp_path, linear(), images(60))(SETTINGS)
    with store:
        fits = group.attribute("fits")
        old = [{**fit, "upper": fit["max"], "point": fit["max"]} for fit in fits]
        with store.file.change() as file:
            file[group.path]["l_bound"][...] = 1.0
            file[group.path]["l_bound_point"][...] = 1.0
        group.set_attributes(fits=old)
        summary = summarise(store, group.path)
    assert summary.lipschitz is not None
    assert np.isnan([summary.lipschitz.point, summary.lipschitz.upper]).all()
    assert not {"l_bound", "l_bound_point"} & set(summary.radius)


def test_errors_at_any_radius_are_shares_of_the_radii_in_the_table(tmp_path: Path) -> None:
    """Radii that are asked for change no row, stay with the table, and are stated once."""
    run, asked = Run(tmp_path, linear(), images()), (0.07, 0.37, SETTINGS.epsilon)
    store, group = run(SETTINGS)
    with store:
        before = summarise(store, group.path)
        rows = group.column("l_bound")
    store, group = run(SETTINGS, errors_at=asked)
    with store:
        found = summarise(store, group.path)
        np.testing.assert_array_equal(group.column("l_bound"), rows)
    store, group = run(SETTINGS)
    with store:
        assert summarise(store, group.path).error_at == found.error_at
    at = {one.epsilon: one for one in found.error_at}
    assert set(at) == {one.epsilon for one in before.error_at} | {0.07, 0.37}
    shares = [float(np.mean(~(rows >= radius))) for radius in (0.07, 0.37)]
    assert [at[radius].l_bound for radius in (0.07, 0.37)] == shares
    assert shares[0] < shares[1]
    with pytest.raises(InvalidParameterError, match=r"up to 0\.8, which is below 0\.9"):
        run(SETTINGS, errors_at=(0.9,))
