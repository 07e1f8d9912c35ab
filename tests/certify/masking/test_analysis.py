"""The masking check on models whose gradients are known to be honest or hidden."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from robcert.certify.attacks.schema import ATTACK
from robcert.certify.attacks.settings import AttackSettings
from robcert.certify.core import Batch
from robcert.certify.data.arrays import from_arrays
from robcert.certify.masking.analysis import analyse
from robcert.certify.masking.evidence import evidence
from robcert.certify.masking.schema import MASKING
from robcert.certify.masking.settings import MaskingSettings
from robcert.certify.masking.sources import bundled_sources
from robcert.certify.masking.summary import MaskingSummary, summarise
from robcert.certify.masking.verdict import MaskingVerdict
from robcert.certify.model.classifier import Classifier, Runtime
from robcert.certify.session import Session
from robcert.certify.store.store import ResultStore

if TYPE_CHECKING:
    from pathlib import Path

    from robcert.certify.data.image_set import ImageSet
    from robcert.certify.masking.remedies import Remedy

QUICK = MaskingSettings(
    epsilon=0.15,
    steps=10,
    restarts=1,
    unbounded_steps=20,
    noise_draws=20,
    queries=200,
    long_queries=200,
    decision_queries=0,
    strengths=(2.0,),
    noisy_copies=2,
)
SHAPE = (1, 4, 4)


class Linear(nn.Module):
    """Two classes; the margin of class 1 is scale * (sum(x) - 8)."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        margin = self.scale * (x.flatten(1).sum(1) - 8)
        return torch.stack([torch.zeros_like(margin), margin], 1)


class Far(nn.Module):
    """The same slope, and a margin that no image in the box brings below 4."""

    def forward(self, x: Tensor) -> Tensor:
        return Linear()(x) + torch.tensor([0.0, 12.0])


class Labels(nn.Module):
    """The same classes, and nothing but the label: flat everywhere, for scores as for gradients."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.one_hot(Linear()(x).argmax(1), 2).float()


class Pattern(nn.Module):
    """Labels alone, of a margin that falls along a pattern of signs; 1 in the middle of images."""

    def forward(self, x: Tensor) -> Tensor:
        signs = torch.from_numpy(np.random.default_rng(1).choice([-1.0, 1.0], 16)).float()
        margin = 1 + ((x.flatten(1) - 0.6) * signs).sum(1)
        return nn.functional.one_hot((margin > 0).long(), 2).float()


class Noisy(nn.Module):
    """The linear margin plus normal noise, another at every call."""

    def __init__(self, noise: float) -> None:
        super().__init__()
        self.noise = noise

    def forward(self, x: Tensor) -> Tensor:
        logits = Linear()(x)
        return logits + self.noise * torch.randn_like(logits[:, :1]) * torch.tensor([0.0, 1.0])


class Poisoned(nn.Module):
    """The same value, and a gradient of zero over zero."""

    def forward(self, x: Tensor) -> Tensor:
        return Linear()(x) + 0 * (x - x.detach()).sqrt().flatten(1).sum(1, keepdim=True)


class Staircase(nn.Module):
    """The same on pixels rounded to sixteenths: gradient 0 everywhere."""

    def forward(self, x: Tensor) -> Tensor:
        return Linear()((x * 16).round() / 16)


def images_near_the_boundary(n: int = 60) -> ImageSet:
    """Images around 0.6, all of class 1, at linf distance about 0.1 from the boundary."""
    noise = np.random.default_rng(0).random((n, *SHAPE), dtype=np.float32)
    return from_arrays("test", 0.55 + 0.1 * noise, np.ones(n, np.int64))


def batch_of(images: ImageSet, start: int, stop: int) -> Batch:
    indices = np.arange(start, stop)
    return Batch(indices, images.pixels(indices), torch.ones(stop - start, dtype=torch.int64))


def classifier_of(module: nn.Module) -> Classifier:
    return Classifier.from_module(module, image_shape=SHAPE, num_classes=2)


def checked(
    module: nn.Module,
    folder: Path,
    settings: MaskingSettings = QUICK,
    *,
    sources: tuple[Classifier, ...] = (),
) -> MaskingSummary:
    return summary_of(classifier_of(module), folder, settings, sources=sources)


def summary_of(
    classifier: Classifier,
    folder: Path,
    settings: MaskingSettings = QUICK,
    *,
    sources: tuple[Classifier, ...] = (),
) -> MaskingSummary:
    images = images_near_the_boundary()
    folder.mkdir(exist_ok=True)
    with ResultStore.open(folder / "r.h5", model=classifier.info, data=images.info) as store:
        session = Session(classifier, images, np.arange(len(images)), store, batch_size=32)
        return summarise(store, analyse(session, settings, sources=sources))


def flagged(summary: MaskingSummary) -> set[str]:
    return {indicator.name for indicator in summary.indicators if indicator.flagged}


def by_fix(summary: MaskingSummary) -> dict[str, Remedy]:
    return {remedy.name: remedy for remedy in summary.remedies}


def test_a_model_that_names_one_class_is_clear(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).random((60, *SHAPE), dtype=np.float32)
    images = from_arrays("test", noise, np.arange(60) % 2)
    classifier = classifier_of(Far())
    with ResultStore.open(tmp_path / "r.h5", model=classifier.info, data=images.info) as store:
        session = Session(classifier, images, np.arange(60), store)
        summary = summarise(store, analyse(session, QUICK, sources=()))
    assert summary.corrected.value == 0.5
    assert summary.verdict is MaskingVerdict.CLEAR, summary.reason


def test_a_linear_model_that_is_not_robust_is_clear(tmp_path: Path) -> None:
    summary = checked(Linear(), tmp_path)
    assert summary.verdict is MaskingVerdict.CLEAR, summary.reason
    assert summary.corrected.value == 0


def test_a_robust_linear_model_is_clear(tmp_path: Path) -> None:
    # sum(x) - 8 >= 16 * 0.05 and eps = 0.01 moves the sum by at most 0.16
    summary = checked(Linear(), tmp_path, replace(QUICK, epsilon=0.01, steps=5, queries=50))
    assert summary.verdict is MaskingVerdict.CLEAR, summary.reason
    assert summary.corrected.value == 1


def test_saturated_cross_entropy_is_masked_and_the_margin_attack_says_so(tmp_path: Path) -> None:
    # margins of 1000 times 0.8 ... 2.4: exp(-104) is 0 in float32, so the CE gradient is exactly 0
    summary = checked(Linear(scale=1000.0), tmp_path)
    assert summary.verdict is MaskingVerdict.MASKED, summary.reason
    assert summary.hidden_in == "both"
    assert summary.naive.value == 1
    assert summary.corrected.value == 0
    assert {"rescaling_helps", "vanishing_gradient_ce"} <= flagged(summary)
    # PGD on the margin, which is traced, moves at any scale
    assert not {"attack_stands_still", "attack_does_not_climb"} & flagged(summary)
    fixes = by_fix(summary)
    assert fixes["rescaled logits"].gets_through
    # a hundredth of them leaves 8 ... 24, and 1 - exp(-17) is 1 in float32
    assert fixes["rescaled logits"].robust.value == pytest.approx(0.5, abs=0.2)
    assert fixes["margin loss"].robust.value == 0
    assert not fixes["cross-entropy of the logits"].gets_through


def test_a_staircase_is_masked_because_search_gets_through(tmp_path: Path) -> None:
    summary = checked(Staircase(), tmp_path)
    assert summary.verdict is MaskingVerdict.MASKED, summary.reason
    by_name = {indicator.name: indicator for indicator in summary.indicators}
    assert by_name["vanishing_gradient_margin"].value == 1
    assert by_name["search_beats_gradient"].flagged
    assert by_name["withstands_unbounded"].flagged


def test_where_scores_are_flat_labels_and_transfer_still_get_through(tmp_path: Path) -> None:
    summary = checked(Labels(), tmp_path, sources=(classifier_of(Linear()),))
    assert summary.verdict is MaskingVerdict.MASKED, summary.reason
    assert summary.hidden_in == "every loss"
    assert {"labels_beat_gradient", "transfer_beats_gradient"} <= flagged(summary)
    fixes = by_fix(summary)
    assert fixes["label-only search"].robust.value == 0
    assert fixes["transfer from other models"].robust.value == 0
    assert fixes["margin loss"].robust.value == 1


def test_images_with_unusable_gradient_get_the_long_search(tmp_path: Path) -> None:
    # one question by scores or labels finds nothing, and no source is at hand
    few = replace(QUICK, queries=1, noise_draws=1, long_queries=300)
    summary = checked(Pattern(), tmp_path, few)
    assert summary.verdict is MaskingVerdict.MASKED, summary.reason
    assert "all_searches_beat_gradient" in flagged(summary)
    found = by_fix(summary)["long search of selected images"]
    assert found.robust.n > 0
    assert found.robust.value < 0.1
    none = checked(Pattern(), tmp_path / "none", replace(few, long_queries=1))
    assert none.corrected.value > summary.corrected.value + 0.3


def test_no_image_of_an_honest_model_gets_the_long_search(tmp_path: Path) -> None:
    for scale, epsilon in ((1.0, 0.15), (1.0, 0.01), (30.0, 0.15)):
        settings = replace(QUICK, epsilon=epsilon)
        summary = checked(Linear(scale), tmp_path / f"{scale}-{epsilon}", settings)
        assert by_fix(summary)["long search of selected images"].robust.n == 0


def test_labels_and_transfer_add_nothing_where_gradients_are_honest(tmp_path: Path) -> None:
    summary = checked(Linear(), tmp_path, sources=(classifier_of(Linear()),))
    assert summary.verdict is MaskingVerdict.CLEAR, summary.reason
    assert by_fix(summary)["transfer from other models"].robust.value == 0
    assert not any(remedy.gets_through for remedy in summary.remedies)


def test_gradients_that_are_no_numbers_are_named(tmp_path: Path) -> None:
    summary = checked(Poisoned(), tmp_path)
    assert summary.verdict is MaskingVerdict.MASKED, summary.reason
    assert "gradient_not_a_number" in flagged(summary)


def test_a_lucky_draw_is_no_success(tmp_path: Path) -> None:
    # margins of 0.8 and more under noise 0.5: 1 answer in 20 is wrong where the margin is least
    settings = replace(QUICK, epsilon=0.001, steps=5, queries=50, draws=8)
    summary = checked(Noisy(0.5), tmp_path, settings)
    assert "answers_differ" in flagged(summary)
    assert summary.verdict is MaskingVerdict.CLEAR, summary.reason
    assert summary.corrected.value > 0.95


def test_attacks_on_the_average_break_a_noisy_model(tmp_path: Path) -> None:
    settings = replace(QUICK, steps=5, unbounded_steps=5, noise_draws=5, queries=20, draws=4)
    summary = checked(Noisy(0.5), tmp_path, settings)
    assert summary.verdict is MaskingVerdict.CLEAR, summary.reason
    assert summary.corrected.value < 0.1


@pytest.mark.parametrize("held", [False, True])
def test_what_an_attack_left_in_the_file_counts(tmp_path: Path, held: bool) -> None:
    classifier, images = classifier_of(Labels()), images_near_the_boundary()
    few = replace(QUICK, steps=2, queries=2, long_queries=2, noise_draws=1, unbounded_steps=2)
    with ResultStore.open(tmp_path / "r.h5", model=classifier.info, data=images.info) as store:
        session = Session(classifier, images, np.arange(len(images)), store, batch_size=32)
        path = analyse(session, few, sources=())
        assert by_fix(summarise(store, path))["attacks already in the file"].robust.n == 0
        attacks = AttackSettings(epsilons=(few.epsilon,)) if held else AttackSettings()
        distances = store.group(ATTACK, prefix="linf", settings=attacks, seed=0)
        rows = {c.name: np.zeros(60, c.dtype) for c in ATTACK.everywhere}
        found = few.epsilon * (1 + 1e-6) if held else 0.1  # float32 pixels add so much
        distances.append(session.indices, rows | {"distance": np.full(60, found)})
        summary = summarise(store, path)
    assert by_fix(summary)["attacks already in the file"].robust.value == 0
    assert summary.verdict is MaskingVerdict.MASKED


def test_bundled_sources_fit_the_model_and_are_others() -> None:
    assert bundled_sources(classifier_of(Linear())) == ()


def test_no_surrogate_is_taught_where_no_time_is_left(tmp_path: Path) -> None:
    classifier, images, asked = classifier_of(Linear()), images_near_the_boundary(), []
    logits = classifier.logits
    watched = Runtime(lambda x: (asked.append(len(x)), logits(x))[1])  # type: ignore[func-returns-value]
    classifier = replace(classifier, runtime=watched)
    with ResultStore.open(tmp_path / "r.h5", model=classifier.info, data=images.info) as store:
        session = Session(classifier, images, np.arange(5), store, deadline=0.0)
        group = store.at(analyse(session, QUICK))
    assert group.path.startswith("/masking/")
    assert sum(asked) == 0


def test_without_a_twin_the_verdict_is_unknown_at_best(tmp_path: Path) -> None:
    classifier = Classifier.from_module(Linear(), image_shape=SHAPE, num_classes=2)
    classifier = replace(classifier, twin=None)
    batch = batch_of(images_near_the_boundary(), 0, 20)
    assert (evidence(classifier, batch, QUICK, seed=0)["pgd_ce"] == -1).all()
    summary = summary_of(classifier, tmp_path)
    assert summary.verdict is MaskingVerdict.UNKNOWN
    assert "pgd_ce" in summary.reason or "hidden" in summary.reason


def test_progress_counts_the_attacks_on_a_batch() -> None:
    classifier = Classifier.from_module(Linear(), image_shape=SHAPE, num_classes=2)
    seen: list[tuple[str, int, int]] = []
    batch = batch_of(images_near_the_boundary(), 0, 3)
    evidence(classifier, batch, QUICK, seed=0, progress=lambda *one: seen.append(one))
    assert {task for task, _, _ in seen} == {"attacks on 3 images"}
    done = [count for _, count, _ in seen]
    assert done == list(range(1, len(done) + 1))
    assert done[-1] == seen[-1][2]


@pytest.mark.parametrize("size", [1, 7])
def test_rows_do_not_depend_on_the_batch(size: int) -> None:
    classifier = Classifier.from_module(Linear(), image_shape=SHAPE, num_classes=2)
    images = images_near_the_boundary()
    whole = evidence(classifier, batch_of(images, 0, 14), QUICK, seed=3)
    parts = [
        evidence(classifier, batch_of(images, start, start + size), QUICK, seed=3)
        for start in range(0, 14, size)
    ]
    assert set(whole) <= {column.name for column in MASKING.columns}
    for name, column in whole.items():
        np.testing.assert_array_equal(column, np.concatenate([part[name] for part in parts]))
