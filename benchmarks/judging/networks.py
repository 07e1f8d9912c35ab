"""The networks of the claims: one architecture and budget, and the methods of the papers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from robcert.trainers.methods import Adversarial, Gradient, Llr, Soar, Standard
from robcert.trainers.networks import Architecture
from robcert.trainers.recipe import Evaluation, Optimizer, TrainConfig

if TYPE_CHECKING:
    from robcert.trainers.methods import Objective

EPSILON = 0.1
"""Radius of trainings and attacks in linf, pixel units."""
EPOCHS = 3
WIDTH = 8
BATCH = 128
OTHER_SEED = 1000
"""Added to the seed of networks that serve as independent sources of transferred attacks."""

WEIGHTS = (0.1, 1.0, 10.0, 100.0)
"""Weights of the penalty on the gradient."""
STEPS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Steps h of its finite difference."""
MIDDLE = 10.0
"""Weight at which steps and schemes are compared."""
RATIOS = (0.0, 0.25, 0.5, 0.75)
"""Ratios mu / lambda of LLR."""


@dataclass(frozen=True, slots=True)
class Network:
    """A network and what it starts from.

    Attributes:
        objective: training method.
        activation: non-linearity.
        start: network that provides the initial weights; empty for random weights.
        apart: added to the seed.
    """

    objective: Objective
    activation: Literal["relu", "softplus"] = "relu"
    start: str = ""
    apart: int = 0

    def config(self, seed: int) -> TrainConfig:
        """The training, without the data."""
        return TrainConfig(
            objective=self.objective,
            architecture=Architecture("cnn4", activation=self.activation, width=WIDTH),
            validation=False,
            epochs=EPOCHS,
            batch_size=BATCH,
            optimizer=Optimizer(learning_rate=0.1),
            evaluation=Evaluation(every=EPOCHS, attack_every=0),
            seed=seed + self.apart,
        )


def _adversarial(steps: int, *, random_start: bool) -> Adversarial:
    """A quarter more than the way to the corner of the cube, in ``steps`` steps; one step is ε."""
    size = min(EPSILON, 2.5 * EPSILON / steps)
    return Adversarial(epsilon=EPSILON, steps=steps, step_size=size, random_start=random_start)


def _llr(steps: int, ratio: float) -> Llr:
    return Llr(
        epsilon=EPSILON,
        gamma_weight=4.0,
        ratio=ratio,
        steps=steps,
        step_size=EPSILON,
        warmup_epochs=1.0,
    )


_GRADIENT = Gradient(weight=MIDDLE)
_SOAR = Soar(epsilon=EPSILON, step_size=EPSILON, step_most=EPSILON)

STANDARD, SOFT, SOURCE = "standard", "standard, softplus", "source"
FIXED = {steps: f"ADV-{steps}, softplus, from the image" for steps in (1, 2, 4, 8)}
RANDOM = {steps: f"ADV-{steps}, softplus, random start" for steps in (1, 2, 8)}
ADVERSARIAL = "ADV-8"
LLR = {steps: f"LLR-{steps}, μ = 0" for steps in (1, 2)}
WITH_MU = {ratio: f"LLR-2, μ/λ = {ratio:g}" for ratio in RATIOS if ratio}
PENALISED = {weight: f"gradient, λ = {weight:g}" for weight in WEIGHTS}
STEPPED = {h: f"gradient, λ = {MIDDLE:g}, h = {h:g}" for h in STEPS if h != _GRADIENT.step}
EXACT = "gradient, exact"
MEAN_LOSS = "gradient of the mean loss, exact"
STARTS: tuple[Literal["zero", "random", "pgd1"], ...] = ("zero", "random", "pgd1")
SOARS = {start: f"SOAR, start {start}" for start in STARTS}
UNWEIGHTED = "SOAR, λ = 0"

NETWORKS: dict[str, Network] = {
    STANDARD: Network(Standard()),
    SOFT: Network(Standard(), "softplus"),
    SOURCE: Network(Standard(), apart=OTHER_SEED),
    ADVERSARIAL: Network(_adversarial(8, random_start=True)),
    **{
        FIXED[steps]: Network(_adversarial(steps, random_start=False), "softplus")
        for steps in FIXED
    },
    **{
        RANDOM[steps]: Network(_adversarial(steps, random_start=True), "softplus")
        for steps in RANDOM
    },
    **{LLR[steps]: Network(_llr(steps, 0.0), "softplus") for steps in LLR},
    **{WITH_MU[ratio]: Network(_llr(2, ratio), "softplus") for ratio in WITH_MU},
    **{PENALISED[weight]: Network(replace(_GRADIENT, weight=weight)) for weight in WEIGHTS},
    **{STEPPED[h]: Network(replace(_GRADIENT, step=h)) for h in STEPPED},
    EXACT: Network(replace(_GRADIENT, scheme="exact")),
    # the gradient of the mean over a batch is that of each image over the number of images
    MEAN_LOSS: Network(replace(_GRADIENT, scheme="exact", weight=MIDDLE / BATCH**2)),
    **{SOARS[start]: Network(replace(_SOAR, start=start), start=STANDARD) for start in STARTS},
    UNWEIGHTED: Network(replace(_SOAR, weight=0.0), start=STANDARD),
}
"""Every network by name; those that others start from come first."""
