"""`robcert linearity`: how far does the loss leave its tangent within epsilon of each image?"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core import Norm
from ..errors import TwinUnavailableError, require_at_least, require_positive
from ..linearity import Search, Sided, adam_rule, halving_rule, largest_deviation, tangent
from ..objectives import Loss
from ..results_json import plain
from ..schema import LINEARITY

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..ascent import StepRule
    from ..classifier import Classifier
    from ..core import Batch
    from ..session import Rows, Session
    from ..store import ResultStore

STREAM = "linearity"


class Steps(StrEnum):
    """How a gradient becomes a step of the search."""

    AUTO = "auto"  # Adam in linf, halving in l2 and l1
    ADAM = "adam"
    HALVING = "halving"
    BOTH = "both"  # in linf Adam from the first start and halving from the others


@dataclass(frozen=True, slots=True)
class LinearitySettings:
    """Everything that changes a row; the defaults are those of Qin et al. 2019.

    Attributes:
        norm: norm of the ball.
        epsilon: its radius, pixel units.
        loss: which loss.
        sided: which deviations count.
        steps: gradient steps of each restart.
        rule: how a gradient becomes a step.
        step_size: length of Adam's steps, pixel units.
        restarts: random starts.
    """

    norm: Norm = Norm.LINF
    epsilon: float = 8 / 255
    loss: Loss = Loss.CE
    sided: Sided = Sided.TWO
    steps: int = 50
    rule: Steps = Steps.AUTO
    step_size: float = 0.1
    restarts: int = 1

    def __post_init__(self) -> None:
        """Check the numbers."""
        require_positive("epsilon", self.epsilon)
        require_positive("step_size", self.step_size)
        require_at_least("steps", self.steps, 1)
        require_at_least("restarts", self.restarts, 1)

    @property
    def search(self) -> Search:
        """The search that these settings name; images stay in the pixel box."""
        norm = Norm(self.norm)
        return Search(
            norm,
            Sided(self.sided),
            self.steps,
            self._rule(norm),
            self.restarts,
            first_rule=self._first_rule(norm),
        )

    @property
    def gradient_passes(self) -> int:
        """Gradients that one image costs."""
        return 1 + self.search.n_gradients

    def _rule(self, norm: Norm) -> StepRule:
        adam = self.rule == Steps.ADAM or (self.rule == Steps.AUTO and norm is Norm.LINF)
        return adam_rule(self.step_size) if adam else halving_rule(norm, self.steps)

    def _first_rule(self, norm: Norm) -> StepRule | None:
        both = self.rule == Steps.BOTH and norm is Norm.LINF
        return adam_rule(self.step_size) if both else None


@dataclass(frozen=True, slots=True)
class Spread:
    """Mean, median, 95 % quantile and maximum over ``n`` images."""

    mean: float
    median: float
    q95: float
    max: float
    n: int


@dataclass(frozen=True, slots=True)
class ImpliedBound:
    r"""What gamma alone says of the change of the loss (Qin et al. 2019, Proposition C.2).

    An approximation, not a bound: the proposition's error of the Gauss-Newton model, which has no
    limit in general, is left out.

    Attributes:
        change: :math:`\sqrt{2 \gamma / p_y} + \gamma`, the largest change of the loss that it
            would allow within the ball.
        held_at_delta: share of images whose linear term at the perturbation of gamma is within
            the square root.
        held_in_ball: share of images where that of every perturbation in the ball is, which is
            epsilon times the gradient's dual norm at most.
    """

    change: Spread
    held_at_delta: float
    held_in_ball: float


@dataclass(frozen=True, slots=True)
class LinearitySummary:
    """What the search found.

    Attributes:
        norm: norm of the ball.
        epsilon: its radius, pixel units.
        loss: which loss was linearised.
        sided: which deviations counted.
        gamma: largest deviation found; a lower estimate.
        gamma_last: the same at the last iterate instead of the best.
        relative_gamma: median of gamma over epsilon times the gradient's dual norm, the largest
            change that the tangent allows: near 0 where the tangent tells the truth.
        linear_term: of the perturbations of gamma.
        gradient_dual_norm: of the gradients at the images.
        proposition_4_1_violations: images where the change of the loss exceeds linear term plus
            gamma by more than rounding; the proposition says none.
        proposition_4_1: largest change of the loss that it allows within the ball, epsilon times
            the gradient's dual norm plus gamma.
        proposition_c2: what the bound of the linear term by gamma alone gives, None unless the
            loss is cross-entropy.
        below_floor: share of images whose gamma is no larger than rounding.
        gradient_passes: gradients an image cost.
        warnings: what the reader must know.
        complete: whether every image asked for has its row.
    """

    norm: str
    epsilon: float
    loss: str
    sided: str
    gamma: Spread
    gamma_last: Spread
    relative_gamma: float
    linear_term: Spread
    gradient_dual_norm: Spread
    proposition_4_1_violations: int
    proposition_4_1: Spread
    proposition_c2: ImpliedBound | None
    below_floor: float
    gradient_passes: int
    warnings: tuple[str, ...]
    complete: bool

    def to_json(self) -> dict[str, Any]:
        """The same as plain JSON."""
        return dict(plain(asdict(self)))


def analyse(session: Session, settings: LinearitySettings) -> str:
    """Path of the table with each image's local linearity; rows that are there are kept.

    Raises:
        TwinUnavailableError: the model has no twin.
    """
    require_gradients(session.classifier)
    group = session.store.group(
        LINEARITY,
        prefix=f"{settings.norm}-{settings.epsilon:.4g}-{settings.loss}",
        settings=settings,
        seed=session.seed,
    )
    group.set_attributes(
        gradient_passes=settings.gradient_passes,
        straight_through=bool(session.classifier.info.straight_through),
    )
    session.fill(
        group,
        f"linearity at {settings.epsilon:.4g}",
        lambda batch: _rows(session.classifier, batch, settings, session.seed),
    )
    return group.path


def summarise(store: ResultStore, key: str) -> LinearitySummary:
    """Summary of the linearity table at path ``key``, from the file alone."""
    group = store.at(key)
    indices = group.indices
    indices = indices[group.computed(indices)]
    columns = {name: group.column(name, indices) for name in group.columns}
    settings = group.settings
    gamma, floor = columns["gamma"], columns["floor"]
    reach = settings["epsilon"] * columns["gradient_dual_norm"]
    excess = columns["loss_change"] - columns["linear_term"] - gamma
    below = float((gamma <= floor).mean()) if len(gamma) else float("nan")
    return LinearitySummary(
        norm=settings["norm"],
        epsilon=settings["epsilon"],
        loss=settings["loss"],
        sided=settings["sided"],
        gamma=spread(gamma),
        gamma_last=spread(columns["gamma_last"]),
        relative_gamma=_relative(gamma, reach),
        linear_term=spread(columns["linear_term"]),
        gradient_dual_norm=spread(columns["gradient_dual_norm"]),
        proposition_4_1_violations=int((excess > floor).sum()) if settings["sided"] == "two" else 0,
        proposition_4_1=spread(reach + gamma),
        proposition_c2=_implied(columns, reach) if settings["loss"] == Loss.CE else None,
        below_floor=below,
        gradient_passes=int(group.attribute("gradient_passes")),
        warnings=_warnings(columns, below, straight_through=group.attribute("straight_through")),
        complete=group.complete,
    )


def require_gradients(classifier: Classifier) -> None:
    """Raise a TwinUnavailableError unless the model has a twin."""
    if not classifier.differentiable:
        reason = classifier.info.twin_unavailable
        message = f"{classifier.info.file} has no differentiable twin: {reason}"
        raise TwinUnavailableError(message)


def spread(values: NDArray[np.float64]) -> Spread:
    """Mean, median, 95 % quantile and maximum of ``values``; NaN where there are none."""
    if not len(values):
        nothing = float("nan")
        return Spread(nothing, nothing, nothing, nothing, 0)
    q95 = float(np.quantile(values, 0.95))
    return Spread(
        float(values.mean()), float(np.median(values)), q95, float(values.max()), len(values)
    )


def _rows(classifier: Classifier, batch: Batch, settings: LinearitySettings, seed: int) -> Rows:
    plane = tangent(classifier, batch.x, batch.y, Loss(settings.loss))
    found = largest_deviation(
        plane, batch, settings.search, epsilon=settings.epsilon, seed=seed, stream=STREAM
    )
    linear = plane.linear_term(found.delta)
    rows = {
        "gamma": found.value,
        "gamma_last": found.last,
        "linear_term": linear.abs(),
        "loss_change": plane.change(found.delta).abs(),
        "loss": plane.value,
        "gradient_dual_norm": Norm(settings.norm).dual.of(plane.gradient),
        "best_restart": found.restart,
        "floor": plane.floor(found.delta),
    }
    return {name: values.detach().cpu().numpy() for name, values in rows.items()}


def _relative(gamma: NDArray[np.float64], reach: NDArray[np.float64]) -> float:
    """Median of gamma over what the tangent allows, where it allows anything."""
    some = reach > 0
    return float(np.median(gamma[some] / reach[some])) if some.any() else float("nan")


def _implied(columns: dict[str, NDArray[Any]], reach: NDArray[np.float64]) -> ImpliedBound:
    r"""Proposition C.2 without its error term: :math:`|<\delta, g>| \le \sqrt{2 \gamma / p_y}`."""
    gamma, floor = columns["gamma"], columns["floor"]
    with np.errstate(over="ignore"):
        limit = np.sqrt(2 * gamma * np.exp(columns["loss"]))  # p_y = e^-loss
    nothing = float("nan")
    at_delta = float((columns["linear_term"] <= limit + floor).mean()) if len(gamma) else nothing
    in_ball = float((reach <= limit + floor).mean()) if len(gamma) else nothing
    return ImpliedBound(spread(limit + gamma), at_delta, in_ball)


def _warnings(
    columns: dict[str, NDArray[Any]], below_floor: float, *, straight_through: bool
) -> tuple[str, ...]:
    found = []
    vanishing = columns["gradient_dual_norm"] == 0
    if vanishing.any():
        found.append(
            f"the gradient is exactly 0 at {int(vanishing.sum())} of {len(vanishing)} images: "
            "the search may find nothing there, and gamma says nothing"
        )
    if below_floor > 0.5:
        found.append("gamma is no larger than float32 rounding on most images")
    if straight_through:
        found.append("gradients of quantised nodes are straight-through ones")
    return tuple(found)
