"""Validation set of the masking check: models that hide, may hide or do not hide the gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from robcert.trainers.networks import Architecture

from .networks import SMALL, Kit, fitted, fresh
from .ways import (
    ClippedScores,
    Codebook,
    CosineBlocks,
    Dither,
    Half,
    LabelOnly,
    LookUp,
    Reversed,
    Ripple,
    RootGap,
    SaturatedHeads,
    Staircase,
    Temperature,
    Underflow,
    WinnersTakeAll,
    patches_of,
    with_activation,
)

if TYPE_CHECKING:
    from collections.abc import Callable

Meant = Literal["masked", "may mask", "honest"]
DISTILLED_AT = 50.0
"""Softmax temperature of the distilled network."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One model of the validation set.

    Attributes:
        name: name of the model.
        half: collection of the model: ``tuning``, ``held out`` or ``fresh``.
        meant: intention of the recipe; the evidence decides whether the model masks.
        about: description in one sentence.
        make: returns the model, from pixels to its output, in evaluation mode.
        inverse: returns a network with an honest gradient whose adversarial images should also be
            adversarial for the model; None if none is known.
        random: whether the model's output is random.
        int8: whether the exported file is then quantised to 8 bits.
    """

    name: str
    half: Half
    meant: Meant
    about: str
    make: Callable[[Kit], nn.Module]
    inverse: Callable[[Kit], nn.Module] | None = None
    random: bool = False
    int8: bool = False


class Scaled(nn.Module):
    """``factor`` times the logits, or their softmax."""

    def __init__(self, network: nn.Module, factor: float = 1.0, *, softmax: bool = False) -> None:
        super().__init__()
        self.network, self.factor, self.softmax = network, factor, softmax

    def forward(self, x: Tensor) -> Tensor:
        """Logits or probabilities ``(b, k)``."""
        logits: Tensor = self.factor * self.network(x)
        return logits.softmax(1) if self.softmax else logits


def run(name: str) -> Callable[[Kit], nn.Module]:
    """Function that returns the network of the run ``name``."""
    return lambda kit: kit.trained(name)


def plain(
    name: str, activation: Callable[[], nn.Module], architecture: Architecture = SMALL
) -> Callable[[Kit], nn.Module]:
    """Function that returns a network with other activations, trained on cross-entropy."""

    def make(kit: Kit) -> nn.Module:
        network = fresh(kit, activation, architecture)
        return kit.kept(name, network, lambda made: fitted(made, kit))

    return make


def student(kit: Kit) -> nn.Module:
    """A network fitted to the standard one's probabilities (Papernot et al. 2016)."""
    teacher = kit.trained("standard")

    def probabilities(x: Tensor) -> Tensor:
        with torch.no_grad():
            return teacher(x).softmax(1)

    network = fresh(kit, nn.ReLU, SMALL)
    return kit.kept(
        "student", network, lambda net: fitted(net, kit, targets=probabilities, passes=2)
    )


def around(
    name: str,
    half: Half,
    about: str,
    wrap: Callable[[nn.Module], nn.Module],
    *,
    network: str = "standard",
    random: bool = False,
) -> Entry:
    """Entry of a network whose gradient ``wrap`` hides; the network itself is the inverse."""
    return Entry(
        name, half, "masked", about, lambda kit: wrap(kit.trained(network)), run(network), random
    )


WRAPPED = (
    around("temperature", "tuning", "softmax of 100 times the logits", Temperature),
    around("staircase", "tuning", "input rounded to 8 levels", Staircase),
    around(
        "rippled activations",
        "tuning",
        "ReLU plus a small wave of high frequency",
        lambda network: with_activation(network, Ripple),
    ),
    around("clipped scores", "tuning", "log-probabilities clipped on both sides", ClippedScores),
    around(
        "dither",
        "tuning",
        "input rounded at random to 4 levels",
        Dither,
        network="gaussian",
        random=True,
    ),
    around("look-up table", "tuning", "8-bit grey values replaced through a table", LookUp),
    around("reversed slope", "held out", "input close to a grid, with slope -1", Reversed),
    around("root of the gap", "held out", "scores whose gradient is not a number", RootGap),
    Entry(
        "cosine blocks",
        "held out",
        "masked",
        "cosine coefficients of 4x4 blocks rounded",
        lambda kit: CosineBlocks(kit.trained("standard"), kit.images.image_shape[0]),
        run("standard"),
    ),
    around("label only", "held out", "1 for the class, 0 for all others", LabelOnly),
    around("saturated heads", "held out", "a steep sigmoid for each class", SaturatedHeads),
    around("underflow", "held out", "exponential scores that float32 rounds to zero", Underflow),
    Entry(
        "codebook",
        "held out",
        "masked",
        "2x2 patches replaced by the nearest of 32",
        lambda kit: Codebook(kit.trained("standard"), patches_of(kit.some())),
        run("standard"),
    ),
    Entry(
        "distillation",
        "held out",
        "masked",
        "fitted to soft labels at temperature 50, shipped at 1",
        lambda kit: Scaled(student(kit), DISTILLED_AT, softmax=True),
        student,
    ),
)
"""Models with a known inverse, whose adversarial images should be adversarial for them too."""

TRAINED = (
    Entry("one step", "tuning", "may mask", "one-step adversarial training, long", run("one step")),
    Entry("SOAR at the image", "tuning", "may mask", "SOAR, zero start", run("soar at the image")),
    Entry(
        "two steps", "held out", "may mask", "two-step adversarial training, long", run("two steps")
    ),
    Entry("SOAR at random", "held out", "may mask", "SOAR, random start", run("soar at random")),
    Entry(
        "winners take all",
        "held out",
        "may mask",
        "the largest tenth of the activations (Xiao et al. 2020)",
        plain("winners", WinnersTakeAll),
    ),
)
"""Models trained by recipes that may hide the gradient."""

HONEST = (
    *(
        Entry(name, "tuning", "honest", about, run(name))
        for name, about in (
            ("standard", "cross-entropy on clean images"),
            ("adversarial", "seven-step adversarial training"),
            ("gradient", "input gradient regularisation"),
            ("llr", "local linearity regularisation"),
            ("gaussian", "trained on noise, to be smoothed"),
            ("tiny", "four layers of 2 and 4 channels"),
        )
    ),
    Entry("tanh", "tuning", "honest", "tanh activations", plain("tanh", nn.Tanh)),
    Entry(
        "probabilities",
        "tuning",
        "honest",
        "ends in a softmax",
        lambda kit: Scaled(kit.trained("standard"), softmax=True),
    ),
    Entry("int8", "tuning", "honest", "8-bit weights and values", run("standard"), int8=True),
    *(
        Entry(name, "held out", "honest", about, run(name))
        for name, about in (
            ("trades", "TRADES: very robust"),
            ("cure", "curvature regularisation"),
            ("jacobian", "Jacobian regularisation"),
            ("free", "adversarial training for free"),
            ("smoothadv", "SmoothAdv, to be smoothed"),
            ("few images", "very weak: 400 training images"),
            ("linear", "one linear layer"),
            ("deep", "eight-layer residual network with batch norm"),
            ("long", "very confident: long training, no weight decay"),
        )
    ),
    Entry(
        "sigmoid",
        "held out",
        "honest",
        "two hidden layers with sigmoid activations",
        plain("sigmoid", nn.Sigmoid, Architecture("mlp")),
    ),
    Entry(
        "unsure",
        "held out",
        "honest",
        "a hundredth of the logits: every confidence near 0.1",
        lambda kit: Scaled(kit.trained("standard"), 0.01),
    ),
    Entry(
        "int8 robust",
        "held out",
        "honest",
        "8-bit weights and values of the TRADES network",
        run("trades"),
        int8=True,
    ),
)

ENTRIES = (*WRAPPED, *TRAINED, *HONEST)
"""The collections ``tuning`` and ``held out``."""
