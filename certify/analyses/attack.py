"""`robcert attack`: how near is the nearest adversarial image that somebody finds?"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from robcert.certify.attacks import suites
from robcert.certify.attacks.hunt import Hunt
from robcert.certify.attacks.suites import EFFORTS, Suite
from robcert.certify.core import Norm
from robcert.certify.errors import require_at_least, require_positive
from robcert.certify.intervals import proportion
from robcert.certify.results_json import plain
from robcert.certify.schema import ATTACK

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from robcert.certify.core import Batch
    from robcert.certify.session import Rows, Session
    from robcert.certify.store import ResultStore
    from robcert.certify.store_group import AnalysisGroup

LEVEL = 0.95
"""Level of the intervals of robust accuracy."""

HEADLINE = {Norm.LINF: 8 / 255, Norm.L2: 0.5, Norm.L1: 12.0}
"""Radius that a summary quotes first, pixel units."""

GRID = (0.125, 0.25, 0.5, 1.0, 2.0)
"""Radii of a summary, in units of the headline's, where none are asked for."""

IMAGES_AT_ONCE = 2
"""Batches of images in one step: when an image falls, one that waits takes its lane."""


@dataclass(frozen=True, slots=True)
class AttackSettings:
    """Everything that changes a row.

    Attributes:
        norm: norm of the distance.
        suite: which attacks, and how hard they try.
        attacks: attacks by name instead of the suite's; ``suite`` still says how hard they try.
        restarts: runs at one radius; None for the suite's number.
        save_images: keep the nearest adversarial images.
    """

    norm: Norm = Norm.LINF
    suite: Suite = Suite.STANDARD
    attacks: tuple[str, ...] = ()
    restarts: int | None = None
    save_images: bool = False

    def __post_init__(self) -> None:
        """Check the numbers."""
        if self.restarts is not None:
            require_at_least("restarts", self.restarts, 1)


@dataclass(frozen=True, slots=True)
class RobustAccuracy:
    """Share of images that nothing found breaks within ``epsilon``, with its 95 % interval.

    The true share can only be lower. Without labels: share whose own prediction does not change.
    """

    epsilon: float
    value: float
    lower: float
    upper: float


@dataclass(frozen=True, slots=True)
class AttackSummary:
    """What the attacks left.

    Attributes:
        norm: norm of the distances.
        suite: which attacks, and how hard they tried.
        attacks: their names.
        n: images.
        clean_accuracy: share classified as y without any attack, with its 95 % interval.
        robust_accuracy: the same under attack, by radius.
        headline_epsilon: radius to quote first.
        median_distance: of all images, misclassified ones at 0; None if it is infinite.
        not_found: images that nothing broke at any distance.
        by_attack: images whose nearest adversarial image each attack found.
        lost_in_runtime: successes in the twin that the runtime denied.
        n_forward: forward passes an image, on average.
        n_backward: backward passes an image, on average.
        warnings: what the reader must know.
        complete: whether every image asked for has its row.
    """

    norm: str
    suite: str
    attacks: tuple[str, ...]
    n: int
    clean_accuracy: dict[str, Any]
    robust_accuracy: tuple[RobustAccuracy, ...]
    headline_epsilon: float
    median_distance: float | None
    not_found: int
    by_attack: dict[str, int]
    lost_in_runtime: int
    n_forward: float
    n_backward: float
    warnings: tuple[str, ...]
    complete: bool

    def to_json(self) -> dict[str, Any]:
        """The same as plain JSON."""
        return dict(plain(asdict(self)))


def analyse(session: Session, settings: AttackSettings, *, epsilons: Sequence[float] = ()) -> str:
    """Path of the table with each image's nearest adversarial image.

    Rows that are there are kept. ``epsilons`` are radii of the summary, pixel units; they change
    no row, and those of earlier runs stay.

    Raises:
        InvalidParameterError: an attack that does not exist or does not fit the model or the norm.
    """
    classifier = session.classifier
    names = suites.attacks_of(
        settings.suite,
        settings.attacks,
        settings.norm,
        differentiable=classifier.differentiable,
    )
    channels, height, width = classifier.image_shape
    axes = {"channel": channels, "height": height, "width": width}
    group = session.store.group(
        ATTACK,
        prefix=f"{settings.norm}-{'+'.join(settings.attacks) or settings.suite}",
        settings=settings,
        seed=session.seed,
        sizes=axes if settings.save_images else None,
    )
    _note(group, names, settings, epsilons, differentiable=classifier.differentiable)
    lanes, session.batch_size = session.batch_size, session.batch_size * IMAGES_AT_ONCE
    try:
        session.fill(group, "attack", lambda batch: _rows(session, batch, settings, names, lanes))
    finally:
        session.batch_size = lanes
    return group.path


def summarise(store: ResultStore, key: str) -> AttackSummary:
    """Summary of the attack table at path ``key``, from the file alone."""
    group = store.at(key)
    indices = group.indices
    indices = indices[group.computed(indices)]
    distance = group.column("distance", indices)
    finder = group.column("attack", indices)
    names = tuple(group.attribute("attacks", []))
    clean = proportion(int((distance > 0).sum()), len(distance), level=LEVEL)
    lost = int(group.column("lost_in_runtime", indices).sum())
    median = float(np.median(distance)) if len(distance) else float("inf")
    return AttackSummary(
        norm=str(group.settings["norm"]),
        suite=str(group.settings["suite"]),
        attacks=names,
        n=len(distance),
        clean_accuracy=asdict(clean),
        robust_accuracy=_curve(distance, group.attribute("epsilons", [])),
        headline_epsilon=float(group.attribute("headline_epsilon")),
        median_distance=median if np.isfinite(median) else None,
        not_found=int(np.isinf(distance).sum()),
        by_attack={name: int((finder == at).sum()) for at, name in enumerate(names)},
        lost_in_runtime=lost,
        n_forward=_mean(group.column("n_forward", indices)),
        n_backward=_mean(group.column("n_backward", indices)),
        warnings=_warnings(group, lost),
        complete=group.complete,
    )


def _note(
    group: AnalysisGroup,
    names: tuple[str, ...],
    settings: AttackSettings,
    epsilons: Sequence[float],
    *,
    differentiable: bool,
) -> None:
    """Write what a summary needs beside the rows."""
    for epsilon in epsilons:
        require_positive("epsilon", epsilon)
    headline = HEADLINE[settings.norm]
    before = set(group.attribute("epsilons", []))
    default = {headline * share for share in GRID} if not (before or epsilons) else set()
    group.set_attributes(
        attacks=list(names),
        epsilons=sorted(before | set(epsilons) | default),
        headline_epsilon=epsilons[0] if epsilons else group.attribute("headline_epsilon", headline),
        gradient_free=not differentiable,
    )


def _rows(
    session: Session, batch: Batch, settings: AttackSettings, names: tuple[str, ...], lanes: int
) -> Rows:
    hunt = Hunt(session.classifier, batch, settings.norm, session.seed, lanes)
    suites.run(hunt, names, EFFORTS[settings.suite], restarts=settings.restarts)
    rows: Rows = {
        "distance": hunt.distance.cpu().numpy(),
        "success": hunt.distance.isfinite().cpu().numpy().astype(np.int8),
        "prediction": hunt.prediction.cpu().numpy().astype(np.int32),
        "attack": np.array([names.index(n) if n else -1 for n in hunt.finders], np.int16),
        "n_forward": hunt.n_forward.cpu().numpy(),
        "n_backward": hunt.n_backward.cpu().numpy(),
        "lost_in_runtime": hunt.n_lost.clamp_max(32767).cpu().numpy().astype(np.int16),
    }
    if settings.save_images:
        rows["adversarial"] = hunt.x_adv.cpu().numpy()
    return rows


def _curve(distance: NDArray[np.float64], epsilons: list[float]) -> tuple[RobustAccuracy, ...]:
    entries = []
    for epsilon in epsilons:
        share = proportion(int((distance > epsilon).sum()), len(distance), level=LEVEL)
        entries.append(RobustAccuracy(epsilon, share.value, share.lower, share.upper))
    return tuple(entries)


def _warnings(group: AnalysisGroup, lost: int) -> tuple[str, ...]:
    found = []
    if group.attribute("gradient_free", False):
        found.append(
            "the model has no twin: only noise and score-based search were tried, which are weak; "
            "distances are too large"
        )
    if lost:
        found.append(f"{lost} successes in the twin were denied by the runtime and do not count")
    return tuple(found)


def _mean(values: NDArray[np.int64]) -> float:
    return float(values.mean()) if len(values) else float("nan")
