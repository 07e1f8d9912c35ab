from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from half_space import SHAPE, HalfSpace, laboratory
from scipy import stats
from torch import Tensor, nn

from robcert.certify.errors import DataError, InvalidParameterError
from robcert.certify.model.classifier import Classifier
from robcert.certify.smoothing import analysis as smoothing
from robcert.certify.smoothing import prediction as smoothing_prediction
from robcert.certify.smoothing.analysis import Mode, SmoothingSettings, analyse, summarise
from robcert.certify.smoothing.certificate import standard_radius
from robcert.certify.stats.intervals import clopper_pearson_lower

if TYPE_CHECKING:
    from pathlib import Path

RADII = (0.1, 0.2, 0.3)
GRID = SmoothingSettings(n=5000, radii=RADII)
VARIANTS = {
    "grid": GRID,
    "exact": SmoothingSettings(n=5000, radii=RADII, exact=True),
    "runner-up": SmoothingSettings(n=5000, radii=RADII, runner_up=True),
    "open": SmoothingSettings(n=5000, radii=RADII, open_ended=True),
    "label": SmoothingSettings(n=5000, radii=RADII, label_mode=True),
    "radius": SmoothingSettings(n=5000, radii=RADII, mode=Mode.RADIUS, tolerance=0.05),
    "cohen": SmoothingSettings(n=5000, radii=RADII, mode=Mode.COHEN),
    "family": SmoothingSettings(n=5000, radii=RADII, family=24),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_certified_radii_lie_below_the_distance_to_the_border(variant: str, tmp_path: Path) -> None:
    lab = laboratory(tmp_path)
    rows = lab.rows(VARIANTS[variant], name=variant)
    # 24 images at alpha = 1e-3: more than 2 wrong has probability 2e-6, and the seed is fixed.
    assert (rows["radius"] > lab.true_radius).sum() <= 2
    certified = rows["prediction"] != -1
    assert certified.any()
    labels = lab.images.labels
    assert labels is not None
    assert (rows["prediction"][certified] == labels[certified]).all()
    assert (rows["radius"][~certified] == 0).all()
    assert (rows["counts"].sum(1) == rows["n_used"]).all()


def test_an_exact_design_certifies_the_radii_as_they_were_named(tmp_path: Path) -> None:
    """sigma * (radius / sigma) is smaller than the radius here, in the last digit."""
    sigma, radius = 0.2, 0.22
    assert sigma * (radius / sigma) < radius
    lab = laboratory(tmp_path)
    settings = SmoothingSettings(sigma=sigma, n=5000, radii=(radius,), exact=True)
    with lab.store() as store:
        key = analyse(lab.session(store), settings)
        group = store.at(key)
        radii = group.column("radius")
        assert set(radii) == {0.0, radius}
        (entry,) = summarise(store, key).certified_accuracy
        assert entry.value == (radii == radius).mean() > 0

        indices = np.flatnonzero(radii > 0)
        older = {name: group.column(name, indices) for name in group.columns}
        group.append(indices, {**older, "radius": sigma * (radii[indices] / sigma)})
        assert (group.column("radius") < radius).all()
        assert summarise(store, key).certified_accuracy == (entry,)


def test_rows_of_exact_designs_are_kept_apart_from_those_of_earlier_versions() -> None:
    fields = {item.name for item in dataclasses.fields(SmoothingSettings)}
    assert set(GRID.stored()) == fields
    assert set(VARIANTS["exact"].stored()) > fields


def test_cohen_mode_is_the_paper(tmp_path: Path) -> None:
    settings = SmoothingSettings(n=3000, mode=Mode.COHEN)
    rows = laboratory(tmp_path).rows(settings, name="cohen")
    assert (rows["n_used"] == 3000).all()
    for k, radius, prediction in zip(
        rows["top_count"], rows["radius"], rows["prediction"], strict=True
    ):
        p_lower = clopper_pearson_lower(int(k), 3000, 1e-3)
        assert radius == 0.25 * standard_radius(p_lower)
        assert (prediction == -1) == (p_lower <= 0.5)


def test_grid_mode_certifies_what_cohen_does_with_fewer_draws(tmp_path: Path) -> None:
    lab = laboratory(tmp_path, n=60)
    grid = lab.rows(SmoothingSettings(n=20_000, radii=RADII), name="grid")
    cohen = lab.rows(SmoothingSettings(n=20_000, radii=RADII, mode=Mode.COHEN), name="cohen")
    differing = [(grid["radius"] >= r) != (cohen["radius"] >= r) for r in RADII]
    assert np.sum(differing) <= 2
    assert cohen["n_used"].mean() > 2.5 * grid["n_used"].mean()


def test_a_thousand_seeded_runs_are_rarely_wrong(tmp_path: Path) -> None:
    lab = laboratory(tmp_path, n=1000, seed=5)
    rows = lab.rows(SmoothingSettings(n=500, mode=Mode.COHEN), name="many")
    wrong = int((rows["radius"] > lab.true_radius).sum())
    assert wrong <= stats.binom.isf(1e-6, 1000, 1e-3)


def test_rows_do_not_depend_on_batch_subset_or_order(tmp_path: Path) -> None:
    lab = laboratory(tmp_path)
    whole = lab.rows(GRID, name="whole")
    part = lab.rows(GRID, name="part", indices=[17, 3, 9], batch_size=40)
    for name, values in whole.items():
        assert np.array_equal(values[[17, 3, 9]], part[name], equal_nan=True), name


class Slab(nn.Module):
    """Class 1 within 0.2 of the border of the half-space."""

    def forward(self, x: Tensor) -> Tensor:
        side = 0.2 - HalfSpace().distance(x).abs()
        return torch.stack([-side, side], dim=1)


class InterruptedRunError(Exception):
    pass


def test_a_run_that_was_cut_off_ends_as_if_it_had_not_been(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = laboratory(tmp_path)
    undisturbed = lab.rows(GRID, name="whole")

    def stop(task: str, done: int, total: int) -> None:
        del task, total
        if done >= 5:
            raise InterruptedRunError

    monkeypatch.setattr(smoothing, "SECONDS_PER_WRITE", 0)
    with lab.store("cut") as store, pytest.raises(InterruptedRunError):
        analyse(lab.session(store, progress=stop), GRID, batch_size=64)
    with lab.store("cut") as store:
        (group,) = store.existing("smoothing")
        kept = int(group.computed().sum())
        assert 5 <= kept < 24
        analyse(lab.session(store, progress=lambda *_: None), GRID)
        assert group.complete
        for name, values in undisturbed.items():
            assert np.array_equal(group.column(name), values, equal_nan=True), name


def test_a_time_budget_leaves_no_half_rows(tmp_path: Path) -> None:
    lab = laboratory(tmp_path)
    long = SmoothingSettings(n=10**8, radii=(0.0, 0.5), open_ended=True)
    with lab.store() as store:
        session = lab.session(store, deadline=time.monotonic() + 0.5)
        key = analyse(session, long)
        summary = summarise(store, key)
        assert not summary.complete
        assert summary.n < 24
        assert summary.in_progress
        for entry in summary.in_progress:
            assert entry.radius <= lab.true_radius[entry.index]


def test_summary_of_known_certificates(tmp_path: Path) -> None:
    lab = laboratory(tmp_path)
    summary = lab.summary(GRID)
    rows = lab.rows(GRID, name="again")
    shares = [entry.value for entry in summary.certified_accuracy]
    assert shares == [float((rows["radius"] >= r).mean()) for r in RADII]
    assert all(e.lower < e.value < e.upper for e in summary.certified_accuracy)
    assert all(e.population_lower < e.value for e in summary.certified_accuracy)
    assert summary.mean_samples == rows["n_used"].mean() + 100
    assert sum(entry.images for entry in summary.samples) == summary.n == 24
    assert sum(summary.stop_reasons.values()) == 24
    by_norm = {entry.norm: entry.average_certified_radius for entry in summary.radii}
    assert by_norm["l1"] == by_norm["l2"] == summary.average_certified_radius
    assert by_norm["linf"] == pytest.approx(by_norm["l2"] / np.sqrt(6))
    assert summary.expected_false == pytest.approx(0.024)
    assert "0.999" in summary.guarantee
    assert "real arithmetic" in summary.guarantee
    assert set(summary.to_json()) >= {"certified_accuracy", "abstained", "guarantee"}


def test_without_labels_the_models_own_prediction_is_the_reference(tmp_path: Path) -> None:
    summary = laboratory(tmp_path, labelled=False).summary(GRID)
    assert summary.reference == "the model's own prediction"
    assert summary.clean_accuracy == 1
    assert 0 < summary.certified_accuracy[0].value <= 1


def test_warnings_name_what_is_wrong(tmp_path: Path) -> None:
    lab = laboratory(tmp_path)
    text = " ".join(lab.summary(SmoothingSettings(n=500, sigma=8.0, radii=(100.0,))).warnings)
    assert "no image can be certified at 100" in text
    assert "divide by 255" in text
    assert lab.summary(GRID, name="fine").warnings == ()


def test_a_model_that_noise_confuses_was_not_trained_with_it(tmp_path: Path) -> None:
    # A slab of class 1 thinner than the noise: every image in it changes class.
    lab = laboratory(tmp_path)
    with lab.store() as store:
        session = lab.session(store)
        session.classifier = Classifier.from_module(Slab(), image_shape=SHAPE, num_classes=2)
        summary = summarise(
            store, analyse(session, SmoothingSettings(sigma=1.0, n=500, radii=(0.1,)))
        )
    assert any("never trained with such noise" in warning for warning in summary.warnings)


def test_one_error_budget_for_all_images_makes_radii_smaller(tmp_path: Path) -> None:
    lab = laboratory(tmp_path)
    each = lab.rows(VARIANTS["cohen"], name="each")
    together = lab.rows(
        SmoothingSettings(n=5000, radii=RADII, mode=Mode.COHEN, family=24), name="together"
    )
    assert (together["radius"] <= each["radius"]).all()
    summary = lab.summary(VARIANTS["family"])
    assert "For all 24 images together" in summary.guarantee
    assert summary.expected_false == pytest.approx(1e-3)


def test_predictions_of_the_smoothed_classifier(tmp_path: Path) -> None:
    lab = laboratory(tmp_path, n=40)
    settings = smoothing_prediction.PredictionSettings(n=2000)
    with lab.store() as store:
        key = smoothing_prediction.analyse(lab.session(store), settings)
        group, summary = store.at(key), smoothing_prediction.summarise(store, key)
        predicted = group.column("prediction")
    labels = lab.images.labels
    assert labels is not None
    assert (predicted == labels)[predicted != -1].all()
    assert summary.abstained == (predicted == -1).mean() < 0.2
    assert summary.mean_samples < 700
    assert summary.accuracy is not None


def test_label_mode_needs_labels(tmp_path: Path) -> None:
    lab = laboratory(tmp_path, labelled=False)
    with lab.store() as store, pytest.raises(DataError, match="label mode needs labels"):
        analyse(lab.session(store), VARIANTS["label"])


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"alpha": 1.0}, "alpha must lie"),
        ({"sigma": 0.0}, "sigma must be"),
        ({"n": 0}, "n must be at least"),
        ({"radii": (0.5, 0.25)}, "radii must be"),
        ({"radii": ()}, "at least one radius"),
        ({"exact": True, "mode": Mode.COHEN}, "need mode grid"),
        ({"exact": True, "runner_up": True}, "exact excludes runner_up"),
        ({"runner_up": True, "open_ended": True}, "runner-up"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(
    wrong: dict[str, object], match: str
) -> None:
    with pytest.raises(InvalidParameterError, match=match):
        SmoothingSettings(**wrong)  # type: ignore[arg-type]
