"""The linearity analysis: what is stored, resumed, summarised."""

from __future__ import annotations

from dataclasses import fields, replace
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from known_functions import quadratic, two_logits

from robcert.certify.core import Batch, Norm
from robcert.certify.data.arrays import from_arrays
from robcert.certify.data.load import load_images
from robcert.certify.errors import InvalidParameterError, TwinUnavailableError
from robcert.certify.importer.load import load_classifier
from robcert.certify.local_linearity.analysis import analyse
from robcert.certify.local_linearity.deviation import Sided, tangent
from robcert.certify.local_linearity.settings import LinearitySettings, Schedule
from robcert.certify.local_linearity.summary import summarise
from robcert.certify.local_linearity.tables import tables
from robcert.certify.numerics.losses import Loss
from robcert.certify.session import Session
from robcert.certify.store import ledger
from robcert.certify.store.store import ResultStore

if TYPE_CHECKING:
    from robcert.certify.core import Profile
    from robcert.certify.data.image_set import ImageSet
    from robcert.certify.model.classifier import Classifier
    from robcert.certify.store.group import AnalysisGroup

SETTINGS = LinearitySettings(Norm.LINF, 0.1, Loss.MARGIN, restarts=2)


def images(n: int = 10) -> ImageSet:
    pixels = np.random.default_rng(0).uniform(0.2, 0.8, (n, 1, 1, 6)).astype(np.float32)
    return from_arrays("test", pixels, np.zeros(n, np.int64))


def curved() -> Classifier:
    """Margin loss ½ Σ a_i x_i², whose linf gamma is ½ eps² max(Σa⁺, Σa⁻) = 2.5 eps²."""
    return two_logits(quadratic(torch.diag(torch.tensor([1.0, 2, 0, 1, 1, -1]))), 6)


def run(
    folder: Path,
    settings: LinearitySettings = SETTINGS,
    *,
    indices: np.ndarray | None = None,
    batch_size: int = 8,
    classifier: Classifier | None = None,
) -> tuple[ResultStore, AnalysisGroup]:
    model, data = classifier or curved(), images()
    store = ResultStore.open(folder / "r.h5", model=model.info, data=data.info)
    wanted = np.arange(len(data)) if indices is None else indices
    session = Session(model, data, wanted, store, batch_size=batch_size)
    return store, store.at(analyse(session, settings))


def test_rows_and_summary_of_a_known_curvature(tmp_path: Path) -> None:
    store, group = run(tmp_path)
    with store:
        assert group.complete
        assert group.column("gamma") == pytest.approx(0.025, rel=2e-3)
        change = group.column("loss_change")
        limit = group.column("linear_term") + group.column("gamma") + group.column("floor")
        assert (change <= limit).all()
        assert (group.column("floor") < 1e-5).all()
        summary = summarise(store, group.path)
    assert summary.gamma.mean == pytest.approx(0.025, rel=2e-3)
    assert summary.gamma.n == 10
    assert summary.proposition_4_1_violations == 0
    assert summary.proposition_c2 is None
    assert summary.gradient_passes == 1 + 9 * 4 + 13 * 5 + 6 * 10 + 2 * 50 + 3 * 50
    assert summary.to_json()["gamma"]["max"] == pytest.approx(0.025, rel=2e-3)


@pytest.mark.parametrize(("sided", "expected"), [(Sided.UPPER, 0.025), (Sided.LOWER, 0.005)])
def test_one_side_alone(tmp_path: Path, sided: Sided, expected: float) -> None:
    store, group = run(tmp_path, replace(SETTINGS, sided=sided))
    with store:
        assert group.column("gamma") == pytest.approx(expected, rel=1e-2)


def test_settings_make_groups_and_a_second_run_keeps_rows(tmp_path: Path) -> None:
    store, group = run(tmp_path, indices=np.array([3, 5]))
    first = group.column("gamma", np.array([3, 5]))
    store.close()
    store, again = run(tmp_path, batch_size=3)
    with store:
        assert again.path == group.path
        assert again.column("gamma", np.array([3, 5])).tolist() == first.tolist()
        other = replace(SETTINGS, norm=Norm.L2, epsilon=0.5)
        session = Session(curved(), images(), np.arange(2), store)
        assert analyse(session, other) != group.path


def test_rows_do_not_depend_on_subset_or_batch(tmp_path: Path) -> None:
    settings = LinearitySettings(Norm.L2, 0.3, Loss.CE, steps=10)
    store, whole = run(tmp_path / "whole", settings)
    other, part = run(tmp_path / "part", settings, indices=np.array([9, 2, 7]), batch_size=2)
    with store, other:
        for name in whole.columns:
            wanted = np.array([9, 2, 7])
            assert whole.column(name, wanted).tolist() == part.column(name, wanted).tolist()


def test_cross_entropy_summary_judges_proposition_c2(tmp_path: Path) -> None:
    store, group = run(tmp_path, LinearitySettings(Norm.LINF, 0.1))
    with store:
        summary = summarise(store, group.path)
        implied = summary.proposition_c2
        assert implied is not None
        gamma, p = group.column("gamma"), np.exp(-group.column("loss"))
        limit = np.sqrt(2 * gamma / p)
        assert implied.change.median == pytest.approx(np.median(limit + gamma))
        assert implied.held_at_delta == pytest.approx((group.column("linear_term") <= limit).mean())
        reach = summary.epsilon * group.column("gradient_dual_norm")
        assert implied.held_in_ball == pytest.approx((reach <= limit).mean())
        assert implied.held_in_ball <= implied.held_at_delta
        assert summary.proposition_4_1.max == pytest.approx((reach + gamma).max())


def test_vanishing_gradients_are_told(tmp_path: Path) -> None:
    flat = two_logits(lambda x: (16 * x).round().sum(1) / 16, 6)
    store, group = run(tmp_path, classifier=flat)
    with store:
        assert any(
            "exactly 0 at 10 of 10" in line for line in summarise(store, group.path).warnings
        )


def test_model_without_twin_is_refused(tmp_path: Path) -> None:
    model = replace(curved(), twin=None)
    with pytest.raises(TwinUnavailableError, match="no differentiable twin"):
        run(tmp_path, classifier=model)


@pytest.mark.parametrize(
    "wrong",
    [{"epsilon": 0.0}, {"steps": 0}, {"restarts": 0}, {"step_size": -0.1}, {"step_size": 0.2}],
)
def test_bad_settings_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InvalidParameterError, match=next(iter(wrong))):
        replace(SETTINGS, **wrong)  # type: ignore[arg-type]


@pytest.mark.slow
def test_thorough_paper_schedule_is_never_below_standard_in_linf() -> None:
    """Its first search goes on where the standard one ends, so nothing that one finds is lost."""
    classifier = load_classifier(Path(str(files("robcert.fixtures") / "fashion-honest.onnx")))
    images = load_images("fashion-mnist-2000")
    assert images.labels is not None
    indices = np.arange(8)
    batch = Batch(indices, images.pixels(indices), torch.from_numpy(images.labels[indices]).long())
    tangents = tangent(classifier, batch.x, batch.y, Loss.CE)
    profiles: tuple[Profile, ...] = ("standard", "thorough")
    standard, thorough = (
        LinearitySettings.paper(profile)
        .search.largest(tangents, batch, epsilon=8 / 255, seed=0, stream="test")
        .value
        for profile in profiles
    )
    assert (thorough >= standard).all()
    assert thorough.mean() > 1.05 * standard.mean()


def test_tables_of_the_paper_schedule_keep_their_key() -> None:
    """Earlier versions stored no schedule: theirs was this one."""
    paper = LinearitySettings.paper()
    assert set(paper.stored()) == {field.name for field in fields(paper)} - {*("schedule", "box")}
    assert LinearitySettings().stored()["schedule"] == "multistart"


def edge(x: torch.Tensor) -> torch.Tensor:
    """A margin loss that is 0 in [0, 1] and rises with slope 3 where the first pixel is below 0."""
    return 3 * torch.relu(-x[:, 0]) - 1e-3


@pytest.mark.parametrize("schedule", ["multistart", "paper"])
def test_without_the_box_the_whole_ball_is_searched(tmp_path: Path, schedule: str) -> None:
    """At a first pixel of 0.02, gamma(0.1) is 3 * 0.08 outside the box and 0 inside it."""
    pixels = np.full((4, 1, 1, 2), 0.02, np.float32)
    data, model = from_arrays("edge", pixels, np.zeros(4, np.int64)), two_logits(edge, 2)
    settings = LinearitySettings(
        Norm.LINF, 0.1, Loss.MARGIN, restarts=6, schedule=Schedule(schedule)
    )
    with ResultStore.open(tmp_path / "r.h5", model=model.info, data=data.info) as store:
        session = Session(model, data, np.arange(4), store)
        inside = analyse(session, settings)
        outside = analyse(session, replace(settings, box=False))
        assert inside != outside
        assert "box" not in store.at(inside).settings
        assert store.at(inside).column("gamma") == pytest.approx(0, abs=1e-6)
        assert store.at(outside).column("gamma") == pytest.approx(0.24, rel=1e-3)
        within, whole = summarise(store, inside), summarise(store, outside)
        assert (within.box, whole.box) == (True, False)
        assert within.refuted.bound == whole.refuted.bound == 0
        assert not ledger(store).count
        assert "may leave [0, 1]" in next(tables([whole])).note
        assert "may leave [0, 1]" not in next(tables([within])).note
