"""Summary of `robcert attack`: accuracy and distances under attack."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from robcert.certify.model import below_one_level
from robcert.certify.stats import Proportion, proportion
from robcert.certify.store import BY_DISTANCE, CHECKS, INPUT_STEP, nearest_adversarial, plain
from robcert.certify.tables import pixel

from .catalogue import RANDOM_TARGETED
from .schema import ATTACK
from .settings import RANDOM_TARGET
from .suites import without_radius

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Sequence

    from numpy.typing import NDArray

    from robcert.certify.store import AnalysisGroup, ResultStore

LEVEL = 0.95
"""Level of the intervals of robust accuracy."""

OTHER_ANALYSES = (*(schema for schema in BY_DISTANCE if schema != ATTACK.name), *CHECKS)
"""Schemas of other analyses whose tables have adversarial images."""

PER_ATTACK_COLUMN = "distance_per_attack"
"""Column of tables in which each attack ran on every image."""

ROUNDING = 1e-4
"""Rounding of float32 pixels in a distance, as a share of the radius of an attack at a radius."""


@dataclass(frozen=True, slots=True)
class RobustAccuracy:
    """Share of images without an adversarial image within ``epsilon``, with its 95 % interval.

    The true share can only be lower. Without labels: share whose own prediction does not change.
    """

    epsilon: float
    value: float
    lower: float
    upper: float


@dataclass(frozen=True, slots=True)
class OneAttack:
    """What one attack found, which ran on every image whatever the others found.

    Attributes:
        name: the attack.
        robust_accuracy: share of images without an adversarial image of this attack, by radius.
        median_distance: of all images, misclassified ones at 0; None if it is infinite.
    """

    name: str
    robust_accuracy: tuple[RobustAccuracy, ...]
    median_distance: float | None


@dataclass(frozen=True, slots=True)
class EightBit:
    """Numbers of adversarial images that remain adversarial after rounding to 8 bits, or do not."""

    survives: int
    lost: int


@dataclass(frozen=True, slots=True)
class AttackSummary:
    """Accuracy and distances under attack.

    Attributes:
        norm: norm of the distances.
        suite: the suite that chose the attacks.
        attacks: their names.
        n: number of images.
        clean_accuracy: share classified as y without any attack, with its 95 % interval.
        robust_accuracy: the same under attack, by radius.
        headline_epsilon: radius whose accuracy is stated first.
        radii: radii at which attacks at a radius searched; empty if they searched for the smallest.
        without_radius: attacks of the run that minimised the distance nevertheless.
        median_distance: of all images, misclassified ones at 0; None if it is infinite.
        not_found: number of images without an adversarial image at any distance.
        elsewhere: number of images whose nearest adversarial image another analysis of the file
            found: masking check, transfer or proofs.
        by_attack: number of images whose nearest adversarial image each attack found.
        per_attack: what each attack found alone, in the order of ``attacks``; empty unless each ran
            on every image.
        lost_in_runtime: successes in the twin that the runtime did not confirm.
        targeted_success: share of the images classified as y that a random-targeted attack moved
            to their randomly chosen target class, by radius; it does not depend on the other
            attacks of the run. Empty if there was none.
        targeted_success_all: the same share of all images; those that are of the target class
            without an attack count. Empty for tables of versions that attacked only some.
        eight_bit: number of adversarial images at a distance above 0 that remain adversarial after
            rounding to 8 bits; None if not requested.
        n_forward: forward passes per image, on average.
        n_backward: backward passes per image, on average.
        warnings: warnings for the reader.
        complete: whether every selected image has its row.
    """

    norm: str
    suite: str
    attacks: tuple[str, ...]
    n: int
    clean_accuracy: Proportion
    robust_accuracy: tuple[RobustAccuracy, ...]
    headline_epsilon: float
    radii: tuple[float, ...]
    without_radius: tuple[str, ...]
    median_distance: float | None
    not_found: int
    elsewhere: int
    by_attack: dict[str, int]
    per_attack: tuple[OneAttack, ...]
    lost_in_runtime: int
    targeted_success: tuple[RobustAccuracy, ...]
    targeted_success_all: tuple[RobustAccuracy, ...]
    eight_bit: EightBit | None
    n_forward: float
    n_backward: float
    warnings: tuple[str, ...]
    complete: bool

    def to_json(self) -> dict[str, Any]:
        """The same as plain JSON."""
        return dict(plain(asdict(self)))


def summarise(store: ResultStore, key: str) -> AttackSummary:
    """Summary of the attack table at path ``key``, from the file alone."""
    group = store.at(key)
    indices = group.indices
    indices = indices[group.computed(indices)]
    distance = counted_distances(store, group, indices)
    own = group.column("distance", indices)
    attack_name = group.column("attack", indices)
    names = tuple(group.attribute("attacks", []))
    radii = tuple(sorted(group.settings.get("radii") or ()))
    clean = proportion(int((distance > 0).sum()), len(distance), level=LEVEL)
    lost = int(group.column("lost_in_runtime", indices).sum())
    return AttackSummary(
        norm=str(group.settings["norm"]),
        suite=str(group.settings["suite"]),
        attacks=names,
        n=len(distance),
        clean_accuracy=clean,
        robust_accuracy=_curve(store, group, indices),
        headline_epsilon=float(group.attribute("headline_epsilon")),
        radii=radii,
        without_radius=without_radius(names) if radii else (),
        median_distance=_median(distance),
        not_found=int(np.isinf(distance).sum()),
        elsewhere=int((distance < _of_attacks(store, group, indices)).sum()),
        by_attack={name: int((attack_name == at).sum()) for at, name in enumerate(names)},
        per_attack=_each(group, names, indices),
        lost_in_runtime=lost,
        targeted_success=_targeted(group, names, indices, own > 0),
        targeted_success_all=(
            _targeted(group, names, indices, np.ones(len(own), bool))
            if RANDOM_TARGET in group.settings
            else ()
        ),
        eight_bit=_eight_bit(group, indices),
        n_forward=_mean(group.column("n_forward", indices)),
        n_backward=_mean(group.column("n_backward", indices)),
        warnings=(*_warnings(store, group, lost), *_about_other_tables(store, group, indices)),
        complete=group.complete,
    )


def _each(
    group: AnalysisGroup, names: tuple[str, ...], indices: NDArray[np.int64]
) -> tuple[OneAttack, ...]:
    """What each attack found alone; empty for a table without that column."""
    found = distances_per_attack(group, names, indices)
    epsilons = group.attribute("epsilons", [])
    return tuple(
        OneAttack(
            name,
            tuple(share_at(distance > distance_limit(group, e), e) for e in epsilons),
            _median(distance),
        )
        for name, distance in found.items()
    )


def distances_per_attack(
    group: AnalysisGroup, names: Sequence[str], indices: NDArray[np.int64]
) -> dict[str, NDArray[np.float64]]:
    """Distances ``(n,)`` at which each of the attacks ``names`` alone found an adversarial image.

    Attacked, pixel units; 0 where misclassified, inf where it found none. Empty for a table whose
    attacks ran on what the others left.
    """
    if PER_ATTACK_COLUMN not in group.columns:
        return {}
    values = np.asarray(group.column(PER_ATTACK_COLUMN, indices), np.float64)
    return dict(zip(names, values.T, strict=True))


def _median(distance: NDArray[np.float64]) -> float | None:
    median = float(np.median(distance)) if len(distance) else float("inf")
    return median if np.isfinite(median) else None


def _eight_bit(group: AnalysisGroup, indices: NDArray[np.int64]) -> EightBit | None:
    if not group.settings.get("round_8_bit"):
        return None
    survives = group.column("eight_bit", indices)
    return EightBit(int((survives == 1).sum()), int((survives == 0).sum()))


def _targeted(
    group: AnalysisGroup,
    names: tuple[str, ...],
    indices: NDArray[np.int64],
    among: NDArray[np.bool_],
) -> tuple[RobustAccuracy, ...]:
    """Success as LLR, Table 1, defines it: the model predicts the randomly chosen class.

    The paper does not say whether misclassified images count.

    Args:
        group: the table.
        names: attacks of the run.
        indices: images.
        among: which of them count.
    """
    settings, alone = group.settings, len(names) == 1
    radii = sorted(settings.get("radii") or ())
    if RANDOM_TARGET in settings:
        radii = radii or sorted(settings.get("reported_radii") or ())
    elif not alone:  # other attacks decided which images were attacked
        return ()
    if not set(names) & set(RANDOM_TARGETED):
        return ()
    distance = group.column("target_distance", indices)[among]
    return tuple(share_at(distance <= radius * (1 + ROUNDING), radius) for radius in radii)


def _curve(
    store: ResultStore, group: AnalysisGroup, indices: NDArray[np.int64]
) -> tuple[RobustAccuracy, ...]:
    epsilons = group.attribute("epsilons", [])
    return tuple(share_at(survives(store, group, indices, e), e) for e in epsilons)


def survives(
    store: ResultStore,
    group: AnalysisGroup,
    indices: NDArray[np.int64],
    epsilon: float,
    *,
    among: Container[str] | None = None,
) -> NDArray[np.bool_]:
    """Which images of the table have no adversarial image within ``epsilon`` ``(n,)``.

    The table of a suite counts what any table of the file with that norm holds, for instance of
    attacks held to ``epsilon`` or of the masking check; that of named attacks only what they found.
    ``among``: paths of the attack tables that count, and nothing else does; None for all.
    """
    left = group.column("distance", indices) > distance_limit(group, epsilon)
    if group.settings.get("attacks"):
        return np.asarray(left)
    others = [table for table in _others(store, group) if among is None or table.path in among]
    left &= ~_broken(others, indices, epsilon)
    if among is None:
        left &= _beyond(store, group, indices) > epsilon
    return np.asarray(left)


def _beyond(
    store: ResultStore, group: AnalysisGroup, indices: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Nearest adversarial images of other analyses: transfer, proofs, masking check ``(n,)``."""
    return nearest_adversarial(store, str(group.settings["norm"]), indices, OTHER_ANALYSES)


def _broken(
    tables: Sequence[AnalysisGroup], indices: NDArray[np.int64], epsilon: float
) -> NDArray[np.bool_]:
    """Which images have an adversarial image within ``epsilon`` in one of ``tables``."""
    found = np.zeros(len(indices), bool)
    for table in tables:
        found |= _known_distance(table, indices) <= distance_limit(table, epsilon)
    return found


def _others(store: ResultStore, group: AnalysisGroup) -> list[AnalysisGroup]:
    """The other tables of the file in the norm of ``group``."""
    same = [t for t in store.existing(ATTACK.name) if t.settings["norm"] == group.settings["norm"]]
    return [table for table in same if table.path != group.path and len(table.indices)]


def _known_distance(table: AnalysisGroup, indices: NDArray[np.int64]) -> NDArray[np.float64]:
    """Distances of images ``indices``; inf where the table has no row."""
    distance = np.full(len(indices), np.inf)
    known = table.computed(indices)
    distance[known] = table.column("distance", indices[known])
    return distance


def distance_limit(group: AnalysisGroup, epsilon: float) -> float:
    """Largest stored distance that counts as within ``epsilon``, which allows for rounding."""
    return epsilon * (1 + ROUNDING) if group.settings.get("radii") else epsilon


def share_at(which: NDArray[np.bool_], epsilon: float) -> RobustAccuracy:
    """Share of images in the mask ``which``, with its interval, at the radius ``epsilon``."""
    share = proportion(int(which.sum()), len(which), level=LEVEL)
    return RobustAccuracy(epsilon, share.value, share.lower, share.upper)


def one_input_only(step: float | None, epsilons: Iterable[float]) -> tuple[str, ...]:
    """What ``epsilons`` below ``step``, one level of an integer input, mean; empty for none."""
    small = [epsilon for epsilon in epsilons if below_one_level(step, epsilon)]
    return tuple(
        f"one level of the input is {pixel(step)}, so within ε = {pixel(epsilon)} there is no "
        "other input, and the robust accuracy is the clean accuracy"
        for epsilon in small
    )


def rounding_warnings(
    store: ResultStore, group: AnalysisGroup, epsilons: Iterable[float]
) -> tuple[str, ...]:
    """What an integer input means for attacks of ``group`` at ``epsilons``; empty without one."""
    if store.input_step is not None and INPUT_STEP not in group.settings:
        return (
            "found by an earlier version, which did not round images to the levels of the input: "
            "such images need not exist as inputs",
        )
    return one_input_only(store.input_step, epsilons)


def _warnings(store: ResultStore, group: AnalysisGroup, lost: int) -> tuple[str, ...]:
    found = list(rounding_warnings(store, group, group.attribute("epsilons", [])))
    if group.attribute("gradient_free", False):
        found.append(
            "the model has no twin: only attacks by noise, scores and labels were run, which are "
            "weak; distances are too large"
        )
    if store.model.get("random", False):
        found.append(
            "outputs differ between calls: an image counts as adversarial after one wrong answer, "
            "so accuracies are too low and distances too small; robcert masking-check judges each "
            "attack by many answers"
        )
    if lost:
        many = "1 success in the twin was" if lost == 1 else f"{lost} successes in the twin were"
        rounding = " after rounding to the levels of the input" if store.input_step else ""
        found.append(f"{many} not confirmed by the runtime{rounding}, and not counted")
    return tuple(found)


def counted_distances(
    store: ResultStore, group: AnalysisGroup, indices: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Nearest adversarial images ``(n,)`` that count for the table of ``group``, as in `survives`.

    Attacked, pixel units; 0 where misclassified, inf where none is known.
    """
    own = np.asarray(group.column("distance", indices), np.float64)
    if group.settings.get("attacks"):
        return own
    return np.minimum(_of_attacks(store, group, indices), _beyond(store, group, indices))


def _of_attacks(
    store: ResultStore, group: AnalysisGroup, indices: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Nearest adversarial images of all attack tables in the norm of ``group`` ``(n,)``."""
    others = [_known_distance(table, indices) for table in _others(store, group)]
    return np.asarray(np.minimum.reduce([group.column("distance", indices), *others]))


def _about_other_tables(
    store: ResultStore, group: AnalysisGroup, indices: NDArray[np.int64]
) -> tuple[str, ...]:
    """What to say about other attack tables of the file."""
    own, others = group.column("distance", indices), _others(store, group)
    count = int((_of_attacks(store, group, indices) < own).sum())
    if not count:
        return ()
    if not group.settings.get("attacks"):
        images = "1 image" if count == 1 else f"{count} images"
        return (
            f"for {images} another attack table of this file has a nearer adversarial image: "
            "accuracy and median distance count it",
        )
    worst = [
        epsilon
        for epsilon in group.attribute("epsilons", [])
        if ((own > distance_limit(group, epsilon)) & _broken(others, indices, epsilon)).any()
    ]
    if not worst:
        return ()
    return (
        "accuracy is that under the named attacks alone; with all attack tables of this file it is "
        f"lower at {', '.join(map(pixel, worst))}",
    )


def _mean(values: NDArray[np.int64]) -> float:
    return float(values.mean()) if len(values) else float("nan")
