"""`robcert smoothing attack`: attacked distances of the smoothed classifier, and their summary."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch

from robcert.certify.core import Batch
from robcert.certify.errors import (
    InvalidParameterError,
    require_at_least,
    require_open_unit,
    require_positive,
)
from robcert.certify.model import require_gradients
from robcert.certify.numerics import NOISE_BLOCK
from robcert.certify.stats import Proportion, proportion
from robcert.certify.store import plain

from .certificate import ABSTAIN
from .nearest import GradientNoise, nearest_candidates
from .procedures import sequential_prediction
from .rules import PredictionRule
from .sampler import ImageTask, Sampler
from .schema import SMOOTHING_ATTACK
from .sequential import Schedule
from .settings import prediction_rule
from .undefined import RULE

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from robcert.certify.core import Profile
    from robcert.certify.session import Columns, Session
    from robcert.certify.store import ResultStore

    from .procedures import Outcome
    from .rules import Rule


__all__ = ["SmoothingAttackSettings", "SmoothingAttackSummary", "analyse", "summarise"]

EXTENSIONS = (0.0, 0.03, 0.08, 0.2, 0.5)
"""Lengths added to a candidate for its re-checks, in units of sigma."""

BISECTIONS = 8
"""Bisection steps of a candidate's length."""

NOISY_VALUES = 2**24
"""Pixel values of all noisy copies per gradient step."""


@dataclass(frozen=True, slots=True)
class SmoothingAttackSettings:
    """Everything that changes an attacked distance.

    Attributes:
        sigma: standard deviation of the noise, in pixel units of [0, 1].
        steps: gradient steps.
        draws: noisy copies in each step.
        votes: draws per bisection step of the distance.
        n: most draws that establish a class.
        alpha: probability that a reported class (of the image or of the attacked image) is not the
            smoothed classifier's.
        undefined: what a draw without a class (NaN scores) counts for.
    """

    sigma: float = 0.25
    steps: int = 60
    draws: int = 16
    votes: int = 512
    n: int = 20_000
    alpha: float = 0.001
    undefined: str = RULE

    @classmethod
    def of_profile(cls, profile: Profile) -> Self:
        """Settings of a profile; fields that it does not change keep their defaults."""
        changed = {
            "quick": cls(steps=30, draws=8, n=5000),
            "thorough": cls(steps=150, draws=32),
        }
        return changed.get(profile, cls())

    def __post_init__(self) -> None:
        require_positive("sigma", self.sigma)
        require_open_unit("alpha", self.alpha)
        for name in ("steps", "draws", "votes", "n"):
            require_at_least(name, getattr(self, name), 1)
        if self.draws > NOISE_BLOCK:
            message = f"draws must be at most {NOISE_BLOCK}, got {self.draws}"
            raise InvalidParameterError(message)


def analyse(
    session: Session, settings: SmoothingAttackSettings, *, batch_size: int | None = None
) -> str:
    """Path of the table with an attacked distance for each image of the session.

    Raises:
        TwinUnavailableError: the model has no gradient.
    """
    require_gradients(session.classifier)
    group = session.store.group(
        SMOOTHING_ATTACK,
        prefix=f"sigma-{settings.sigma:g}",
        settings=settings,
        seed=session.seed,
        sizes={"class": session.classifier.num_classes},
    )
    session.fill(group, "smoothing attack", _Attack(session, settings, batch_size).rows)
    return group.path


class _Attack:
    """Attack on the images of a batch: reference class, search, bisection, re-check."""

    def __init__(
        self, session: Session, settings: SmoothingAttackSettings, batch_size: int | None
    ) -> None:
        self.session = session
        self.settings = settings
        self.batch_size = batch_size

    def rows(self, batch: Batch) -> Columns:
        """Columns of the batch."""
        alpha = self.settings.alpha / 2  # half for the image's class, half for the attacked one's
        own = self._established(batch.index, batch.x, "reference", alpha)
        reference = np.array([own[i].prediction for i in batch.index.tolist()])
        rows = _blank(self.session.classifier.num_classes, reference)
        decided = np.flatnonzero(reference != ABSTAIN)
        if len(decided) == 0:
            return rows
        y = torch.from_numpy(reference[decided]).to(batch.x.device)
        attacked = Batch(batch.index[decided], batch.x[decided], y)
        delta = torch.cat([self._candidates(part) for part in self._parts(attacked)])
        found = np.flatnonzero(_lengths(delta) > 0)
        if len(found):
            targets = attacked.part(found)
            delta = delta[found] * self._shortest(targets, delta[found]).view(-1, 1, 1, 1)
            rows["candidate"][decided[found]] = _lengths(delta)
            self._recheck(targets, delta, rows, decided[found], alpha / len(EXTENSIONS))
        return rows

    def _parts(self, batch: Batch) -> list[Batch]:
        """Parts of ``batch`` whose noisy copies fit into memory."""
        size = max(1, NOISY_VALUES // (self.settings.draws * batch.x[0].numel()))
        rows = np.arange(len(batch))
        return [batch.part(rows[first : first + size]) for first in rows[::size]]

    def _candidates(self, batch: Batch) -> Tensor:
        sigma = self.settings.sigma
        return nearest_candidates(
            self.session.classifier,
            batch,
            GradientNoise(sigma, self.settings.draws, self.session.seed),
            steps=self.settings.steps,
            start=torch.full((len(batch),), sigma),
        )

    def _recheck(
        self, batch: Batch, delta: Tensor, rows: Columns, where: NDArray[np.int64], alpha: float
    ) -> None:
        """Fill the rows at ``where``: each candidate is lengthened until its class is established.

        Every attempt has its own noise and its own part of alpha.
        """
        for attempt, extra in enumerate(EXTENSIONS):
            factor = 1 + extra * self.settings.sigma / torch.from_numpy(_lengths(delta)).to(delta)
            x = (batch.x + factor.view(-1, 1, 1, 1) * delta).clamp(0, 1)
            found = self._established(batch.index, x, f"recheck-{attempt}", alpha)
            outcomes = [found[i] for i in batch.index.tolist()]
            classes = np.array([outcome.prediction for outcome in outcomes])
            moved = (classes != ABSTAIN) & (classes != batch.y.cpu().numpy())
            rows_moved = where[moved]
            if len(rows_moved):
                chosen = [one for one, yes in zip(outcomes, moved, strict=True) if yes]
                rows["distance"][rows_moved] = _lengths(x - batch.x)[moved]
                rows["success"][rows_moved] = 1
                rows["prediction"][rows_moved] = classes[moved]
                rows["n_recheck"][rows_moved] = [one.verdict.n_used for one in chosen]
                rows["counts"][rows_moved] = [one.path[-1] for one in chosen]
            left = np.flatnonzero(~moved)
            if len(left) == 0:
                return
            batch, delta, where = batch.part(left), delta[left], where[left]

    def _shortest(self, batch: Batch, delta: Tensor) -> Tensor:
        """Smallest factors ``(b,)`` at which the votes still prefer another class."""
        low = torch.zeros(len(batch), device=delta.device)
        high = torch.ones(len(batch), device=delta.device)
        for bisection in range(BISECTIONS):
            middle = (low + high) / 2
            x = batch.x + middle.view(-1, 1, 1, 1) * delta
            counts = self._votes(batch.index, x, f"halving-{bisection}")
            votes = torch.from_numpy(np.stack([counts[i] for i in batch.index.tolist()]))
            leading, most = votes.argmax(1).to(batch.y), votes.amax(1).to(batch.y)
            other = (leading != batch.y) & (most > 0)  # all draws may have voted for no class
            high = torch.where(other, middle, high)
            low = torch.where(other, low, middle)
        return high

    def _established(
        self, indices: NDArray[np.int64], x: Tensor, stream: str, alpha: float
    ) -> dict[int, Outcome]:
        rule = prediction_rule(n=self.settings.n, alpha=alpha)
        return self._run(indices, x, f"smoothing/attack/{stream}", rule)

    def _votes(
        self, indices: NDArray[np.int64], x: Tensor, stream: str
    ) -> dict[int, NDArray[np.int64]]:
        rule = PredictionRule(Schedule((self.settings.votes,), (0.5,)))
        found = self._run(indices, x, f"smoothing/attack/{stream}", rule)
        return {index: outcome.path[-1] for index, outcome in found.items()}

    def _run(
        self, indices: NDArray[np.int64], x: Tensor, stream: str, rule: Rule
    ) -> dict[int, Outcome]:
        sampler = Sampler(
            self.session.classifier,
            sigma=self.settings.sigma,
            seed=self.session.seed,
            batch_size=self.batch_size,
        )
        tasks = [
            ImageTask(index, one, sequential_prediction(rule, stream=stream))
            for index, one in zip(indices.tolist(), x, strict=True)
        ]
        found = {
            int(index): outcome
            for finished in sampler.run(tasks)
            for index, outcome in zip(finished.indices, finished.outcomes, strict=True)
        }
        if sampler.failed:
            raise next(iter(sampler.failed.values()))
        return found


def _blank(classes: int, reference: NDArray[np.int64]) -> Columns:
    n = len(reference)
    return {
        "reference": reference,
        "distance": np.where(reference == ABSTAIN, np.nan, np.inf),
        "success": np.zeros(n, np.int64),
        "prediction": np.full(n, ABSTAIN),
        "candidate": np.full(n, np.nan),
        "n_recheck": np.zeros(n, np.int64),
        "counts": np.full((n, classes), -1),
    }


def _lengths(x: Tensor) -> NDArray[np.float64]:
    """l2 norms ``(b,)`` in float64."""
    return np.asarray(x.flatten(1).double().norm(dim=1).cpu().numpy())


@dataclass(frozen=True, slots=True)
class RobustShare:
    """Share of images whose smoothed class no attack changed within ``epsilon`` (l2)."""

    epsilon: float
    value: float
    lower: float
    upper: float


@dataclass(frozen=True, slots=True)
class SmoothingAttackSummary:
    """Numbers of one attack on the smoothed classifier.

    Attributes:
        n: images whose own smoothed class is established.
        undecided: images without an established class; they are not attacked.
        success: share of the n images moved to another established class.
        median_distance: median l2 distance over the n images; infinite if most were not moved.
        robust_accuracy: shares of images that were not moved, by distance.
        guarantee: what a distance guarantees.
    """

    n: int
    undecided: int
    success: Proportion
    median_distance: float
    robust_accuracy: tuple[RobustShare, ...]
    guarantee: str

    def to_json(self) -> dict[str, Any]:
        """The summary as plain JSON values."""
        return dict(plain(self))


def summarise(store: ResultStore, key: str) -> SmoothingAttackSummary:
    """Summary of the table at path ``key``, from the file alone."""
    group = store.at(key)
    indices = group.indices
    indices = indices[group.computed(indices)]
    known = group.column("reference", indices) != ABSTAIN
    distance = group.column("distance", indices)[known]
    n = int(known.sum())
    settings = group.settings
    level = 1 - settings["alpha"]
    return SmoothingAttackSummary(
        n=n,
        undecided=int((~known).sum()),
        success=proportion(int(np.isfinite(distance).sum()), n),
        median_distance=float(np.median(distance)) if n else float("nan"),
        robust_accuracy=tuple(
            _robust_share(distance, epsilon) for epsilon in (0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
        ),
        guarantee=(
            f"For each image separately, with probability at least {level:g} over the noise that "
            "robcert drew, the smoothed classifier (the model under unclipped Gaussian noise of "
            f"σ = {settings['sigma']:g} in pixel units) gives the attacked image another class "
            "than the image: its certified radius there is at most the distance."
        ),
    )


def _robust_share(distance: NDArray[np.float64], epsilon: float) -> RobustShare:
    share = proportion(int((distance > epsilon).sum()), len(distance))
    return RobustShare(epsilon, share.value, share.lower, share.upper)
