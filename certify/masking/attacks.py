"""The attacks of the masking check, each on the same images within the same radius."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from robcert.certify.attacks import (
    NORMS,
    fgsm,
    hopskipjump,
    label_search,
    multi_targeted,
    noise_search,
    pgd,
    square,
    transfer,
    transfer_start,
    unbounded,
)
from robcert.certify.core import Batch
from robcert.certify.numerics import Direction, Loss, StepRule, generator, maximise, point_in_ball

from .views import (
    LARGER,
    SMALLER,
    answers_differ,
    as_shipped,
    averaged,
    judged_by_mean,
    logits_inside_graph,
    mostly_wrong,
    noise_averaged_gradient,
    rescaled,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from robcert.certify.attacks import Found
    from robcert.certify.model import Classifier
    from robcert.certify.session import Columns

    from .settings import MaskingSettings


Attack = Callable[[], "Found"]
"""An attack that has not been run yet."""

SEARCH_SHARE = 0.1
"""Share of the image that the first squares of the score search cover: small ones, with which the
indicators' thresholds were found."""


@dataclass(frozen=True, slots=True)
class Attacks:
    """One batch under attack.

    Attributes:
        classifier: the model; where it answers at random, the mean of several draws.
        plain: what an attack without knowledge of masking sees: the gradient of one draw.
        drawn: the model itself where it answers at random, to judge successes by; else None.
    """

    classifier: Classifier
    plain: Classifier
    drawn: Classifier | None
    batch: Batch
    settings: MaskingSettings
    seed: int

    @classmethod
    def on(
        cls, classifier: Classifier, batch: Batch, settings: MaskingSettings, seed: int
    ) -> Attacks:
        """The attacks on ``batch``; where the model answers at random, on its average."""
        random = classifier.info.random or bool(answers_differ(classifier, batch).any())
        if not random:
            return cls(classifier, classifier, None, batch, settings, seed)
        model, plain = (make(classifier, settings.draws) for make in (averaged, judged_by_mean))
        return cls(model, plain, classifier, batch, settings, seed)

    def without_gradients(self) -> dict[str, Attack]:
        """Attacks that only ask the runtime, by the column they fill."""
        settings, model, batch = self.settings, self.classifier, self.batch
        common = {**self._ball, "seed": self.seed}
        found: dict[str, Attack] = {
            "noise": lambda: noise_search(model, batch, draws=settings.noise_draws, **common),
            "search": lambda: square(
                model, batch, queries=settings.queries, first_share=SEARCH_SHARE, **common
            ),
            "label_search": lambda: label_search(model, batch, queries=settings.queries, **common),
        }
        if settings.decision_queries and settings.norm in NORMS:
            queries = settings.decision_queries
            found["hopskipjump"] = lambda: hopskipjump(
                model, batch, queries=queries, first_draws=max(10, queries // 30), **common
            )
        return found

    def by_transfer(self, sources: tuple[Classifier, ...]) -> dict[str, Attack]:
        """What breaks some other model, and searches that begin there; none without a source."""
        settings, model, batch = self.settings, self.classifier, self.batch
        common = {**self._ball, "seed": self.seed, "steps": settings.steps}
        sources = tuple(source for source in sources if source.differentiable)
        if not sources:
            return {}
        return {
            "transfer": lambda: _any_of(
                [transfer(source, model, batch, **common) for source in sources]
            ),
            "transfer_start": lambda: transfer_start(
                sources[0], model, batch, queries=settings.queries, **common
            ),
        }

    def long_search(self, sources: tuple[Classifier, ...]) -> Found:
        """Searches by scores, from transferred images and by labels, with many more questions.

        Where the model answers at random each question is several, and there are fewer.
        """
        model, queries = self.classifier, self.settings.long_queries
        if self.drawn is not None:
            queries = max(1, queries // self.settings.draws)
        common = {**self._ball, "queries": queries, "seed": self.seed + 1}
        found = [square(model, self.batch, **common)]
        found += [
            transfer_start(source, model, self.batch, steps=self.settings.steps, **common)
            for source in sources[:1]
            if source.differentiable
        ]
        found.append(label_search(model, self.batch, **common))
        return _any_of(found)

    def on_rows(self, rows: Tensor) -> Attacks:
        """The same attacks on some images ``rows (b,)`` of the batch."""
        batch = self.batch
        some = Batch(batch.index[rows.cpu().numpy()], batch.x[rows], batch.y[rows])
        return replace(self, batch=some)

    def by_gradient(self) -> dict[str, Attack]:
        """Attacks that follow the twin's gradient, by the column they fill."""
        settings, model, batch = self.settings, self.classifier, self.batch
        smooth = noise_averaged_gradient(model, settings, self.seed)
        inside = logits_inside_graph(model)
        found: dict[str, Attack] = {
            "fgsm": lambda: fgsm(model, batch, **self._ball),
            "pgd_file": lambda: self._ascend(as_shipped(self.plain), Loss.CE),
            "pgd_ce": lambda: self._ascend(model, Loss.CE),
            "pgd_wide": lambda: self._ascend(model, Loss.CE, epsilon=2 * settings.epsilon),
            "pgd_small_logits": lambda: self._ascend(rescaled(model, SMALLER), Loss.CE),
            "pgd_large_logits": lambda: self._ascend(rescaled(model, LARGER), Loss.CE),
            "pgd_margin": lambda: self._ascend(model, Loss.MARGIN, restarts=settings.restarts),
            "multi_targeted": lambda: multi_targeted(
                model,
                batch,
                targets=settings.targets,
                steps=settings.steps,
                seed=self.seed,
                **self._ball,
            ),
            "averaged": lambda: self._ascend(smooth, Loss.MARGIN),
            "unbounded": lambda: unbounded(
                model, batch, steps=settings.unbounded_steps, seed=self.seed
            ),
        }
        if inside is not None:
            found["inner"] = lambda: self._ascend(inside, Loss.MARGIN, restarts=settings.restarts)
        return found

    def at_strengths(self) -> Columns:
        """Whether PGD breaks each image at the radii of the settings ``(b, strength)``.

        As shipped on cross-entropy, and on the margin.
        """
        model, naive = self.classifier, as_shipped(self.plain)
        radii = [factor * self.settings.epsilon for factor in self.settings.strengths]
        return {
            name: np.stack(
                [self.succeeds(self._ascend(target, loss, epsilon=radius)) for radius in radii], 1
            )
            for name, target, loss in (
                ("naive_at", naive, Loss.CE),
                ("margin_at", model, Loss.MARGIN),
            )
        }

    def succeeds(self, found: Found) -> NDArray[np.int8]:
        """1 where ``found`` stands up, by fresh draws where the model answers at random."""
        broken = found.found
        if self.drawn is not None:
            y, draws = self.batch.y, 2 * self.settings.draws
            broken = broken & mostly_wrong(self.drawn, found.x_adv, y, draws)
        return broken.to(torch.int8).cpu().numpy()

    @property
    def _ball(self) -> dict[str, Any]:
        return {"norm": self.settings.norm, "epsilon": self.settings.epsilon}

    def _ascend(self, target: Classifier, loss: Loss, **more: Any) -> Found:
        common = {**self._ball, "seed": self.seed, "steps": self.settings.steps}
        return pgd(target, self.batch, **{**common, "loss": loss, **more})


def _any_of(several: list[Found]) -> Found:
    """The first of ``several`` that found something, image by image."""
    merged = several[0]
    for other in several[1:]:
        take = other.found & ~merged.found
        merged = replace(
            merged,
            found=merged.found | other.found,
            x_adv=torch.where(take.view(-1, 1, 1, 1), other.x_adv, merged.x_adv),
        )
    return merged


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
