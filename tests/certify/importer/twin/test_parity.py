from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from robcert.certify.importer.twin.parity import ParityPlan, Subject, Tolerance, measure_parity
from robcert.certify.model.classifier import Classifier, Logits, Parity

STRICT = Tolerance.of(half_precision=False, discontinuous=False, smooth_gradient=True)
GOOD = Parity(48, 1.0, 1e-6, 0.999)


def network() -> Classifier:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Flatten(), nn.Linear(48, 16), nn.Tanh(), nn.Linear(16, 4))
    return Classifier.from_module(layers, image_shape=(3, 4, 4), num_classes=4)


def constant() -> Classifier:
    """Logits 3, 1, 0, 2 whatever the image."""
    last = nn.Linear(48, 4)
    nn.init.zeros_(last.weight)
    last.bias.data = torch.tensor([3.0, 1.0, 0.0, 2.0])
    layers = nn.Sequential(nn.Flatten(), last)
    return Classifier.from_module(layers, image_shape=(3, 4, 4), num_classes=4)


def measured(classifier: Classifier, twin: Logits | None = None) -> Parity:
    images = torch.rand(8, 3, 4, 4, generator=torch.Generator().manual_seed(2))
    subject = Subject(
        classifier.logits, twin or classifier.twin_logits, (3, 4, 4), torch.device("cpu")
    )
    return measure_parity(subject, images, step_scale=1.0)


def test_a_true_twin_agrees() -> None:
    parity = measured(network())
    assert parity.images == 8 + ParityPlan.for_pixels(48).noise
    assert parity.top1_agreement == 1.0
    assert parity.max_relative_logit_error < 1e-6
    assert parity.gradient_correlation is not None
    assert parity.gradient_correlation > 0.999
    assert STRICT.broken_by(parity) == ""
    assert parity == measured(network())


def test_a_shifted_logit_is_measured_in_spreads() -> None:
    classifier = constant()
    shift = torch.tensor([0.0, 0.0, 0.6, 0.0])
    parity = measured(classifier, lambda x: classifier.twin_logits(x) + shift)
    assert parity.max_relative_logit_error == pytest.approx(0.2)
    assert "differ from the runtime's by 0.2 of their range" in STRICT.broken_by(parity)


def test_a_wrong_gradient_under_right_values_is_found() -> None:
    classifier = network()
    honest = classifier.twin_logits

    def masked(x: Tensor) -> Tensor:
        """The same values; the gradient is that of the image upside down."""
        other = honest(x.flip(2))
        return honest(x).detach() + other - other.detach()

    parity = measured(classifier, masked)
    assert parity.max_relative_logit_error < 1e-6
    assert "central differences correlate at" in STRICT.broken_by(parity)


def test_no_slope_is_not_a_correlation() -> None:
    parity = measured(constant())
    assert parity.gradient_correlation is None
    assert STRICT.broken_by(parity) == ""


def test_nan_on_both_sides_agrees_and_on_one_does_not() -> None:
    classifier = network()
    nothing = measured(classifier, lambda x: classifier.twin_logits(x) * math.nan)
    assert nothing.max_relative_logit_error == math.inf


def test_a_scale_of_its_own_for_each_image_is_no_difference() -> None:
    """A positive factor of the image, up to e^20, on all logits: the same decisions."""
    classifier = network()

    def scaled(x: Tensor) -> Tensor:
        return classifier.twin_logits(x) * (20 * x[:, 0, 0, :1]).exp()

    def rounded(x: Tensor) -> Tensor:
        return scaled(x) * (1 + 1e-6 * x[:, 1, 1, :1])

    images = torch.rand(8, 3, 4, 4, generator=torch.Generator().manual_seed(2))
    subject = Subject(scaled, rounded, (3, 4, 4), torch.device("cpu"))
    assert STRICT.broken_by(measure_parity(subject, images, step_scale=1.0)) == ""
    wrong = Subject(scaled, lambda x: scaled(x) * 1.05, (3, 4, 4), torch.device("cpu"))
    assert "of their range" in STRICT.broken_by(measure_parity(wrong, images, step_scale=1.0))


@pytest.mark.parametrize(
    ("parity", "reason"),
    [
        (replace(GOOD, top1_agreement=0.9), "predicts the runtime's class on 90.0%"),
        (replace(GOOD, max_relative_logit_error=0.01), "differ from the runtime's by 0.01"),
        (replace(GOOD, max_relative_logit_error=math.nan), "infinite or NaN where"),
        (replace(GOOD, gradient_correlation=0.5), "correlate at 0.500"),
        (replace(GOOD, gradient_correlation=None), ""),
        (GOOD, ""),
    ],
)
def test_tolerances(parity: Parity, reason: str) -> None:
    assert reason in STRICT.broken_by(parity)
    assert bool(STRICT.broken_by(parity)) == bool(reason)


def test_steps_and_half_precision_loosen_the_tolerance() -> None:
    stepped = Tolerance.of(half_precision=False, discontinuous=True, smooth_gradient=False)
    half = Tolerance.of(half_precision=True, discontinuous=False, smooth_gradient=True)
    rough = Parity(48, 0.96, 0.03, 0.7)
    assert STRICT.broken_by(rough)
    assert not half.broken_by(rough)
    assert not stepped.broken_by(replace(rough, gradient_correlation=0.0))
