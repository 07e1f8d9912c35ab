"""`robcert smoothing predict`: predictions of the smoothed classifier, sampled sequentially."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from robcert.certify.errors import require_at_least, require_open_unit, require_positive
from robcert.certify.stats import Proportion, proportion
from robcert.certify.store import plain

from .analysis import run
from .certificate import ABSTAIN
from .procedures import PREDICTION, sequential_prediction
from .sampler import Sampler
from .schema import SMOOTHING_PREDICTION
from .sequential import StopReason
from .settings import prediction_rule
from .undefined import RULE, note_reason, undefined_warnings

if TYPE_CHECKING:
    from robcert.certify.core import Profile
    from robcert.certify.session import Columns, Session
    from robcert.certify.store import ResultStore

    from .sampler import Finished


@dataclass(frozen=True, slots=True)
class PredictionSettings:
    """Everything that changes a prediction.

    Attributes:
        sigma: standard deviation of the noise, in pixel units of [0, 1].
        n: most draws per image.
        alpha: probability that a class is returned that is not the smoothed classifier's.
        undefined: what a draw without a class counts for.
    """

    sigma: float = 0.25
    n: int = 100_000
    alpha: float = 0.001
    undefined: str = RULE

    @classmethod
    def of_profile(cls, profile: Profile) -> Self:
        """Settings of a profile; fields that it does not change keep their defaults."""
        changed = {
            "quick": cls(n=2000),
        }
        return changed.get(profile, cls())

    def __post_init__(self) -> None:
        require_positive("sigma", self.sigma)
        require_open_unit("alpha", self.alpha)
        require_at_least("n", self.n, 1)


@dataclass(frozen=True, slots=True)
class PredictionSummary:
    """Numbers of one prediction run.

    Attributes:
        accuracy: share predicted correctly (abstentions count as errors); None without labels.
        abstained: share without a prediction.
        mean_samples: mean draws per image.
        guarantee: what a prediction guarantees.
        warnings: limitations of the numbers.
    """

    accuracy: Proportion | None
    abstained: float
    mean_samples: float
    guarantee: str
    warnings: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The summary as plain JSON values."""
        return dict(plain(self))


def analyse(
    session: Session, settings: PredictionSettings, *, batch_size: int | None = None
) -> str:
    """Path of the table with the prediction of each image of the session."""
    group = session.store.group(
        SMOOTHING_PREDICTION,
        prefix=f"sigma-{settings.sigma:g}",
        settings=settings,
        seed=session.seed,
        sizes={"class": session.classifier.num_classes},
    )
    group.set_attributes(
        stop_reasons={str(int(reason)): reason.name.lower() for reason in StopReason}
    )

    def sampler() -> Sampler:
        return Sampler(
            session.classifier,
            sigma=settings.sigma,
            seed=session.seed,
            batch_size=batch_size,
            deadline=session.deadline,
        )

    rule = prediction_rule(n=settings.n, alpha=settings.alpha)
    run(session, group, sampler, lambda _: sequential_prediction(rule), _rows)
    note_reason(session, group, sigma=settings.sigma, stream=PREDICTION)
    return group.path


def summarise(store: ResultStore, key: str) -> PredictionSummary:
    """Summary of the prediction table at path ``key``, from the file alone."""
    group = store.at(key)
    indices = group.indices
    indices = indices[group.computed(indices)]
    labels = store.labels[store.rows(indices)]
    predicted = group.column("prediction", indices)
    labelled = len(labels) > 0 and bool((labels >= 0).all())
    settings = group.settings
    return PredictionSummary(
        accuracy=proportion(int((predicted == labels).sum()), len(labels)) if labelled else None,
        abstained=float((predicted == ABSTAIN).mean()) if len(labels) else float("nan"),
        mean_samples=float(group.column("n_used", indices).mean()) if len(labels) else float("nan"),
        guarantee=(
            "For each image separately, with probability at least "
            f"{1 - settings['alpha']:g} over the noise that robcert drew, the given class (if any) "
            "is the most probable class of the model under unclipped Gaussian noise of "
            f"σ = {settings['sigma']:g} in pixel units."
        ),
        warnings=undefined_warnings(group, indices),
    )


def _rows(finished: Finished) -> Columns:
    outcomes = finished.outcomes
    return {
        "prediction": np.array([outcome.prediction for outcome in outcomes]),
        "n_used": np.array([outcome.verdict.n_used for outcome in outcomes]),
        "counts": np.stack([outcome.path[-1] for outcome in outcomes]),
        "stop_reason": np.array([int(outcome.verdict.reason) for outcome in outcomes]),
    }
