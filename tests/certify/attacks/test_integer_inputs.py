"""Attacks on models whose input is an integer: only images on its levels exist."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import integer_models
import numpy as np
import pytest
import torch
from linear_models import SHAPE, linear_module
from onnx_models import saved
from torch import nn

from robcert.certify.attacks import suites
from robcert.certify.attacks.analysis import analyse, summarise
from robcert.certify.attacks.black_box.label_only import label_search
from robcert.certify.attacks.black_box.noise import noise_search
from robcert.certify.attacks.black_box.square import SquareConfig, square
from robcert.certify.attacks.black_box.transfer import transfer
from robcert.certify.attacks.black_box.transfer_start import TransferStartConfig, transfer_start
from robcert.certify.attacks.catalogue import CATALOGUE
from robcert.certify.attacks.gradient.apgd import ApgdConfig, apgd
from robcert.certify.attacks.gradient.pgd import PgdConfig, fgsm, pgd
from robcert.certify.attacks.search.budget import AttackBudget
from robcert.certify.attacks.search.state import SearchState
from robcert.certify.attacks.settings import AttackSettings
from robcert.certify.attacks.suites import BUDGETS, Suite
from robcert.certify.attacks.transfer_analysis import TransferSettings
from robcert.certify.attacks.transfer_analysis import analyse as analyse_transfer
from robcert.certify.attacks.transfer_analysis import summarise as summarise_transfer
from robcert.certify.core import Ball, Batch, Norm
from robcert.certify.importer.load import load_classifier
from robcert.certify.model.classifier import Classifier
from robcert.certify.model.preprocessing import Preprocessing
from robcert.certify.session import Session
from robcert.certify.store.store import ResultStore

if TYPE_CHECKING:
    from pathlib import Path

    from robcert.certify.data.image_set import ImageSet

LEVEL = 1 / 255
UINT8 = Preprocessing(range=(0.0, 255.0), dtype="uint8")
BUDGET = AttackBudget(steps=15, restarts=1, targets=3, descent_steps=50, halvings=7, queries=60)
SMALL = AttackBudget(steps=8, restarts=1, targets=3, descent_steps=30, halvings=6, queries=30)
SEED, COUNT = 5, 30
FAST = ("fmn", "ddn", "deepfool", "pgd", "random-targeted", "boundary", "noise", "spatial")


class Whitened(nn.Module):
    """Pixels from 0 to 255 as pixels from 0 to 1."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x / 255


def linear(classes: int = 2) -> Classifier:
    module = nn.Sequential(Whitened(), *linear_module(SEED, classes=classes))
    return Classifier.from_module(
        module, image_shape=SHAPE, num_classes=classes, preprocessing=UINT8
    )


def near_grey(classifier: Classifier, count: int = 12) -> Batch:
    drawn = torch.randint(100, 156, (count, *SHAPE), generator=torch.Generator().manual_seed(1))
    x = drawn.float() / 255
    return Batch(np.arange(count), x, classifier.logits(x).argmax(1))


def margin_and_weight(batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Margin of y over the other of two classes ``(b,)``, and its gradient ``(pixels,)``."""
    weight, bias = (p.detach().double() for p in linear_module(SEED, classes=2)[1].parameters())
    slope = weight[0] - weight[1]
    return (batch.x.flatten(1).double() @ slope + bias[0] - bias[1]).abs(), slope


@pytest.mark.parametrize("name", ["fmn", "pgd", "pgd-ce", "apgd-ce", "deepfool", "fgsm"])
def test_linf_distances_of_a_linear_model_are_whole_levels(name: str) -> None:
    """n levels change the margin by n times the level times the l1 norm of the slope."""
    classifier = linear()
    batch = near_grey(classifier)
    margin, slope = margin_and_weight(batch)
    exact = (margin / (slope.abs().sum() * LEVEL)).ceil()
    state = SearchState(classifier, batch, Norm.LINF)
    suites.run(state, (name,), BUDGET)
    assert torch.equal((state.distance * 255).round(), exact)
    assert torch.allclose(state.distance * 255, exact, atol=1e-9, rtol=0)


def test_l1_distances_of_a_linear_model_are_whole_levels_of_single_pixels() -> None:
    """Of pixels far from black and white the steepest changes alone."""
    classifier = linear()
    batch = near_grey(classifier)
    margin, slope = margin_and_weight(batch)
    least = (margin / (slope.abs().max() * LEVEL)).ceil()
    room = (least < 100).nonzero().flatten()
    state = SearchState(classifier, batch, Norm.L1)
    suites.run(state, ("fmn", "pgd"), BUDGET)
    found = (state.distance * 255).round()
    assert len(room) > len(batch) / 2
    assert bool((found >= least).all())
    assert bool((found <= (1.02 * least).ceil() + 1)[room].all())


@pytest.mark.parametrize("name", ["fmn", "ddn", "pgd"])
def test_l2_distances_below_half_a_level_per_pixel(name: str) -> None:
    """The steepest pixels change by whole levels: rounding pixel by pixel would leave nothing."""
    shape = (1, 48, 48)
    drawn = torch.Generator().manual_seed(3)
    weight = torch.randn(2, 48 * 48, generator=drawn)
    scores = nn.Linear(48 * 48, 2)
    batch = Batch(np.arange(4), torch.full((4, *shape), 128 / 255), torch.zeros(4).long())
    slope = (weight[0] - weight[1]).double()
    with torch.no_grad():
        scores.weight.copy_(weight)
        scores.bias.copy_(torch.tensor([3 * LEVEL * float(slope.norm()), 0.0]))
        scores.bias[0] -= float(slope.sum() * 128 / 255)
    module = nn.Sequential(Whitened(), nn.Flatten(), scores)
    classifier = Classifier.from_module(
        module, image_shape=shape, num_classes=2, preprocessing=UINT8
    )
    state = SearchState(classifier, batch, Norm.L2)
    margin = 3 * LEVEL * float(slope.norm())  # 3 levels in l2, a sixteenth of a level per pixel
    steepest = slope.abs().sort(descending=True).values.cumsum(0) * LEVEL
    one_level = int((steepest < margin).sum()) + 1
    suites.run(state, (name,), BUDGET)
    assert bool((state.distance <= 1.1 * LEVEL * one_level**0.5).all())
    assert bool((state.distance >= 3 * LEVEL).all())


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in FAST else pytest.mark.slow)
        for name in CATALOGUE
        if not name.startswith(("llr-", "soar-"))
    ],
)
def test_what_is_found_exists_and_is_confirmed(name: str) -> None:
    """In every norm: on the levels, at the stated distance, of another class by the runtime."""
    classifier = linear(4)
    batch = near_grey(classifier, 4)
    for norm in CATALOGUE[name].norms:
        state = SearchState(classifier, batch, norm)
        suites.run(state, (name,), SMALL)
        found = state.result()
        levels = found.x_adv * 255
        assert torch.allclose(levels, levels.round(), atol=1e-3, rtol=0)
        measured = norm.of((found.x_adv - batch.x).double())[found.found]
        assert torch.allclose(measured, found.distance[found.found], atol=1e-5)
        predicted = classifier.logits(found.x_adv).argmax(1)
        assert torch.equal(predicted[found.found], found.prediction[found.found])
        assert bool((predicted != batch.y)[found.found].all())


@pytest.mark.parametrize("norm", list(Norm))
def test_images_of_a_radius_stay_within_it(norm: Norm) -> None:
    """No success outside the radius, though rounding to the nearest level may lead outside."""
    classifier, source = linear(4), linear(4)
    batch = near_grey(classifier, 4)
    state = SearchState(classifier, batch, norm)
    suites.run(state, ("fmn", "pgd"), BUDGET)
    radius = 1.3 * state.distance
    ball, some = Ball(norm, radius.float()), 0
    for found in (
        fgsm(classifier, batch, ball),
        pgd(classifier, batch, ball, PgdConfig(10)),
        apgd(classifier, batch, ball, ApgdConfig(20)),
        square(classifier, batch, ball, SquareConfig(20)),
        noise_search(classifier, batch, ball, draws=10),
        label_search(classifier, batch, ball, queries=40),
        transfer(source, classifier, batch, ball, steps=10),
        transfer_start(source, classifier, batch, ball, TransferStartConfig(5, 40)),
    ):
        inside = found.distance <= radius * (1 + 1e-5)
        assert bool(inside[found.found].all())
        some += int(found.found.sum())
    assert some > 3 * len(batch)


def test_below_one_level_no_attack_runs() -> None:
    classifier = linear()
    batch = near_grey(classifier)
    for norm in Norm:
        found = pgd(classifier, batch, Ball(norm, 0.9 * LEVEL))
        assert not bool(found.found.any())
        assert int(found.n_backward.sum()) == 0


def test_clean_images_between_the_levels_are_those_that_the_model_sees() -> None:
    classifier = linear()
    batch = near_grey(classifier)
    shifted = replace(batch, x=batch.x + 0.4 * LEVEL)
    states = [SearchState(classifier, one, Norm.LINF) for one in (batch, shifted)]
    for state in states:
        suites.run(state, ("fmn", "pgd"), SMALL)
    assert torch.equal(states[0].distance, states[1].distance)
    assert torch.equal(states[0].x_adv, states[1].x_adv)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Classifier, ...]:
    """The network with a uint8 input, and its float twin."""
    folder = tmp_path_factory.mktemp("pair")
    return tuple(
        load_classifier(saved(folder, integer_models.network(integer=integer), f"{integer}.onnx"))
        for integer in (True, False)
    )


def session(folder: Path, model: Classifier, images: ImageSet, name: str = "r.h5") -> Session:
    store = ResultStore.open(folder / name, model=model.info, data=images.info)
    return Session(model, images, np.arange(len(images)), store)


@pytest.mark.parametrize("norm", [Norm.LINF, Norm.L2])
def test_the_integer_input_is_as_robust_as_rounded_images_of_its_float_twin(
    pair: tuple[Classifier, ...], norm: Norm
) -> None:
    """Within a radius: what breaks the float model, rounded, breaks both, and nothing else does."""
    floating = pair[1]
    images = integer_models.labelled(floating, integer_models.photographs(COUNT))
    x, labels = images.pixels(np.arange(COUNT)), images.labels
    assert labels is not None
    batch = Batch(np.arange(COUNT), x, torch.from_numpy(labels))
    states = [SearchState(model, batch, norm) for model in pair]
    for state in states:
        suites.run(state, ("fmn", "pgd"), BUDGET)
    epsilon = float(states[1].distance.median()) + 2 * LEVEL
    epsilon = round(255 * epsilon) / 255
    robust = [int((~state.within(torch.full((COUNT,), epsilon))).sum()) for state in states]
    held = pgd(floating, batch, Ball(norm, epsilon), PgdConfig(20)).x_adv
    rounded = (255 * held).round() / 255
    survives = int((floating.logits(rounded).argmax(1) == batch.y).sum())
    assert robust[1] <= robust[0] <= survives + 1
    assert 0 < robust[0] < COUNT
    ratio = states[0].distance / states[1].distance
    assert float(ratio.min()) >= 0.99  # images on the levels are images of the float model too
    assert float(ratio.median()) <= 1.5


def test_a_session_gives_the_images_that_the_model_sees(
    tmp_path: Path, pair: tuple[Classifier, ...]
) -> None:
    pixels = (integer_models.photographs(4) + 0.3).clip(0, 255).astype(np.float32) / 255
    for model, rounded in zip(pair, (True, False), strict=True):
        images = integer_models.labelled(pair[1], pixels)
        run = session(tmp_path, model, images, f"{rounded}.h5")
        with run.store:
            x = run.batch(run.indices).x * 255
        assert torch.allclose(x, x.round(), atol=1e-3) == rounded


def test_tables_of_an_integer_input_have_keys_of_their_own(
    tmp_path: Path, pair: tuple[Classifier, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(BUDGETS, Suite.QUICK, SMALL)
    settings = AttackSettings(suite=Suite.QUICK, save_images=True)
    found = []
    for at, model in enumerate(pair):
        images = integer_models.labelled(pair[1], integer_models.photographs(6))
        run = session(tmp_path, model, images, f"{at}.h5")
        with run.store:
            group = run.store.at(analyse(run, settings, epsilons=[2 * LEVEL]))
            found.append(group.settings)
            if at == 0:
                levels = 255 * group.column("adversarial")
                assert np.allclose(levels, levels.round(), atol=1e-3)
                evidence = run.store.existing("evidence")[0].column("distance") * 255
                assert np.allclose(evidence, evidence.round(), atol=1e-6, equal_nan=True)
    stored = json.loads(json.dumps(replace(settings, reported=(2 * LEVEL,)).stored()))
    assert found[1] == stored
    assert found[0] == {**stored, "input_step": LEVEL, "input_rounding": "length"}


def test_a_radius_below_one_level_is_explained(
    tmp_path: Path, pair: tuple[Classifier, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(BUDGETS, Suite.QUICK, SMALL)
    images = integer_models.labelled(pair[1], integer_models.photographs(6))
    sentence = "one level of the input is 1/255, so within ε = 0.001961 there is no other input"
    run = session(tmp_path, pair[0], images)
    with run.store:
        path = analyse(run, AttackSettings(suite=Suite.QUICK), epsilons=[LEVEL / 2, 4 * LEVEL])
        summary = summarise(run.store, path)
        said = [line for line in summary.warnings if sentence in line]
        path = analyse_transfer(run, TransferSettings(epsilons=(LEVEL / 2,)), (pair[1],))
        transferred = summarise_transfer(run.store, path)
    assert len(said) == 1
    assert "the robust accuracy is the clean accuracy" in said[0]
    assert summary.robust_accuracy[0].value == summary.clean_accuracy.value == 1
    assert any(sentence in line for line in transferred.warnings)
    assert transferred.all_sources[0].value == 1
    run = session(tmp_path, pair[1], images, "float.h5")
    with run.store:
        path = analyse(run, AttackSettings(suite=Suite.QUICK), epsilons=[LEVEL / 2])
        assert not any("level" in line for line in summarise(run.store, path).warnings)


def test_tables_of_earlier_versions_are_read_with_a_warning(
    tmp_path: Path, pair: tuple[Classifier, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ResultStore, "_with_model", lambda _, settings: settings)
    images = integer_models.labelled(pair[1], integer_models.photographs(2))
    run = session(tmp_path, pair[0], images)
    with run.store:
        summary = summarise(run.store, analyse(run, AttackSettings(attacks=("noise",))))
    assert any("did not round images to the levels" in line for line in summary.warnings)
    assert summary.n == 2
