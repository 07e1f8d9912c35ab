"""Trained networks of the validation set: honest ones, and some that may hide their gradient.

All are small, so that the set is trained in minutes on one core. ``Kit`` trains a network when
it is first requested and keeps it in a folder.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from robcert.certify.numerics import generator
from robcert.trainers.loop import MODEL, RunPlan, fit, load_network
from robcert.trainers.methods import (
    Adversarial,
    Cure,
    Free,
    Gaussian,
    Gradient,
    Jacobian,
    Llr,
    SmoothAdv,
    Soar,
    Standard,
    Trades,
)
from robcert.trainers.networks import Architecture
from robcert.trainers.recipe import Evaluation, Optimizer, TrainConfig

from .ways import with_activation

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from robcert.trainers.data import LabelledImages
    from robcert.trainers.methods import Objective

SMALL = Architecture("cnn4", width=8)
"""Architecture of most entries."""

_DONE = "done"

STARTS_FROM = "standard"
"""Run that provides SOAR's initial weights."""


@dataclass(slots=True)
class Kit:
    """What is needed to make a model of the set: images, budget, and the trained networks by name.

    Attributes:
        images: training images.
        evaluation: images on which accuracy is measured during training.
        folder: folder of the runs.
        epsilon: linf radius of the training and of the check, pixel units.
        epochs: epochs of an ordinary run.
        ready: existing run folders by method, which are not trained again.
    """

    images: LabelledImages
    evaluation: LabelledImages
    folder: Path
    epsilon: float
    epochs: int = 4
    ready: dict[str, Path] = field(default_factory=dict)

    def trained(self, name: str) -> nn.Module:
        """Network ``name`` of ``CONFIGS``, from pixels to logits, in evaluation mode."""
        run = self.run(name)
        if not _finished(run):
            config = CONFIGS[name](self)
            initial_weights = None
            if config.objective.starts_trained:
                self.trained(STARTS_FROM)
                initial_weights = self.run(STARTS_FROM)
            fit(RunPlan(config, self.images, self.evaluation, run, initial_weights))
            (run / _DONE).touch()
        return load_network(run).eval()

    def run(self, name: str) -> Path:
        """Folder of the run ``name``, trained or not."""
        ready = self.ready.get(name)
        return ready if ready is not None and _finished(ready) else self.folder / name

    def config(self, objective: Objective, **changes: object) -> TrainConfig:
        """The common configuration with this objective and these changes."""
        base = TrainConfig(
            objective=objective,
            architecture=SMALL,
            epochs=self.epochs,
            optimizer=Optimizer(learning_rate=0.1),
            evaluation=Evaluation(images=1000, attack_every=0),
        )
        return replace(base, **changes)  # type: ignore[arg-type]

    def adversarial(self, steps: int = 7, *, random_start: bool = True) -> Adversarial:
        """Adversarial training at the radius; the steps together are 2.5 radii long."""
        size = self.epsilon * min(1.25, 2.5 / steps)
        return Adversarial(
            epsilon=self.epsilon, steps=steps, step_size=size, random_start=random_start
        )

    def kept(
        self, name: str, network: nn.Module, train: Callable[[nn.Module], object]
    ) -> nn.Module:
        """``network`` in evaluation mode, with weights from ``train`` or from an earlier call."""
        file = self.folder / f"{name}.safetensors"
        if not file.is_file():
            self.folder.mkdir(parents=True, exist_ok=True)
            train(network)
            save_file(network.state_dict(), file)
        network.load_state_dict(load_file(file))
        return network.eval()

    def some(self, count: int = 2000) -> Tensor:
        """Pixels of the first training images ``(count, c, h, w)`` in [0, 1]."""
        first = self.images.first(count)
        return first.batch(torch.arange(len(first)), torch.device("cpu"))[0]


def _finished(run: Path) -> bool:
    """Whether the run is finished, here or by `robcert train`, whose last step is the export."""
    return (run / _DONE).is_file() or (run / MODEL).is_file()


CONFIGS: dict[str, Callable[[Kit], TrainConfig]] = {
    "standard": lambda k: k.config(Standard()),
    "gaussian": lambda k: k.config(Gaussian()),
    "free": lambda k: k.config(Free(epsilon=k.epsilon)),
    "gradient": lambda k: k.config(Gradient()),
    "jacobian": lambda k: k.config(Jacobian()),
    "cure": lambda k: k.config(Cure(step_epochs=1.0)),
    "llr": lambda k: k.config(Llr(epsilon=k.epsilon, warmup_epochs=1.0)),
    "smoothadv": lambda k: k.config(SmoothAdv()),
    "soar": lambda k: k.config(Soar(epsilon=k.epsilon)),
    "adversarial": lambda k: k.config(k.adversarial()),
    "trades": lambda k: k.config(Trades(epsilon=k.epsilon, step_size=k.epsilon / 4)),
    "tiny": lambda k: k.config(Standard(), architecture=Architecture("cnn4", width=2)),
    "linear": lambda k: k.config(Standard(), architecture=Architecture("linear")),
    "deep": lambda k: k.config(Standard(), architecture=Architecture("resnet-small", width=8)),
    "few images": lambda k: k.config(Standard(), subset=400, epochs=10 * k.epochs),
    "long": lambda k: k.config(
        Standard(), epochs=3 * k.epochs, optimizer=Optimizer(learning_rate=0.1, weight_decay=0.0)
    ),
    "decayed": lambda k: k.config(
        Standard(), optimizer=Optimizer(learning_rate=0.1, weight_decay=0.02)
    ),
    "one step": lambda k: k.config(k.adversarial(1, random_start=False), epochs=3 * k.epochs),
    "two steps": lambda k: k.config(k.adversarial(2, random_start=False), epochs=2 * k.epochs),
    "soar at the image": lambda k: k.config(Soar(epsilon=k.epsilon, start="zero")),
    "soar at random": lambda k: k.config(Soar(epsilon=k.epsilon, start="random")),
}
"""Configurations of the runs, by name."""


def fitted(
    network: nn.Module,
    kit: Kit,
    *,
    targets: Callable[[Tensor], Tensor] | None = None,
    passes: int = 1,
    rate: float = 3e-3,
) -> None:
    """Train ``network`` on cross-entropy with Adam.

    Args:
        network: maps pixels to logits.
        kit: images and epochs.
        targets: maps pixels to the class probabilities to fit; None for the labels.
        passes: factor of the number of epochs.
        rate: initial learning rate, which decreases linearly to zero.
    """
    images, epochs, size = kit.images, passes * kit.epochs, 128
    steps = epochs * (len(images) // size)
    optimizer = torch.optim.Adam(network.parameters(), rate)
    fall = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=steps)
    network.train()
    for epoch in range(epochs):
        order = torch.randperm(len(images), generator=generator(0, "validation-order", epoch))
        for rows in torch.split(order[: len(order) // size * size], size):
            x, y = images.batch(rows, torch.device("cpu"))
            wanted = y if targets is None else targets(x)
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(functional.cross_entropy(network(x), wanted))
            optimizer.step()
            fall.step()


def fresh(kit: Kit, activation: Callable[[], nn.Module], architecture: Architecture) -> nn.Module:
    """Network with the given activation and random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        network = architecture.build(
            image_shape=kit.images.image_shape, num_classes=kit.images.num_classes
        )
    return with_activation(network, activation)
