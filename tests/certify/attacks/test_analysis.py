"""`robcert attack` into a results file and out of it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from linear_models import exact_distance, linear_classifier, near_grey

from robcert.certify.attacks import analysis as attack
from robcert.certify.attacks import settings as settings_module
from robcert.certify.attacks import suites
from robcert.certify.attacks.analysis import analyse, summarise
from robcert.certify.attacks.search.budget import AttackBudget
from robcert.certify.attacks.settings import AttackSettings
from robcert.certify.attacks.suites import BUDGETS, Suite
from robcert.certify.attacks.tables import tables
from robcert.certify.core import Batch, Norm
from robcert.certify.data.load import from_arrays
from robcert.certify.errors import InvalidParameterError
from robcert.certify.model.classifier import Classifier
from robcert.certify.session import Session
from robcert.certify.store.store import ResultStore

if TYPE_CHECKING:
    from pathlib import Path

SEED, COUNT = 3, 10
SMALL = AttackBudget(steps=5, restarts=1, targets=3, descent_steps=40, halvings=8, queries=30)


@pytest.fixture(autouse=True)
def small_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BUDGETS, Suite.QUICK, SMALL)


def session(
    path: Path, *, classifier: Classifier | None = None, labelled: bool = True, batch_size: int = 64
) -> Session:
    model = linear_classifier(SEED)
    batch = near_grey(model, COUNT)
    labels = batch.y.numpy().copy()
    labels[1] = (labels[1] + 1) % 4  # misclassified as it is
    images = from_arrays("grey", batch.x.numpy(), labels if labelled else None)
    used = classifier or model
    store = ResultStore.open(path, model=used.info, data=images.info)
    indices = np.arange(COUNT)
    store.add_images(indices, images.labels)
    return Session(used, images, indices, store, seed=5, batch_size=batch_size)


def test_the_table_holds_the_exact_distances_and_the_summary_follows(tmp_path: Path) -> None:
    run = session(tmp_path / "r.h5")
    with run.store:
        key = analyse(run, AttackSettings(suite=Suite.QUICK, save_images=True), epsilons=[0.004])
        group = run.store.at(key)
        summary = summarise(run.store, key)
        x = run.images.pixels(run.indices)
        y = linear_classifier(SEED).logits(x).argmax(1)
        exact = exact_distance(SEED, Batch(run.indices, x, y), Norm.LINF).numpy()
        exact[1] = 0
        distance = group.column("distance")
        np.testing.assert_allclose(distance, exact, rtol=0.01)
        assert key.startswith("/attack/linf-quick-")
        assert group.complete
        assert (group.column("success") == 1).all()
        assert group.column("attack")[1] == -1
        assert set(group.column("attack")) <= {-1, 0, 1}
        adversarial = torch.from_numpy(group.column("adversarial"))
        assert torch.equal(Norm.LINF.of((adversarial - x).double()), torch.from_numpy(distance))
    assert summary.n == COUNT
    assert summary.clean_accuracy.value == 0.9
    assert [entry.epsilon for entry in summary.robust_accuracy] == [0.004]
    assert summary.robust_accuracy[0].value == pytest.approx((exact > 0.004).mean())
    assert summary.robust_accuracy[0].lower < summary.robust_accuracy[0].value
    assert summary.median_distance == pytest.approx(np.median(exact), rel=0.01)
    assert sum(summary.by_attack.values()) == COUNT - 1
    assert summary.to_json()["headline_epsilon"] == 0.004


@pytest.mark.parametrize("batch_size", [1, 3])
def test_rows_do_not_depend_on_the_batch_size_or_on_a_break(
    tmp_path: Path, batch_size: int
) -> None:
    settings = AttackSettings(suite=Suite.QUICK, norm=Norm.L2)
    whole = session(tmp_path / "whole.h5")
    with whole.store:
        reference = whole.store.at(analyse(whole, settings))
        expected = {name: reference.column(name) for name in reference.columns}
    parts = session(tmp_path / "parts.h5", batch_size=batch_size)
    with parts.store:
        parts.indices = np.array([7, 2])
        analyse(parts, settings)
        parts.indices = np.arange(COUNT)
        group = parts.store.at(analyse(parts, settings))
        for name, column in expected.items():
            np.testing.assert_array_equal(group.column(name), column, err_msg=name)
        assert parts.batch_size == batch_size


def test_radii_change_no_row_of_attacks_without_radius_and_add_up(tmp_path: Path) -> None:
    run = session(tmp_path / "r.h5")
    settings = AttackSettings(suite=Suite.QUICK, attacks=("fmn",))
    with run.store:
        first = analyse(run, settings)
        assert len(summarise(run.store, first).robust_accuracy) == len(attack.GRID)
        again = analyse(run, settings, epsilons=[0.2])
        assert first == again
        summary = summarise(run.store, first)
        assert summary.robust_accuracy[-1].epsilon == 0.2
        assert summary.headline_epsilon == 0.2
        assert len(summary.robust_accuracy) == len(attack.GRID) + 1


RADII = {Norm.LINF: (0.002, 0.004, 0.008), Norm.L2: (0.05, 0.1, 0.2), Norm.L1: (1.0, 2.0, 4.0)}


@pytest.mark.parametrize("norm", list(Norm))
@pytest.mark.parametrize("attacks", [(), ("fgsm",), ("pgd-ce",), ("square", "noise")])
def test_the_curve_is_never_above_the_same_attacks_held_to_a_radius(
    tmp_path: Path, norm: Norm, attacks: tuple[str, ...]
) -> None:
    run = session(tmp_path / "r.h5")
    settings = AttackSettings(norm=norm, suite=Suite.QUICK, attacks=attacks)
    with run.store:
        curve = run.store.at(analyse(run, settings, epsilons=RADII[norm])).column("distance")
        for epsilon in RADII[norm]:
            held = analyse(run, replace(settings, epsilons=(epsilon,)), epsilons=[epsilon])
            within = run.store.at(held).column("distance") <= epsilon
            assert (curve[within] <= epsilon).all()
            assert within[1]  # the misclassified image


def test_a_search_at_a_radius_does_not_depend_on_other_radii(tmp_path: Path) -> None:
    run = session(tmp_path / "r.h5")
    settings = AttackSettings(suite=Suite.QUICK, attacks=("noise",))
    with run.store:
        alone = run.store.at(analyse(run, replace(settings, epsilons=(0.2,)))).column("distance")
        two = replace(settings, epsilons=(0.0001, 0.2))
        np.testing.assert_array_equal(run.store.at(analyse(run, two)).column("distance"), alone)


def test_without_a_twin_it_completes_and_says_so(tmp_path: Path) -> None:
    blind = replace(linear_classifier(SEED), twin=None)
    run = session(tmp_path / "r.h5", classifier=blind)
    with run.store:
        key = analyse(run, AttackSettings(suite=Suite.QUICK))
        summary = summarise(run.store, key)
        assert (run.store.at(key).column("n_backward") == 0).all()
    assert summary.attacks == suites.attacks_of(Suite.QUICK, (), Norm.LINF, differentiable=False)
    assert summary.not_found == 0
    assert "no twin" in summary.warnings[0]


def test_without_labels_the_prediction_stands_for_the_class(tmp_path: Path) -> None:
    run = session(tmp_path / "r.h5", labelled=False)
    with run.store:
        summary = summarise(run.store, analyse(run, AttackSettings(suite=Suite.QUICK)))
    assert summary.clean_accuracy.value == 1.0


def test_bad_settings_are_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidParameterError, match="restarts must be at least 1"):
        AttackSettings(restarts=0)
    run = session(tmp_path / "r.h5")
    with run.store:
        with pytest.raises(InvalidParameterError, match="no attack called"):
            analyse(run, AttackSettings(attacks=("magic",)))
        with pytest.raises(InvalidParameterError, match="epsilon must be a positive"):
            analyse(run, AttackSettings(suite=Suite.QUICK), epsilons=[-1.0])


def test_given_radii_are_the_only_ones_and_the_drawn_class_is_what_counts(tmp_path: Path) -> None:
    settings = AttackSettings(
        suite=Suite.QUICK, attacks=("random-targeted",), epsilons=(0.004, 0.5), round_8_bit=True
    )
    run = session(tmp_path / "r.h5")
    with run.store:
        key = analyse(run, settings, epsilons=settings.epsilons)
        summary = summarise(run.store, key)
        group = run.store.at(key)
        distance, target = group.column("distance"), group.column("target_distance")
    hit = np.isfinite(target)
    assert hit.all()  # half the pixel range reaches every class of a linear model
    assert (target >= distance).all()
    assert summary.targeted_success[-1].value == 1.0
    assert summary.targeted_success_all[-1].value == 1.0
    assert summary.radii == (0.004, 0.5)
    assert "Searched within 0.004, 0.5" in next(iter(tables([summary]))).note
    assert summary.eight_bit is not None
    assert summary.eight_bit.survives + summary.eight_bit.lost == COUNT - 1


RADIUS = 0.012
"""Moves some of the images below to their target class, not all."""


def targeted(settings: AttackSettings, path: Path, *, batch_size: int = 64) -> list[float]:
    """Targeted success within ``RADIUS`` among the correct and among all, and who is reached."""
    run = session(path, batch_size=batch_size)
    with run.store:
        key = analyse(run, settings, epsilons=[RADIUS])
        summary = summarise(run.store, key)
        reached = run.store.at(key).column("target_distance") <= RADIUS * 1.0001
    (correct,), (everything,) = summary.targeted_success, summary.targeted_success_all
    assert (correct.epsilon, everything.epsilon) == (RADIUS, RADIUS)
    assert everything.value == reached.mean()
    return [correct.value, everything.value, *reached.astype(float)]


def test_targeted_success_depends_on_nothing_else_of_the_run(tmp_path: Path) -> None:
    """Neither on attacks that break the images before it, nor on the batch, nor on the search."""
    alone = AttackSettings(suite=Suite.QUICK, attacks=("random-targeted",), epsilons=(RADIUS,))
    first = targeted(alone, tmp_path / "alone.h5")
    assert 0 < first[0] < 1
    others = {
        "after": replace(alone, attacks=("pgd", "fmn", "random-targeted")),
        "before": replace(alone, attacks=("random-targeted", "pgd")),
        "curve": replace(alone, epsilons=()),
        "rounded": replace(alone, round_8_bit=True),
    }
    for name, settings in others.items():
        assert targeted(settings, tmp_path / f"{name}.h5") == first, name
    assert targeted(alone, tmp_path / "one.h5", batch_size=1) == first


def test_an_image_of_the_target_class_needs_no_attack(tmp_path: Path) -> None:
    """Of two classes, the target of a misclassified image is the class that it has already."""
    plane = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2)).requires_grad_(False)
    model = Classifier.from_module(plane, image_shape=(1, 2, 2), num_classes=2)
    x = torch.rand(COUNT, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    labels = model.logits(x).argmax(1).numpy()
    labels[:3] = 1 - labels[:3]
    data = from_arrays("x", x.numpy(), labels)
    store = ResultStore.open(tmp_path / "r.h5", model=model.info, data=data.info)
    store.add_images(np.arange(COUNT), data.labels)
    with store:
        run = Session(model, data, np.arange(COUNT), store, seed=5, batch_size=4)
        key = analyse(run, AttackSettings(attacks=("random-targeted",), epsilons=(1e-7,)))
        summary = summarise(store, key)
        assert (store.at(key).column("target_distance")[:3] == 0).all()
    assert summary.targeted_success[0].value == 0.0
    assert summary.targeted_success_all[0].value == 0.3
    titles = {table.title: table for table in tables([summary])}
    table = titles["targeted success (linf): images moved to their randomly chosen target class"]
    assert table.header[1::2] == ("of the correctly classified", "of all images")
    assert table.rows[0][1::2] == ("0.0 %", "30.0 %")


def test_tables_of_versions_that_attacked_some_images_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings_module, "RANDOM_TARGETED", ())  # no field says which images
    run = session(tmp_path / "r.h5")
    with run.store:
        for attacks in (("random-targeted",), ("random-targeted", "pgd")):
            settings = AttackSettings(suite=Suite.QUICK, attacks=attacks, epsilons=(RADIUS,))
            summary = summarise(run.store, analyse(run, settings))
            assert len(summary.targeted_success) == (len(attacks) == 1)
            assert summary.targeted_success_all == ()
            list(tables([summary]))


def test_only_tables_with_a_random_target_have_another_key() -> None:
    assert "random_target" not in AttackSettings().stored()
    assert AttackSettings(attacks=("llr-random-targeted",)).stored()["random_target"]


def test_two_attacks_with_a_random_target_are_not_mixed(tmp_path: Path) -> None:
    run = session(tmp_path / "r.h5")
    with run.store, pytest.raises(InvalidParameterError, match="share the column"):
        analyse(run, AttackSettings(attacks=("llr-random-targeted", "random-targeted")))


def test_a_curve_counts_what_attacks_held_to_a_radius_found(tmp_path: Path) -> None:
    run, epsilon = session(tmp_path / "r.h5"), 1e-4
    with run.store as store:
        curve = analyse(run, AttackSettings(suite=Suite.QUICK), epsilons=[epsilon])
        alone = summarise(store, curve)
        held = analyse(
            run, AttackSettings(suite=Suite.QUICK, epsilons=(epsilon,)), epsilons=[epsilon]
        )
        named = analyse(
            run, AttackSettings(attacks=("fgsm",), epsilons=(epsilon,)), epsilons=[epsilon]
        )
        left = [int(i) for i in np.flatnonzero(store.at(curve).column("distance") > epsilon)]
        assert len(left) >= 2
        for at, path in zip(left, (held, named), strict=False):
            distance = store.at(path).column("distance")
            distance[:] = np.inf
            distance[at] = epsilon * (1 + 1e-6)  # rounding of float32 pixels
            distance[1] = 0.0
            with store.file.change() as file:
                file[path]["distance"][:] = distance
        found = {path: summarise(store, path) for path in (curve, held, named)}
    by_radius = {e.epsilon: e.value for e in alone.robust_accuracy}
    expected = by_radius[epsilon] - 2 / COUNT
    for path in (curve, held):
        shares = {e.epsilon: e.value for e in found[path].robust_accuracy}
        assert shares[epsilon] == pytest.approx(expected)
        assert "another attack table" in found[path].warnings[-1]
    assert {e.value for e in found[named].robust_accuracy} == {(COUNT - 2) / COUNT}
    assert "named attacks alone" in found[named].warnings[-1]


@pytest.mark.parametrize("random", [False, True])
def test_one_wrong_answer_of_a_random_model_is_said_to_be_one(tmp_path: Path, random: bool) -> None:
    model = linear_classifier(SEED)
    used = replace(model, info=replace(model.info, random=random))
    run = session(tmp_path / "r.h5", classifier=used)
    with run.store:
        summary = summarise(run.store, analyse(run, AttackSettings(suite=Suite.QUICK)))
    said = any("after one wrong answer" in line for line in summary.warnings)
    assert said is random


@pytest.mark.parametrize("name", ["soar-pgd7", "llr-pgd50", "llr-multi-targeted"])
def test_given_restarts_replace_those_of_a_paper(name: str, tmp_path: Path) -> None:
    """At a tiny radius every image survives, so the work is in proportion to the restarts."""
    base = AttackSettings(attacks=(name,), epsilons=(1e-6,))
    run = session(tmp_path / "r.h5")
    with run.store:
        passes = [
            summarise(run.store, analyse(run, replace(base, restarts=restarts))).n_backward
            for restarts in (1, 3)
        ]
    assert passes[1] == 3 * passes[0] > 0


def test_tables_of_published_attacks_say_whether_restarts_were_given() -> None:
    paper = AttackSettings(attacks=("llr-pgd50",))
    assert "given_restarts" not in paper.stored()
    assert replace(paper, restarts=2).stored()["given_restarts"] is True
    assert "given_restarts" not in AttackSettings(attacks=("pgd",), restarts=2).stored()
