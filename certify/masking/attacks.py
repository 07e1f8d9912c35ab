"""The attacks of the masking check, each on the same images within the same radius."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from robcert.certify.attacks import (
    NORMS,
    PgdConfig,
    TransferStartConfig,
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
from robcert.certify.core import Ball, Batch
from robcert.certify.numerics import (
    AscentConfig,
    Direction,
    Loss,
    StepRule,
    generator,
    maximise,
    point_in_ball,
)

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


PendingAttack = Callable[[], "Found"]
"""An attack that has not been run yet."""

SEARCH_SHARE = 0.1
"""Share of the image that the first squares of the score search cover. They are small: the
thresholds of the indicators were chosen with it."""


@dataclass(frozen=True, slots=True)
class AttackPlan:
    """The attacks of the check on one batch.

    Attributes:
        classifier: the model; if its outputs are random, the mean of several draws.
        plain: model for an attack that ignores masking: the gradient of one draw.
        drawn: the model itself if its outputs are random, for the check of successes; else None.
        batch: images.
        settings: settings of the check.
        seed: seed of the run.
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
    ) -> AttackPlan:
        """The attacks on ``batch``; if the model's outputs are random, on its average."""
        random = classifier.info.random or bool(answers_differ(classifier, batch).any())
        if not random:
            return cls(classifier, classifier, None, batch, settings, seed)
        model, plain = (make(classifier, settings.draws) for make in (averaged, judged_by_mean))
        return cls(model, plain, classifier, batch, settings, seed)

    def without_gradients(self) -> dict[str, PendingAttack]:
        """Attacks that use the runtime alone, by the column they fill."""
        settings, model, batch = self.settings, self.classifier, self.batch
        ball, seed = self._ball, self.seed
        found: dict[str, PendingAttack] = {
            "noise": lambda: noise_search(
                model, batch, ball, draws=settings.noise_draws, seed=seed
            ),
            "search": lambda: square(
                model,
                batch,
                ball,
                queries=settings.queries,
                first_share=SEARCH_SHARE,
                seed=seed,
            ),
            "label_search": lambda: label_search(
                model, batch, ball, queries=settings.queries, seed=seed
            ),
        }
        if settings.decision_queries and settings.norm in NORMS:
            queries = settings.decision_queries
            found["hopskipjump"] = lambda: hopskipjump(
                model, batch, ball, queries=queries, first_draws=max(10, queries // 30), seed=seed
            )
        return found

    def by_transfer(self, sources: tuple[Classifier, ...]) -> dict[str, PendingAttack]:
        """Adversarial images of other models, and searches that start at them, by column.

        Empty without a source.
        """
        settings, model, batch = self.settings, self.classifier, self.batch
        ball, seed = self._ball, self.seed
        sources = tuple(source for source in sources if source.differentiable)
        if not sources:
            return {}
        return {
            "transfer": lambda: _any_of(
                [
                    transfer(source, model, batch, ball, steps=settings.steps, seed=seed)
                    for source in sources
                ]
            ),
            "transfer_start": lambda: transfer_start(
                sources[0],
                model,
                batch,
                ball,
                TransferStartConfig(settings.steps, settings.queries),
                seed=seed,
            ),
        }

    def long_search(self, sources: tuple[Classifier, ...]) -> Found:
        """Searches by scores, from transferred images and by labels, with many more queries.

        If the model's outputs are random a query takes several forward passes, so there are fewer.
        """
        model, queries = self.classifier, self.settings.long_queries
        if self.drawn is not None:
            queries = max(1, queries // self.settings.draws)
        ball, seed = self._ball, self.seed + 1
        config = TransferStartConfig(self.settings.steps, queries)
        found = [square(model, self.batch, ball, queries=queries, seed=seed)]
        found += [
            transfer_start(source, model, self.batch, ball, config, seed=seed)
            for source in sources[:1]
            if source.differentiable
        ]
        found.append(label_search(model, self.batch, ball, queries=queries, seed=seed))
        return _any_of(found)

    def on_rows(self, rows: Tensor) -> AttackPlan:
        """The same attacks on some images ``rows (b,)`` of the batch."""
        batch = self.batch
        some = Batch(batch.index[rows.cpu().numpy()], batch.x[rows], batch.y[rows])
        return replace(self, batch=some)

    def by_gradient(self) -> dict[str, PendingAttack]:
        """Attacks that follow the twin's gradient, by the column they fill."""
        settings, model, batch = self.settings, self.classifier, self.batch
        smooth = noise_averaged_gradient(model, settings, self.seed)
        inside = logits_inside_graph(model)
        found: dict[str, PendingAttack] = {
            "fgsm": lambda: fgsm(model, batch, self._ball),
            "pgd_file": lambda: self._ascend(as_shipped(self.plain), Loss.CE),
            "pgd_ce": lambda: self._ascend(model, Loss.CE),
            "pgd_wide": lambda: self._ascend(model, Loss.CE, epsilon=2 * settings.epsilon),
            "pgd_small_logits": lambda: self._ascend(rescaled(model, SMALLER), Loss.CE),
            "pgd_large_logits": lambda: self._ascend(rescaled(model, LARGER), Loss.CE),
            "pgd_margin": lambda: self._ascend(model, Loss.MARGIN, restarts=settings.restarts),
            "multi_targeted": lambda: multi_targeted(
                model,
                batch,
                self._ball,
                PgdConfig(settings.steps),
                targets=settings.targets,
                seed=self.seed,
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
        """1 where an attack succeeded; if outputs are random, by the majority of new draws."""
        broken = found.found
        if self.drawn is not None:
            y, draws = self.batch.y, 2 * self.settings.draws
            broken = broken & mostly_wrong(self.drawn, found.x_adv, y, draws)
        return broken.to(torch.int8).cpu().numpy()

    @property
    def _ball(self) -> Ball:
        return Ball(self.settings.norm, self.settings.epsilon)

    def _ascend(
        self,
        target: Classifier,
        loss: Loss,
        *,
        epsilon: float | None = None,
        restarts: int = 1,
    ) -> Found:
        ball = Ball(self.settings.norm, self.settings.epsilon if epsilon is None else epsilon)
        config = PgdConfig(self.settings.steps, loss=loss, restarts=restarts)
        return pgd(target, self.batch, ball, config, seed=self.seed)


def _any_of(several: list[Found]) -> Found:
    """For each image the first of ``several`` results that has an adversarial image."""
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
    rule = StepRule(Direction.steepest(settings.norm), 0.25, relative=True)
    ascent = maximise(
        lambda delta: Loss.CE.of(classifier.twin_logits(batch.x + delta), batch.y),
        batch.x,
        Ball(settings.norm, settings.epsilon),
        AscentConfig(1, rule),
        initial_perturbation=start,
    )
    return (batch.x + ascent.last_delta).clamp(0, 1)


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
