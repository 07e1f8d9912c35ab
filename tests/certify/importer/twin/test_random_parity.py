"""Twins of graphs that draw: they must have the runtime's mean, whatever the standard says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from known_functions import OneRuledOut
from onnx_models import images, linear, model, node, saved, weights
from torch import Tensor, nn

from robcert.certify.importer.graph.facts import GraphFacts
from robcert.certify.importer.load import LoadOptions, load_classifier
from robcert.certify.importer.twin.parity import Subject
from robcert.certify.importer.twin.random_parity import mean_mismatch
from robcert.certify.model.classifier import Classifier

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray


class Noisy(nn.Module):
    """Two logits with noise of size 1; one of them lies ``shift`` higher."""

    def __init__(self, shift: float) -> None:
        super().__init__()
        self.shift = shift

    def forward(self, x: Tensor) -> Tensor:
        total = x.flatten(1).sum(1, keepdim=True)
        mean = torch.cat([total, -total + self.shift], 1)
        return mean + torch.randn_like(mean)


def noisy(shift: float = 0.0) -> Classifier:
    return Classifier.from_module(Noisy(shift), image_shape=(1, 4, 4), num_classes=2)


def ruled_out(shift: float = 0.0) -> Classifier:
    return Classifier.from_module(OneRuledOut(Noisy(shift)), image_shape=(1, 4, 4), num_classes=3)


def subject(runtime: Classifier, twin: Classifier) -> Subject:
    return Subject(runtime.logits, twin.twin_logits, (1, 4, 4), torch.device("cpu"))


@pytest.mark.parametrize("made", [noisy, ruled_out])
def test_another_mean_is_found_and_chance_is_not(made: Callable[..., Classifier]) -> None:
    # means of 32 draws of variance 1 differ by 0.25 at most once in 10^8, times 6
    torch.manual_seed(0)
    assert mean_mismatch(subject(made(), made()), None) == ""
    assert "averaged over 32 draws" in mean_mismatch(subject(made(), made(4.0)), None)


@pytest.mark.parametrize("chance", [0.1, 0.9])
def test_the_twin_draws_a_coin_as_the_runtime_does(chance: float, tmp_path: Path) -> None:
    made = model(
        [
            node("Flatten", "x", "flat"),
            node("Mul", "flat none", "nothing"),
            node("Add", "nothing chance", "p"),
            node("Bernoulli", "p", "coin"),
            node("Mul", "flat coin", "kept"),
            node("MatMul", "kept w", "logits"),
        ],
        inputs={"x": ("batch", 3, 4, 4)},
        outputs={"logits": None},
        weights={
            "w": np.abs(weights(5, 48)),
            "none": np.array(0, np.float32),
            "chance": np.array(chance, np.float32),
        },
    )
    classifier = load_classifier(
        saved(tmp_path, made), LoadOptions(device="cpu", threads=1), images=images()
    )
    assert classifier.info.random
    assert classifier.differentiable, classifier.info.twin_unavailable
    x = torch.full((200, 3, 4, 4), 0.5)
    runtime, twin = classifier.logits(x).mean(), classifier.twin_logits(x).mean()
    # sums of 48 coins, 200 of them: their mean is known to 1 %, and 0.1 is nine times less than 0.9
    assert abs(float(runtime / twin) - 1) < 0.2


def test_a_class_that_is_drawn_makes_a_graph_random_though_it_repeats(tmp_path: Path) -> None:
    tail = [
        node("Mul", "logits much", "sure"),
        node("Multinomial", "sure", "drawn", dtype=7, sample_size=1),
        node("Squeeze", "drawn axis", "class"),
        node("OneHot", "class five values", "out"),
    ]
    made = linear(tail=tail)
    extra: dict[str, NDArray[Any]] = {
        "much": np.array(1000, np.float32),
        "axis": np.array([1], np.int64),
        "five": np.array(5, np.int64),
        "values": np.array([0, 1], np.float32),
    }
    made = model(
        list(made.graph.node),
        inputs={"x": ("batch", 3, 4, 4)},
        outputs={"out": None},
        weights={"w": weights(5, 48), **extra},
    )
    assert GraphFacts.of(made).draws
    assert not GraphFacts.of(linear()).draws
    classifier = load_classifier(
        saved(tmp_path, made), LoadOptions(device="cpu", threads=1), images=images()
    )
    assert classifier.info.random
    x = torch.rand(3, 3, 4, 4)
    assert torch.equal(classifier.logits(x), classifier.logits(x))
