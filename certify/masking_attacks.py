"""The attacks of the masking check, each on the same images within the same radius."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from .ascent import Direction, StepRule, maximise
from .attacks.label_search import label_search
from .attacks.noise import noise_search
from .attacks.pgd import fgsm, multi_targeted, pgd, unbounded
from .attacks.square import square
from .attacks.transfer import transfer
from .masking_draws import mostly_wrong
from .masking_views import LARGER, SMALLER, as_shipped, rescaled
from .objectives import Loss
from .sampling import generator, point_in_ball

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from .attacks.hunt import Found
    from .classifier import Classifier
    from .core import Batch
    from .masking_evidence import MaskingSettings
    from .session import Rows


@dataclass(frozen=True, slots=True)
class Attacks:
    """One batch under attack.

    Attributes:
        classifier: the model; where it answers at random, the mean of several draws.
        plain: what somebody attacks who knows of no masking: the gradient of one draw.
        drawn: the model itself where it answers at random, to judge successes by; else None.
    """

    classifier: Classifier
    plain: Classifier
    drawn: Classifier | None
    batch: Batch
    settings: MaskingSettings
    seed: int

    def without_gradients(self) -> Rows:
        """Columns of the attacks that only ask the runtime."""
        settings, common = self.settings, {**self._ball, "seed": self.seed}
        noise = noise_search(self.classifier, self.batch, draws=settings.noise_draws, **common)
        scores = square(self.classifier, self.batch, queries=settings.queries, **common)
        labels = label_search(self.classifier, self.batch, queries=settings.queries, **common)
        return {
            "noise": self._succeeds(noise),
            "search": self._succeeds(scores),
            "label_search": self._succeeds(labels),
        }

    def by_transfer(self, sources: tuple[Classifier, ...]) -> Rows:
        """Column of the images that break by what breaks some other model; none without one."""
        common = {**self._ball, "seed": self.seed, "steps": self.settings.steps}
        found = [
            self._succeeds(transfer(source, self.classifier, self.batch, **common))
            for source in sources
            if source.differentiable
        ]
        if not found:
            return {}
        broken = found[0]
        for other in found[1:]:
            broken = broken | other
        return {"transfer": broken}

    def by_gradient(self) -> Rows:
        """Columns of the attacks that follow the twin's gradient."""
        settings, batch, model = self.settings, self.batch, self.classifier
        common = {**self._ball, "seed": self.seed, "steps": settings.steps}

        def climb(target: Classifier, loss: Loss, **more: Any) -> Found:
            return pgd(target, batch, **{**common, "loss": loss, **more})

        wide = 2 * settings.epsilon
        found = {
            "fgsm": fgsm(model, batch, **self._ball),
            "pgd_file": climb(as_shipped(self.plain), Loss.CE),
            "pgd_ce": climb(model, Loss.CE),
            "pgd_wide": climb(model, Loss.CE, epsilon=wide),
            "pgd_small_logits": climb(rescaled(model, SMALLER), Loss.CE),
            "pgd_large_logits": climb(rescaled(model, LARGER), Loss.CE),
            "pgd_margin": climb(model, Loss.MARGIN, restarts=settings.restarts),
            "multi_targeted": multi_targeted(model, batch, targets=settings.targets, **common),
            "unbounded": unbounded(model, batch, steps=settings.unbounded_steps, seed=self.seed),
        }
        return {name: self._succeeds(one) for name, one in found.items()}

    @property
    def _ball(self) -> dict[str, Any]:
        return {"norm": self.settings.norm, "epsilon": self.settings.epsilon}

    def _succeeds(self, found: Found) -> NDArray[np.int8]:
        broken = found.found
        if self.drawn is not None:
            y, draws = self.batch.y, 2 * self.settings.draws
            broken = broken & mostly_wrong(self.drawn, found.x_adv, y, draws)
        return broken.to(torch.int8).cpu().numpy()


def one_step_from_random(
    classifier: Classifier, batch: Batch, settings: MaskingSettings, seed: int
) -> Tensor:
    """The images of SOAR's PGD1: a random start and one step of 2/8 of the radius on CE."""
    start = random_point(batch, settings, seed) - batch.x
    climbed = maximise(
        lambda delta: Loss.CE.of(classifier.twin_logits(batch.x + delta), batch.y),
        batch.x,
        norm=settings.norm,
        epsilon=settings.epsilon,
        steps=1,
        rule=StepRule(Direction.steepest(settings.norm), 0.25, relative=True),
        start=start,
        box=True,
    )
    return (batch.x + climbed.last_delta).clamp(0, 1)


def random_point(batch: Batch, settings: MaskingSettings, seed: int) -> Tensor:
    """One point of the ball around each image, kept in the pixel box ``(b, c, h, w)``."""
    shape = tuple(batch.x.shape[1:])
    noise = [
        point_in_ball(
            settings.norm,
            settings.epsilon,
            shape,
            generator=generator(seed, "masking/random", int(index)),
        )
        for index in batch.index
    ]
    return (batch.x + torch.stack(noise).to(batch.x.device)).clamp(0, 1)
