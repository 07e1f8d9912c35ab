"""Two models on the same images: paired differences, their intervals and exact tests.

Only tables with the same settings and seed are compared, image by image, over the images that both
files hold; of certificates of the models themselves, those of the same norm and arithmetic, at the
radii that both tables decided. Accuracies get McNemar's exact test and Newcombe's interval for
paired proportions; other numbers get the exact sign test, which allows for infinite distances, and
Student's interval of the mean difference.

Every interval is pointwise: it has its level for one quantity alone. The p-values of one family,
which is all comparisons of one command, can be adjusted for their number.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from robcert.certify.attacks import ATTACK, distance_limit, distances_per_attack, survives
from robcert.certify.auditing import CLEAN, SAME_RADIUS
from robcert.certify.core import Kind
from robcert.certify.errors import StoreError, require_open_unit
from robcert.certify.local_linearity import LINEARITY
from robcert.certify.radius_bounds import BOUNDS
from robcert.certify.smoothing import SMOOTHING, certified_radii
from robcert.certify.stats import (
    PairedCounts,
    mcnemar_p_value,
    paired_interval,
    student_interval,
    two_sided_p_value,
)
from robcert.certify.store import OF_MODEL
from robcert.certify.tables import pixel
from robcert.certify.verification import VERIFY

from .common_ball import searched, tells
from .difference import ComparisonSettings, Difference

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from numpy.typing import NDArray

    from robcert.certify.store import AnalysisGroup, ResultStore, Schema

NOT_SEARCHED = ", by distance"
"""End of the name of a robust accuracy at a radius that no attack was held to."""

OTHER_EFFORT = ", other effort"
"""End of the name of a certified number where the two models had different budgets or methods."""

BOUND_COLUMNS = (
    *("l_bound", "omega_bound", "rho_bound", "gamma_bound", "rho_own_bound", "curvature_bound"),
)


def differences(
    a: ResultStore, b: ResultStore, settings: ComparisonSettings
) -> tuple[Difference, ...]:
    """Every number that both files hold for the same images and settings; p-values unadjusted.

    Args:
        a: results of the first model.
        b: results of the second.
        settings: radii of robust accuracy, level of the intervals.

    Raises:
        StoreError: the two files are about different data.
    """
    require_open_unit("level", settings.level)
    if a.data["sha256"] != b.data["sha256"]:
        message = f"{a.path} is about {a.data['name']}, {b.path} about {b.data['name']}"
        raise StoreError(message, hint="compare results on the same images")
    pairs = (
        (compare, PairedTable.of((a, b), group, other, settings))
        for schema, compare in COMPARED
        for group, other in (_of_proofs if schema is VERIFY else _of_settings)(a, b, schema)
    )
    return tuple(found for compare, pair in pairs if len(pair.indices) for found in compare(pair))


def _of_settings(
    a: ResultStore, b: ResultStore, schema: Schema
) -> Iterator[tuple[AnalysisGroup, AnalysisGroup]]:
    """Tables of both files with the same settings and seed."""
    for group in a.existing(schema.name):
        if (other := _counterpart(group, b)) is not None:
            yield group, other


def _of_proofs(
    a: ResultStore, b: ResultStore, schema: Schema
) -> Iterator[tuple[AnalysisGroup, AnalysisGroup]]:
    """Tables of certificates in both files of the same norm and arithmetic, one pair for each.

    It is the latest pair with the same effort; without one, the latest table of each file.
    """
    first, second = (_by_claim(file.existing(schema.name)) for file in (a, b))
    for claim in first:
        if claim not in second:
            continue
        known = {_effort(table): table for table in second[claim]}
        same = [table for table in first[claim] if _effort(table) in known]
        group = (same or first[claim])[-1]
        yield group, known[_effort(group)] if same else second[claim][-1]


def _by_claim(tables: Iterable[AnalysisGroup]) -> dict[tuple[str, str], list[AnalysisGroup]]:
    """Tables of certificates by norm and arithmetic."""
    found: dict[tuple[str, str], list[AnalysisGroup]] = {}
    for table in tables:
        if len(table.indices):
            claim = (str(table.settings["norm"]), str(table.settings["arithmetic"]))
            found.setdefault(claim, []).append(table)
    return found


def _effort(table: AnalysisGroup) -> tuple[object, ...]:
    """What decides how much a table of certificates proves of one model."""
    settings = table.settings
    return (table.seed, settings["method"], settings["seconds"], settings.get("proof"))


def _counterpart(group: AnalysisGroup, other: ResultStore) -> AnalysisGroup | None:
    """The table of ``other`` with the settings of ``group``; None if there is none.

    What the model adds to the settings, such as the level of an integer input, does not count.
    """
    if group.path.strip("/") in other.file.hdf5:
        return other.at(group.path)
    return next((t for t in other.existing(group.schema_name) if _asked(t) == _asked(group)), None)


def _asked(group: AnalysisGroup) -> tuple[int, dict[str, Any]]:
    """Seed and settings of ``group`` without what its model adds."""
    return group.seed, {k: value for k, value in group.settings.items() if k not in OF_MODEL}


@dataclass(frozen=True, slots=True, eq=False)
class PairedTable:
    """The same table in two files, over the images with a finished row in both.

    Attributes:
        a: table of the first model.
        b: table of the second.
        indices: the images.
        labels: their labels, -1 where there is none.
        settings: how they are compared.
        files: both results files.
    """

    a: AnalysisGroup
    b: AnalysisGroup
    indices: NDArray[np.int64]
    labels: NDArray[np.int32]
    settings: ComparisonSettings
    files: tuple[ResultStore, ResultStore]

    @classmethod
    def of(
        cls,
        files: tuple[ResultStore, ResultStore],
        first: AnalysisGroup,
        second: AnalysisGroup,
        settings: ComparisonSettings,
    ) -> Self:
        """The tables ``first`` and ``second`` of two files."""
        common = np.intersect1d(first.indices, second.indices)
        indices = common[first.computed(common) & second.computed(common)]
        labels = files[0].labels[files[0].rows(indices)]
        return cls(first, second, indices, labels, settings, files)

    @property
    def labelled(self) -> bool:
        """Whether every image has a label."""
        return bool((self.labels >= 0).all())

    @property
    def radii(self) -> tuple[float, ...]:
        """Radii of robust accuracy: those of the settings, else those that the tables name."""
        stored = {*self.a.attribute("epsilons", ()), *self.b.attribute("epsilons", ())}
        return self.settings.epsilons or tuple(sorted(stored))

    @property
    def told_radii(self) -> tuple[float, ...]:
        """Those of ``radii`` within which the attacks of both tables tell of the accuracy."""
        both = (self.a, self.b)
        return tuple(at for at in self.radii if all(tells(table, at) for table in both))

    @property
    def decided(self) -> tuple[float, ...]:
        """Radii at which both tables of certificates decided each image, of those of ``radii``."""
        known = [list(map(float, table.attribute("epsilons", ()))) for table in (self.a, self.b)]
        wanted = self.settings.epsilons
        return tuple(
            epsilon
            for epsilon in sorted(known[0])
            if _holds(known[1], epsilon) and (not wanted or _holds(wanted, epsilon))
        )

    def columns(self, name: str) -> tuple[NDArray[Any], NDArray[Any]]:
        """Column ``name`` of both, over ``indices``."""
        return self.a.column(name, self.indices), self.b.column(name, self.indices)

    def correct(self) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Masks of the images that each model classifies correctly."""
        a, b = self.columns("prediction")
        return a == self.labels, b == self.labels

    def survivors(self, epsilon: float) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Masks of the images without an adversarial image within ``epsilon``, by both files.

        Only tables that both files have count, so that both models were attacked equally.
        """
        paths = [{table.path for table in file.existing(ATTACK.name)} for file in self.files]
        a, b = (
            survives(file, table, self.indices, epsilon, among=paths[0] & paths[1])
            for file, table in zip(self.files, (self.a, self.b), strict=True)
        )
        return a, b

    def accuracies(
        self, quantity: str, kind: Kind, a: NDArray[np.bool_], b: NDArray[np.bool_]
    ) -> Difference:
        """Difference of two accuracies; ``a`` and ``b`` are the masks of correct images."""
        counts, level = PairedCounts.of(a, b), self.settings.level
        lower, upper = paired_interval(counts, level=level)
        return Difference(
            quantity=quantity,
            table=self.a.path,
            kind=kind,
            a=float(a.mean()),
            b=float(b.mean()),
            difference=(counts.only_b - counts.only_a) / counts.n,
            lower=float(lower),
            upper=float(upper),
            more_a=counts.only_a,
            more_b=counts.only_b,
            p_value=mcnemar_p_value(counts),
            n=counts.n,
            level=level,
        )

    def numbers(
        self, quantity: str, kind: Kind, a: NDArray[np.float64], b: NDArray[np.float64]
    ) -> Difference:
        """Difference of the means of two numbers, or of the medians if one is infinite."""
        known = ~(np.isnan(a) | np.isnan(b))
        a, b = a[known], b[known]
        more_a, more_b = int((a > b).sum()), int((b > a).sum())
        finite = bool(np.isfinite(a).all() and np.isfinite(b).all())
        middle = np.mean if finite else np.median
        value_a, value_b = float(middle(a)), float(middle(b))
        gap, level = value_b - value_a, self.settings.level
        nothing = (float("nan"), float("nan"))
        lower, upper = student_interval(b - a, gap, level=level) if finite else nothing
        return Difference(
            quantity=quantity,
            table=self.a.path,
            kind=kind,
            a=value_a,
            b=value_b,
            difference=gap if np.isfinite((value_a, value_b)).all() else float("nan"),
            lower=lower,
            upper=upper,
            more_a=more_a,
            more_b=more_b,
            p_value=two_sided_p_value(more_a, more_b),
            n=len(a),
            level=level,
        )


def _clean(pair: PairedTable) -> Iterator[Difference]:
    if pair.labelled:
        yield pair.accuracies("clean accuracy", Kind.MEASURED, *pair.correct())


def _linearity(pair: PairedTable) -> Iterator[Difference]:
    return _means(pair, Kind.ESTIMATED, "gamma")


def _bounds(pair: PairedTable) -> Iterator[Difference]:
    return _means(pair, Kind.ESTIMATED, *BOUND_COLUMNS)


def _smoothing(pair: PairedTable) -> Iterator[Difference]:
    radius_a, radius_b = (certified_radii(group, pair.indices) for group in (pair.a, pair.b))
    if pair.labelled:
        right_a, right_b = pair.correct()
        for radius in pair.a.settings.get("radii", ()):
            a, b = right_a & (radius_a >= radius), right_b & (radius_b >= radius)
            quantity = f"certified accuracy at {radius:.4g} (l2)"
            yield pair.accuracies(quantity, Kind.CERTIFIED, a, b)
    yield pair.numbers("radius", Kind.CERTIFIED, radius_a, radius_b)


def _attack(pair: PairedTable) -> Iterator[Difference]:
    a, b = pair.columns("distance")
    yield pair.numbers("distance", Kind.ATTACKED, a, b)
    for epsilon in pair.told_radii:
        quantity = f"robust accuracy at {pixel(epsilon)} ({pair.a.settings['norm']})"
        if not searched(pair.a, epsilon):
            quantity += NOT_SEARCHED
        yield pair.accuracies(quantity, Kind.ATTACKED, *pair.survivors(epsilon))
    yield from _per_attack(pair)


def _per_attack(pair: PairedTable) -> Iterator[Difference]:
    """Accuracies under each attack that ran alone on every image of both models."""
    a, b = (
        distances_per_attack(table, tuple(table.attribute("attacks", ())), pair.indices)
        for table in (pair.a, pair.b)
    )
    for name in a:
        for epsilon in pair.told_radii if name in b else ():
            quantity = f"{name}: robust accuracy at {pixel(epsilon)} ({pair.a.settings['norm']})"
            if not searched(pair.a, epsilon):
                quantity += NOT_SEARCHED
            left = (
                found[name] > distance_limit(table, epsilon)
                for found, table in ((a, pair.a), (b, pair.b))
            )
            yield pair.accuracies(quantity, Kind.ATTACKED, *left)


def _verification(pair: PairedTable) -> Iterator[Difference]:
    claim = f"({pair.a.settings['norm']}, {pair.a.settings['arithmetic']})"
    effort = "" if _effort(pair.a) == _effort(pair.b) else OTHER_EFFORT
    a, b = pair.columns("radius")
    for epsilon in pair.decided:
        quantity = f"certified accuracy of the model itself at {pixel(epsilon)} {claim}{effort}"
        yield pair.accuracies(quantity, Kind.CERTIFIED, a >= epsilon, b >= epsilon)
    quantity = f"radius of the model itself {claim}{effort}"
    yield pair.numbers(quantity, Kind.CERTIFIED, a, b)


def _holds(radii: Iterable[float], epsilon: float) -> bool:
    return any(abs(radius - epsilon) <= SAME_RADIUS for radius in radii)


def _means(pair: PairedTable, kind: Kind, *columns: str) -> Iterator[Difference]:
    for column in columns:
        if column not in pair.a.columns or column not in pair.b.columns:
            continue  # a file of an earlier version
        a, b = pair.columns(column)
        if not (np.isnan(a) | np.isnan(b)).all():
            yield pair.numbers(column, kind, a, b)


COMPARED: tuple[tuple[Schema, Callable[[PairedTable], Iterator[Difference]]], ...] = (
    (CLEAN, _clean),
    (LINEARITY, _linearity),
    (BOUNDS, _bounds),
    (SMOOTHING, _smoothing),
    (VERIFY, _verification),
    (ATTACK, _attack),
)
"""Schemas whose tables are compared, in the order of the output, and the comparison."""
