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
    SquareConfig,
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
    verified,
)
from robcert.certify.core import Ball, Batch, Norm
from robcert.certify.numerics import (
    AscentConfig,
    Direction,
    Loss,
    StepRule,
    generator,
    maximise,
    point_of_each,
)

from .random_outputs import ascents, ascents_towards_classes, one_step
from .schema import NEEDLESS
from .trace import Trace, trace
from .views import (
    LARGER,
    SMALLER,
    answers_differ,
    as_shipped,
    averaged,
    judged_by_mean,
    logits_inside_graph,
    noise_averaged_gradient,
    rescaled,
    wrong_shares,
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

PlannedAttack = Callable[["AttackPlan"], "Found"]
"""An attack on the images of a plan."""

SEARCH_SHARE = 0.1
"""Share of the image that the first squares of the score search cover. They are small: the
thresholds of the indicators were chosen with it."""


@dataclass(frozen=True, slots=True)
class AttackPlan:
    """The attacks of the check on one batch.

    Attributes:
        classifier: the model; if its outputs are random, the mean of several draws.
        plain: model for an attack that ignores masking: the gradient of one draw.
        drawn: the model itself if its outputs are random, to judge where attacks end; else None.
        batch: images.
        settings: settings of the check.
        seed: seed of the run.
        sources: source models of transfer attacks.
    """

    classifier: Classifier
    plain: Classifier
    drawn: Classifier | None
    batch: Batch
    settings: MaskingSettings
    seed: int
    sources: tuple[Classifier, ...] = ()

    @classmethod
    def on(
        cls,
        classifier: Classifier,
        batch: Batch,
        settings: MaskingSettings,
        seed: int,
        sources: tuple[Classifier, ...] = (),
    ) -> AttackPlan:
        """The attacks on ``batch``; if the model's outputs are random, on its average.

        Sources without gradients are not used.
        """
        sources = tuple(source for source in sources if source.differentiable)
        random = classifier.info.random or bool(answers_differ(classifier, batch).any())
        if not random:
            return cls(classifier, classifier, None, batch, settings, seed, sources)
        model = averaged(classifier, settings.draws, settings.gradient_draws)
        plain = judged_by_mean(classifier, settings.draws)
        return cls(model, plain, classifier, batch, settings, seed, sources)

    def pending(self) -> dict[str, PendingAttack]:
        """All attacks but the long search, by the column they fill."""
        found = self._without_gradients() | self._by_transfer()
        return found | (self._by_gradient() if self.classifier.differentiable else {})

    def _without_gradients(self) -> dict[str, PendingAttack]:
        """Attacks that use the runtime alone, by the column they fill."""
        settings, model, batch = self.settings, self.classifier, self.batch
        ball, seed = self.ball, self.seed
        found: dict[str, PendingAttack] = {
            "noise": lambda: noise_search(
                model, batch, ball, draws=settings.noise_draws, seed=seed
            ),
            "search": lambda: square(
                model,
                batch,
                ball,
                SquareConfig(settings.queries, SEARCH_SHARE, early_stopping=True),
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

    def _by_transfer(self) -> dict[str, PendingAttack]:
        """Adversarial images of other models, and searches that start at them, by column.

        Empty without a source.
        """
        if not self.sources:
            return {}
        ball, seed, steps = self.ball, self.seed, self.settings.steps
        config = TransferStartConfig(steps, self.settings.queries, early_stopping=True)
        one_by_one: list[PlannedAttack] = [
            lambda at, source=source: transfer(  # type: ignore[misc]
                source, at.classifier, at.batch, ball, steps=steps, seed=seed
            )
            for source in self.sources
        ]
        return {
            "transfer": lambda: self.in_turn(one_by_one),
            "transfer_start": lambda: transfer_start(
                self.sources[0], self.classifier, self.batch, ball, config, seed=seed
            ),
        }

    def long_search(self) -> Found:
        """Searches by scores, from transferred images and by labels, with many more queries.

        The network inside the graph, without the layers that may hide its gradient, is a source
        too. If the model's outputs are random a query takes several forward passes, so there are
        fewer.
        """
        queries = self.settings.long_queries
        if self.drawn is not None:
            queries = max(1, queries // self.settings.draws)
        ball, seed = self.ball, self.seed + 1
        inside = logits_inside_graph(self.classifier)
        starts = [*([] if inside is None else [inside]), *self.sources[:1]]
        config = TransferStartConfig(self.settings.steps, queries)
        searches: list[PlannedAttack] = [
            lambda at, start=start: transfer_start(  # type: ignore[misc]
                start, at.classifier, at.batch, ball, config, seed=seed
            )
            for start in starts
        ]
        searches += [
            lambda at: square(at.classifier, at.batch, ball, SquareConfig(queries), seed=seed),
            lambda at: label_search(at.classifier, at.batch, ball, queries=queries, seed=seed),
        ]
        return self.in_turn(searches)

    def in_turn(self, attacks: list[PlannedAttack]) -> Found:
        """For each image the first success of ``attacks``; later ones run on the others only."""
        merged = attacks[0](self)
        for attack in attacks[1:]:
            left = (~merged.found).nonzero().flatten()
            if not len(left):
                break
            more = attack(self.on_rows(left))
            found, x_adv = merged.found.clone(), merged.x_adv.clone()
            found[left], x_adv[left] = more.found, more.x_adv
            merged = replace(merged, found=found, x_adv=x_adv)
        return merged

    def on_rows(self, rows: Tensor) -> AttackPlan:
        """The same attacks on some images ``rows (b,)`` of the batch."""
        batch = self.batch
        some = Batch(batch.index[rows.cpu().numpy()], batch.x[rows], batch.y[rows])
        return replace(self, batch=some)

    def traced(self) -> Trace:
        """The path of the first run of PGD on the margin."""
        return trace(
            self.classifier, self.batch, self.ball, steps=self.settings.steps, seed=self.seed
        )

    def on_margin(self, traced: Trace) -> Found:
        """PGD on the margin, whose first run is ``traced``."""
        restarts, model = self.settings.restarts, self.classifier
        if self.drawn is not None:
            return self.ascend(model, Loss.MARGIN, restarts=restarts)

        def first(at: AttackPlan) -> Found:
            return verified(model, at.batch, at.settings.norm, at.batch.x + traced.best_delta)

        def others(at: AttackPlan) -> Found:
            return at.ascend(model, Loss.MARGIN, restarts=restarts - 1, early_stopping=True)

        return self.in_turn([first, others] if restarts > 1 else [first])

    def _by_gradient(self) -> dict[str, PendingAttack]:
        """Attacks that follow the twin's gradient, by the column they fill."""
        settings, model = self.settings, self.classifier
        # each noisy copy is another draw anyway
        smooth = noise_averaged_gradient(self.plain, settings, self.seed)
        inside = logits_inside_graph(model)
        found: dict[str, PendingAttack] = {
            "fgsm": self._one_step,
            "pgd_file": lambda: self.ascend(as_shipped(self.plain), Loss.CE, draws=1),
            "pgd_ce": lambda: self.ascend(model, Loss.CE),
            "pgd_wide": lambda: self.ascend(model, Loss.CE, epsilon=2 * settings.epsilon),
            "pgd_small_logits": lambda: self.ascend(rescaled(model, SMALLER), Loss.CE),
            "pgd_large_logits": lambda: self.ascend(rescaled(model, LARGER), Loss.CE),
            "pgd_margin": lambda: self.on_margin(self.traced()),
            "multi_targeted": self._towards_classes,
            "averaged": lambda: self.ascend(smooth, Loss.MARGIN, early_stopping=True),
            "unbounded": self._unbounded,
        }
        if inside is not None:
            found["inner"] = lambda: self.ascend(inside, Loss.MARGIN, restarts=settings.restarts)
        return found

    def at_strengths(self, found: Columns) -> Columns:
        """Whether PGD breaks each image within the radii of the settings ``(b, strength)``.

        As shipped on cross-entropy, and on the margin. Balls are nested: an image that is broken
        within one radius takes no part in the search at larger ones, and one that is not in that at
        smaller ones. ``found`` has the outcomes within epsilon.
        """
        return {
            "naive_at": self._within_radii(
                lambda at, radius: at.ascend(
                    as_shipped(at.plain), Loss.CE, epsilon=radius, draws=1, early_stopping=True
                ),
                found["pgd_file"],
            ),
            "margin_at": self._within_radii(
                lambda at, radius: at.ascend(
                    at.classifier, Loss.MARGIN, epsilon=radius, early_stopping=True
                ),
                found["pgd_margin"],
            ),
        }

    def _within_radii(
        self, attack: Callable[[AttackPlan, float], Found], at_epsilon: NDArray[np.int8]
    ) -> NDArray[np.int8]:
        factors = self.settings.strengths
        outcome = np.zeros((len(self.batch), len(factors)), np.int8)
        needless, at_one = at_epsilon == NEEDLESS, at_epsilon == 1

        def found(rows: NDArray[np.bool_], factor: float) -> NDArray[np.bool_]:
            broken = np.zeros_like(rows)
            if rows.any():
                rest = self.on_rows(torch.from_numpy(np.flatnonzero(rows)).to(self.batch.x.device))
                broken[rows] = rest.succeeds(attack(rest, factor * self.settings.epsilon)) == 1
            return broken

        inner = outer = at_one
        for at in np.argsort(factors, kind="stable"):
            if factors[at] > 1:
                outer = outer | found(~outer & ~needless, factors[at])
            outcome[:, at] = outer | needless
        for at in np.argsort(factors, kind="stable")[::-1]:
            if factors[at] < 1:
                inner = found(inner & ~needless, factors[at])
                outcome[:, at] = inner | needless
        return outcome

    def succeeds(self, found: Found) -> NDArray[np.int8]:
        """1 where an attack succeeded; if outputs are random, by the majority of fresh draws."""
        shares = self.judged(found.x_adv)
        broken = found.found.cpu().numpy() if shares is None else shares.mean(1) > 0.5
        return broken.astype(np.int8)

    def judged(self, x: Tensor) -> NDArray[np.float64] | None:
        """Share of fresh draws that misclassify ``x``, in two halves; None without randomness."""
        if self.drawn is None:
            return None
        draws = self.settings.judging_draws
        return wrong_shares(self.drawn, x, self.batch.y, draws).cpu().numpy()

    @property
    def ball(self) -> Ball:
        """The ball of the attacks."""
        return Ball(self.settings.norm, self.settings.epsilon)

    def _one_step(self) -> Found:
        attack = fgsm if self.drawn is None else one_step
        return attack(self.classifier, self.batch, self.ball)

    def _towards_classes(self) -> Found:
        attack = multi_targeted if self.drawn is None else ascents_towards_classes
        config = PgdConfig(self.settings.steps, early_stopping=True)
        targets = self.settings.targets
        ball, seed = self.ball, self.seed
        return attack(self.classifier, self.batch, ball, config, targets=targets, seed=seed)

    def _unbounded(self) -> Found:
        model, batch, steps = self.classifier, self.batch, self.settings.unbounded_steps
        if self.drawn is None:
            return unbounded(model, batch, steps=steps, seed=self.seed)
        return ascents(model, batch, Ball(Norm.LINF, 1.0), PgdConfig(steps), seed=self.seed)

    def ascend(
        self,
        target: Classifier,
        loss: Loss,
        *,
        epsilon: float | None = None,
        restarts: int = 1,
        draws: int | None = None,
        early_stopping: bool = False,
    ) -> Found:
        """PGD on ``target``, whose gradient takes ``draws`` draws of a random model.

        With fewer draws it takes more steps, so that what averaging gains is not a matter of cost.
        """
        settings = self.settings
        ball = Ball(settings.norm, settings.epsilon if epsilon is None else epsilon)
        steps = settings.steps
        if self.drawn is not None and draws is not None:
            steps = steps * settings.gradient_draws // draws
        config = PgdConfig(steps, loss=loss, restarts=restarts, early_stopping=early_stopping)
        attack = pgd if self.drawn is None else ascents
        return attack(target, self.batch, ball, config, seed=self.seed)


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
    streams = (generator(seed, "masking/random", int(index)) for index in batch.index)
    shape = tuple(batch.x.shape[1:])
    noise = point_of_each(settings.norm, settings.epsilon, shape, streams)
    return (batch.x + noise.to(batch.x.device)).clamp(0, 1)
