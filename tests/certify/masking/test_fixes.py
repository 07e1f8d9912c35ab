"""Fixes of the masking check: averaged gradients, searches from a transferred start, surrogates."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from robcert.certify.attacks.black_box.label_only import label_search
from robcert.certify.attacks.black_box.transfer_start import TransferStartConfig, transfer_start
from robcert.certify.attacks.gradient.pgd import PgdConfig, pgd
from robcert.certify.core import Ball, Batch, Norm
from robcert.certify.data.arrays import from_arrays
from robcert.certify.masking.settings import MaskingSettings
from robcert.certify.masking.sources import NAME, Sources, agreement, distilled
from robcert.certify.masking.views import noise_averaged_gradient
from robcert.certify.model.classifier import Classifier, Runtime, Twin
from robcert.certify.numerics.gradients import value_and_gradient

if TYPE_CHECKING:
    from robcert.certify.data.image_set import ImageSet

SHAPE = (1, 8, 8)


class Slopes(nn.Module):
    """Class 1 where the left half of the pixels outweighs the right; flat scores if ``hard``."""

    def __init__(self, *, hard: bool = False, ripple: float = 0.0) -> None:
        super().__init__()
        self.hard, self.ripple = hard, ripple
        self.w = torch.ones(8, 8) - 2 * (torch.arange(8) >= 4).float()

    def forward(self, x: Tensor) -> Tensor:
        seen = x + self.ripple * torch.sin(x * 2000)
        margin = (seen[:, 0] * self.w).sum((1, 2))
        logits = torch.stack([-margin, margin], 1)
        return nn.functional.one_hot(logits.argmax(1), 2).float() if self.hard else logits


def classifier(**options: float) -> Classifier:
    return Classifier.from_module(Slopes(**options), image_shape=SHAPE, num_classes=2)  # type: ignore[arg-type]


def images(n: int = 60) -> ImageSet:
    pixels = np.random.default_rng(0).random((n, *SHAPE), dtype=np.float32)
    pixels = 0.4 + 0.2 * pixels
    pixels[: n // 2, :, :, :4] += 0.05
    pixels[n // 2 :, :, :, 4:] += 0.05
    return from_arrays("halves", pixels, (np.arange(n) < n // 2).astype(np.int64))


def batch(count: int = 16) -> Batch:
    seen = images()
    indices = np.arange(0, len(seen), len(seen) // count)[:count]
    labels = seen.labels
    assert labels is not None
    return Batch(indices, seen.pixels(indices), torch.from_numpy(labels[indices]))


def test_the_mean_gradient_of_noisy_copies_is_the_slope_under_the_ripples() -> None:
    # the ripples change no pixel by more than 0.005, and turn its slope by up to 10 either way
    rough, settings = classifier(ripple=0.005), MaskingSettings(epsilon=0.1, noisy_copies=64)
    smooth = noise_averaged_gradient(rough, settings, seed=0)
    x = batch(4).x
    torch.testing.assert_close(smooth.twin_logits(x), rough.twin_logits(x), rtol=0, atol=1e-4)

    def share(model: Classifier) -> float:
        _, gradient = value_and_gradient(lambda x: model.twin_logits(x)[:, 1], x)
        return float(torch.eq(gradient[:, 0].sign(), Slopes().w).float().mean())

    assert share(rough) < 0.7
    # a mean of 64 cosines of size 10 has standard deviation 0.9, and the slope is 1
    assert share(smooth) > 0.8
    broken = [
        float(pgd(model, batch(), Ball(Norm.LINF, 0.06), PgdConfig(5)).found.float().mean())
        for model in (rough, smooth)
    ]
    assert broken[1] == 1
    assert broken[1] > broken[0]


@pytest.mark.parametrize("norm", list(Norm))
def test_the_noise_of_the_copies_is_half_of_what_the_ball_leaves_a_pixel(norm: Norm) -> None:
    seen: list[Tensor] = []
    model = classifier()

    def twin(x: Tensor) -> Tensor:
        seen.append(x.detach())
        return Slopes()(x)

    watched = replace(model, twin=Twin(twin))
    x = torch.full((8, *SHAPE), 0.5)
    settings = MaskingSettings(norm=norm, epsilon=0.2, noisy_copies=40)
    noise_averaged_gradient(watched, settings, seed=0).twin_logits(x)
    noise = torch.stack([shifted[0] - 0.5 for shifted in seen[:40]])
    a_pixel = {Norm.LINF: 0.2, Norm.L2: 0.2 / 8, Norm.L1: 0.2 / 64}[norm]
    assert float(noise.std()) == pytest.approx(a_pixel / 2, rel=0.05)
    torch.testing.assert_close(noise.mean(0), torch.zeros(SHAPE), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("norm", "epsilon"), [(Norm.LINF, 0.06), (Norm.L2, 0.4)])
def test_a_search_from_where_another_model_is_misled_is_shorter(norm: Norm, epsilon: float) -> None:
    flat = classifier(hard=True)
    nowhere = label_search(flat, batch(), Ball(norm, epsilon), queries=20)
    begun = transfer_start(
        classifier(), flat, batch(), Ball(norm, epsilon), TransferStartConfig(10, 40)
    )
    assert begun.found.all()
    assert (begun.distance <= epsilon + 1e-5).all()
    assert nowhere.found.float().mean() < 0.5


def test_rows_of_a_search_from_a_start_do_not_depend_on_their_company() -> None:
    flat, whole = classifier(hard=True), batch(6)
    one = Batch(whole.index[2:3], whole.x[2:3], whole.y[2:3])
    rough = classifier(ripple=0.005)
    together, alone = (
        transfer_start(rough, flat, some, Ball(Norm.LINF, 0.03), TransferStartConfig(4, 40))
        for some in (whole, one)
    )
    assert torch.equal(alone.x_adv[0], together.x_adv[2])


def test_a_surrogate_learns_a_model_that_gives_labels_only_and_is_the_same_again() -> None:
    flat, seen = classifier(hard=True), images()
    first, again = (distilled(flat, seen, queries=1000, seed=0) for _ in range(2))
    assert agreement(first, flat, seen) > 0.95
    x = batch().x
    torch.testing.assert_close(first.logits(x), again.logits(x))
    found = transfer_start(
        first, flat, batch(), Ball(Norm.LINF, 0.08), TransferStartConfig(queries=20)
    )
    assert found.found.float().mean() > 0.8
    other = distilled(flat, seen, queries=1000, seed=1)
    assert not torch.allclose(first.logits(x), other.logits(x))


def test_a_model_that_gives_no_numbers_teaches_nothing_and_breaks_nothing() -> None:
    silent = classifier()
    nothing = Runtime(lambda x: torch.full((len(x), 2), torch.nan))
    silent = replace(silent, runtime=nothing)
    student = distilled(silent, images(), queries=64, seed=0)
    assert student.logits(batch().x).isfinite().all()


def test_sources_are_bundled_models_only_where_they_agree() -> None:
    settings = MaskingSettings()
    head = nn.Linear(784, 10)
    with torch.no_grad():  # the class is the first pixel in tenths: no bundled model agrees
        head.weight.zero_()[:, 0] = 18 * torch.arange(10.0)
        head.bias.copy_(-(torch.arange(10.0) ** 2))
    other = Classifier.from_module(
        nn.Sequential(nn.Flatten(), head), image_shape=(1, 28, 28), num_classes=10
    )
    pixels = np.random.default_rng(1).random((20, 1, 28, 28), dtype=np.float32)
    noise = from_arrays("noise", pixels)
    chosen = Sources.by_default(other, noise, settings)
    assert chosen.names == (NAME,)
    assert chosen.models == ()
    few = replace(settings, surrogate_queries=64)
    (student,) = chosen.ready(other, noise, few, seed=0)
    assert student.info.sha256 == NAME
    assert Sources.by_default(other, noise, replace(settings, surrogate_queries=0)).names == ()
    assert Sources.of((other,)).ready(other, noise, few, seed=0) == (other,)
