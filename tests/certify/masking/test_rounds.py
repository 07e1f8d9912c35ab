"""Rounds of further attacks: they go on while selected images fall, and end where none does."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from onnx_models import model, node, saved
from torch import Tensor, nn

from robcert.certify.core import Batch
from robcert.certify.data.arrays import from_arrays
from robcert.certify.importer.load import LoadOptions, load_classifier
from robcert.certify.masking import analysis, rounds
from robcert.certify.masking.analysis import analyse
from robcert.certify.masking.attacks import AttackPlan
from robcert.certify.masking.further import further
from robcert.certify.masking.rounds import needs_rounds
from robcert.certify.masking.schema import JUDGED
from robcert.certify.masking.settings import MaskingSettings
from robcert.certify.masking.stage_sources import stage_sources
from robcert.certify.masking.summary import MaskingSummary, summarise
from robcert.certify.masking.views import as_checked
from robcert.certify.model.classifier import Classifier
from robcert.certify.session import Session
from robcert.certify.store.store import ResultStore

if TYPE_CHECKING:
    from pathlib import Path

    from robcert.certify.data.image_set import ImageSet

FEW = MaskingSettings(
    epsilon=0.15,
    steps=10,
    restarts=1,
    unbounded_steps=5,
    noise_draws=1,
    queries=1,
    long_queries=10,
    decision_queries=0,
    strengths=(1.0,),
    noisy_copies=2,
    surrogate_queries=0,
)


class Pattern(nn.Module):
    """Labels alone, of a margin that falls along a pattern of signs; flat everywhere."""

    def forward(self, x: Tensor) -> Tensor:
        signs = torch.from_numpy(np.random.default_rng(1).choice([-1.0, 1.0], 16)).float()
        margin = 1 + ((x.flatten(1) - 0.6) * signs).sum(1)
        return nn.functional.one_hot((margin > 0).long(), 2).float()


def votes_of_nearest_features(
    folder: Path, *, distracted: bool = False
) -> tuple[Classifier, ImageSet]:
    """The class of most of the 5 stored features nearest to a sum of pixels with signs.

    Class 1 where the sum is positive, to within half the distance 0.1 of the stored features. If
    ``distracted`` the last stages of the graph are other sums, on which the class does not depend.
    """
    stored = np.arange(-3.95, 4.1, 0.1)
    of_class = np.stack([stored < 0, stored > 0], 1).astype(np.float32)
    signs = np.random.default_rng(5).permutation([-1.0, 1.0] * 8).astype(np.float32)
    others = np.random.default_rng(6).normal(size=(16, 15)).astype(np.float32)
    others -= np.outer(signs, signs @ others) / 16
    votes = node("ReduceMean", "votes", "y", axes=[1], keepdims=0)
    if distracted:
        votes = node("ReduceMean", "votes", "votes_alone", axes=[1], keepdims=0)
    aside = [
        node("MatMul", "flat others", "fifteen"),
        node("MatMul", "fifteen fewer", "fourteen"),
        node("MatMul", "fourteen none", "nothing"),
        node("Add", "votes_alone nothing", "y"),
    ]
    made = model(
        [
            node("Flatten", "x", "flat"),
            node("MatMul", "flat signs", "sum"),
            node("MatMul", "sum minus_twice", "product"),
            node("Add", "product squares", "apart"),  # squared distance less that of 0
            node("TopK", "apart five", "values nearest", axis=1, largest=0),
            node("Gather", "of_class nearest", "votes", axis=0),
            votes,
            *(aside if distracted else ()),
        ],
        inputs={"x": ["b", 1, 4, 4]},
        outputs={"y": ["b", 2]},
        weights={
            "signs": signs[:, None],
            "minus_twice": -2 * stored[None].astype(np.float32),
            "squares": (stored**2).astype(np.float32),
            "five": np.array([5], np.int64),
            "of_class": of_class,
            "others": others,
            "fewer": np.eye(15, 14, dtype=np.float32),
            "none": np.zeros((14, 2), np.float32),
        },
    )
    draw = np.random.default_rng(0).random((80, 1, 4, 4), dtype=np.float32)
    side = 2.0 * (np.arange(80)[:, None, None, None] % 2) - 1
    pixels = 0.45 + 0.1 * side * signs.reshape(4, 4) + 0.1 * draw
    images = from_arrays("sums", pixels.astype(np.float32), np.arange(80) % 2)
    classifier = load_classifier(saved(folder, made), LoadOptions(device="cpu"), images=images)
    return classifier, images


def pattern() -> Classifier:
    return Classifier.from_module(Pattern(), image_shape=(1, 4, 4), num_classes=2)


def pattern_images() -> ImageSet:
    noise = np.random.default_rng(0).random((40, 1, 4, 4), dtype=np.float32)
    return from_arrays("test", 0.55 + 0.1 * noise, np.ones(40, np.int64))


def checked(
    classifier: Classifier, images: ImageSet, path: Path, settings: MaskingSettings
) -> tuple[MaskingSummary, list[tuple[int, int]]]:
    """Summary, and of each round how many images it attacked and how many of them fell."""
    with ResultStore.open(path, model=classifier.info, data=images.info) as store:
        session = Session(classifier, images, np.arange(40), store, batch_size=16)
        summary = summarise(store, analyse(session, settings, sources=()))
        rounds = [table.column("broken") for table in store.existing("masking_round")]
    return summary, [(int((one >= 0).sum()), int((one == 1).sum())) for one in rounds]


@pytest.mark.parametrize("rounds", [0, 8])
def test_votes_of_nearest_features_fall_to_the_stage_before_the_votes(
    tmp_path: Path, rounds: int
) -> None:
    # linf 0.15 moves the sum by 2.4, and every sum lies within 2 of 0
    classifier, images = votes_of_nearest_features(tmp_path)
    settings = replace(FEW, rounds=rounds, long_queries=1)
    summary, seen = checked(classifier, images, tmp_path / "r.h5", settings)
    assert summary.corrected.n == 40
    assert bool(seen) is bool(rounds)
    if rounds:
        assert summary.corrected.value == 0
    else:
        assert summary.corrected.value > 0.9


def test_stages_make_sources_that_agree_with_the_model(tmp_path: Path) -> None:
    classifier, images = votes_of_nearest_features(tmp_path)
    classifier = as_checked(classifier)
    sources = stage_sources(classifier, images)
    x = images.pixels(np.arange(40))
    said = classifier.logits(x).argmax(1)
    assert sources
    for source in sources:
        assert (source.logits(x).argmax(1) == said).double().mean() > 0.9
        x.requires_grad_()
        (slope,) = torch.autograd.grad(source.twin_logits(x)[:, 1].sum(), x)
        assert (slope != 0).flatten(1).any(1).all()
        x = x.detach()
    assert stage_sources(pattern(), images) == ()


def test_stages_that_tell_nothing_of_the_class_make_no_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("robcert.certify.masking.stage_sources.MOST_SOURCES", 9)
    classifier, images = votes_of_nearest_features(tmp_path, distracted=True)
    classifier = as_checked(classifier)
    sources = stage_sources(classifier, images)
    assert sources
    noise = torch.from_numpy(np.random.default_rng(9).random((60, 1, 4, 4), dtype=np.float32))
    other = images.pixels(np.arange(60)) + 0.1 * (noise - 0.5)
    said = classifier.logits(other).argmax(1)
    for source in sources:
        assert (source.logits(other).argmax(1) == said).double().mean() > 0.9


def test_rounds_go_on_while_images_fall_and_end_with_the_first_that_breaks_none(
    tmp_path: Path,
) -> None:
    classifier = pattern()
    none, no_rounds = checked(
        classifier, pattern_images(), tmp_path / "0.h5", replace(FEW, rounds=0)
    )
    many, seen = checked(classifier, pattern_images(), tmp_path / "9.h5", replace(FEW, rounds=9))
    assert no_rounds == []
    assert many.corrected.value < none.corrected.value
    attacked = [count for count, _ in seen]
    fell = [count for _, count in seen]
    assert attacked[1:] == [a - b for a, b in seen[:-1]]  # the images that are left
    assert all(fell[:-1])
    assert fell[-1] == 0 or len(seen) == 9 or fell[-1] == attacked[-1]
    again = {remedy.name: remedy for remedy in many.remedies}["further rounds on selected images"]
    assert again.robust.n == attacked[0]


def test_a_run_that_is_repeated_computes_nothing_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    classifier = pattern()
    path, settings = tmp_path / "r.h5", replace(FEW, rounds=3)
    first, _ = checked(classifier, pattern_images(), path, settings)

    def never(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr(rounds, "further", never)
    monkeypatch.setattr(analysis, "evidence", never)
    again, _ = checked(classifier, pattern_images(), path, settings)
    assert again.to_json() == first.to_json()


def test_a_row_of_a_round_depends_on_its_image_alone() -> None:
    classifier = pattern()
    images, at = pattern_images(), np.arange(24)

    def fell(indices: np.ndarray) -> list[bool]:
        labels = torch.ones(len(indices), dtype=torch.int64)
        batch = Batch(indices, images.pixels(indices), labels)
        broken = further(AttackPlan.on(classifier, batch, FEW, 3), 2)["broken"]
        return [one == 1 for one in broken]

    whole = fell(at)
    assert 0 < sum(whole) < len(at)
    assert whole == [one for some in np.split(at, 8) for one in fell(some)]


def test_doubt_is_about_survivors_with_a_long_search_or_of_a_model_that_misleads() -> None:
    n = 40
    columns = {
        name: np.zeros(n, np.int8)
        for name in (
            *("pgd_ce", "pgd_margin", "multi_targeted", "pgd_small_logits", "pgd_large_logits"),
            *("search", "label_search", "hopskipjump", "noise", "transfer", "transfer_start"),
            *("inner", "averaged", "fgsm", "pgd_file"),
        )
    }
    columns |= {"correct": np.ones(n, np.int8), "long_search": np.full(n, -1, np.int8)}
    columns["wrong_share"] = np.full((n, len(JUDGED), 2), np.nan)
    assert not needs_rounds(columns).any()
    columns["long_search"][:3] = 0
    assert needs_rounds(columns).tolist() == [True] * 3 + [False] * (n - 3)
    columns["correct"][0] = 0
    assert needs_rounds(columns).sum() == 2
    columns["search"][10:13] = 1  # three of 39 mislead the gradient attacks
    assert needs_rounds(columns).sum() == n - 1 - 3
    columns["pgd_ce"][10:13] = 1  # no longer
    assert needs_rounds(columns).sum() == 2
