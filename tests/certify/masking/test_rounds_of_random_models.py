"""Rounds on models with random outputs: fresh draws judge each, and chance gains nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from robcert.certify.data.arrays import from_arrays
from robcert.certify.masking.analysis import analyse
from robcert.certify.masking.settings import MaskingSettings
from robcert.certify.masking.summary import MaskingSummary, summarise
from robcert.certify.model.classifier import Classifier, ModelInfo
from robcert.certify.session import Session
from robcert.certify.store.store import ResultStore

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

FEW = MaskingSettings(
    epsilon=0.15,
    steps=4,
    restarts=1,
    unbounded_steps=2,
    noise_draws=1,
    queries=1,
    long_queries=40,
    decision_queries=0,
    strengths=(1.0,),
    noisy_copies=2,
    surrogate_queries=0,
    draws=4,
    gradient_draws=1,
)
N = 40


class NoisyPattern(nn.Module):
    """Labels alone, of a margin that falls along a pattern of signs, and noise; flat everywhere."""

    def forward(self, x: Tensor) -> Tensor:
        signs = torch.from_numpy(np.random.default_rng(1).choice([-1.0, 1.0], 16)).float()
        margin = 1 + ((x.flatten(1) - 0.6) * signs).sum(1)
        noisy = margin + 0.2 * torch.randn_like(margin)
        return nn.functional.one_hot((noisy > 0).long(), 2).float()


class Coin(nn.Module):
    """Class 1 in seven of ten draws, whatever the image."""

    def forward(self, x: Tensor) -> Tensor:
        heads = torch.rand_like(x[:, 0, 0, 0]) < 0.7
        return nn.functional.one_hot(heads.long(), 2).float()


def checked(
    network: nn.Module, path: Path, settings: MaskingSettings = FEW
) -> tuple[MaskingSummary, list[NDArray[np.float64]]]:
    """Summary, and of each round the shares of wrong draws on the images that it attacked."""
    torch.manual_seed(0)
    info = ModelInfo(file="random", sha256="0" * 64, kind="module", random=True)
    classifier = Classifier.from_module(network, image_shape=(1, 4, 4), num_classes=2, info=info)
    noise = np.random.default_rng(0).random((N, 1, 4, 4), dtype=np.float32)
    images = from_arrays("test", 0.55 + 0.1 * noise, np.ones(N, np.int64))
    with ResultStore.open(path, model=classifier.info, data=images.info) as store:
        session = Session(classifier, images, np.arange(N), store, batch_size=16)
        summary = summarise(store, analyse(session, settings, sources=()))
        tables = store.existing("masking_round")
        shares = [table.column("wrong_share")[table.computed()] for table in tables]
    return summary, shares


@pytest.mark.slow
def test_rounds_go_on_while_shares_of_wrong_draws_rise(tmp_path: Path) -> None:
    none, no_rounds = checked(NoisyPattern(), tmp_path / "0.h5", replace(FEW, rounds=0))
    many, rounds = checked(NoisyPattern(), tmp_path / "4.h5", replace(FEW, rounds=4))
    assert no_rounds == []
    assert len(rounds) > 1
    assert many.corrected.value < none.corrected.value - 1 / N
    attacked = [len(shares) for shares in rounds]
    assert attacked == sorted(attacked, reverse=True)
    assert all(bool(np.isfinite(shares).all()) for shares in rounds)
    again = {remedy.name: remedy for remedy in many.remedies}["further rounds on selected images"]
    assert again.robust.n == attacked[0]
    assert again.robust.value < 1


def test_rounds_on_a_coin_gain_nothing_and_end_with_the_first(tmp_path: Path) -> None:
    summary, rounds = checked(Coin(), tmp_path / "r.h5")
    assert [len(shares) for shares in rounds] == [N]
    assert summary.corrected.value == np.clip(summary.corrected.value, 0.65, 0.75)
    assert summary.by_chance is not None
    assert summary.by_chance > 0.05  # what the best of many attacks had seemed to gain
