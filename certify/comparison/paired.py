"""Two models on the same images: paired differences with intervals.

Only tables with the same settings and seed are compared, image by image, over the images that
both have. Shares (accuracies) get the exact McNemar test and Newcombe's interval for paired
proportions (Newcombe 1998, Statistics in Medicine 17, 2635-2650, method 10); other numbers get
the exact sign test, which bears infinite distances, and Student's interval of the mean difference.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import special

from robcert.certify.attacks import reach
from robcert.certify.auditing import SCHEMAS
from robcert.certify.core import Kind
from robcert.certify.errors import StoreError, require_open_unit
from robcert.certify.stats import two_sided_p_value
from robcert.certify.tables import pixel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from robcert.certify.store import AnalysisGroup, ResultStore

MEANS = {
    "linearity": ("gamma",),
    "bounds": ("l_bound", "omega_bound", "gamma_bound", "curvature_bound", "clever_bound"),
    "smoothing": ("radius",),
}
"""Columns whose means are compared; distances of attacks are compared by their medians."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One number of model b minus that of model a, over the same images.

    Attributes:
        quantity: what, for instance ``robust accuracy at 0.0314 (linf)``.
        table: path of the table in both files.
        kind: what the numbers claim.
        a: share, mean or (for distances) median of the first model.
        b: the same of the second.
        difference: b - a; for distances of the medians.
        lower: lower limit of the difference; NaN where there is none.
        upper: upper limit.
        more_a: images on which the first model has more (or alone is right).
        more_b: the same of the second.
        p_value: of the exact two-sided test that neither is more often ahead.
        n: images.
        level: of the interval.
    """

    quantity: str
    table: str
    kind: Kind
    a: float
    b: float
    difference: float
    lower: float
    upper: float
    more_a: int
    more_b: int
    p_value: float
    n: int
    level: float

    def to_json(self) -> dict[str, Any]:
        """The same as plain JSON."""
        return asdict(self)


def differences(
    a: ResultStore, b: ResultStore, *, epsilons: tuple[float, ...] = (), level: float = 0.95
) -> tuple[Difference, ...]:
    """Every number that both files hold for the same images and settings.

    Args:
        a: results of the first model.
        b: results of the second.
        epsilons: robust accuracy is compared at these distances; none: at those that each table
            was made for.
        level: of each interval by itself; no correction for their number.

    Raises:
        StoreError: the two files speak of different data.
    """
    require_open_unit("level", level)
    if a.data["sha256"] != b.data["sha256"]:
        message = f"{a.path} is about {a.data['name']}, {b.path} about {b.data['name']}"
        raise StoreError(message, hint="compare results on the same images")
    both = [
        (group, b.at(group.path))
        for schema in SCHEMAS
        for group in a.existing(schema.name)
        if group.path.strip("/") in b.file.hdf5
    ]
    return tuple(
        found
        for first, second in both
        for found in _of_table(Pair(a, b, first, second, epsilons, level))
    )


@dataclass(frozen=True, slots=True)
class Pair:
    """The same table in two files."""

    store_a: ResultStore
    store_b: ResultStore
    a: AnalysisGroup
    b: AnalysisGroup
    epsilons: tuple[float, ...]
    level: float

    @property
    def indices(self) -> NDArray[np.int64]:
        """Images with a finished row in both."""
        common = np.intersect1d(self.store_a.indices, self.store_b.indices)
        return common[self.a.computed(common) & self.b.computed(common)]

    @property
    def radii(self) -> tuple[float, ...]:
        """Distances of robust accuracy: those asked for, else those that the tables are about."""
        stored = {*self.a.attribute("epsilons", ()), *self.b.attribute("epsilons", ())}
        return self.epsilons or tuple(sorted(stored))

    def labels(self) -> NDArray[np.int32]:
        """Labels of ``indices``, -1 where there is none."""
        return self.store_a.labels[self.store_a.rows(self.indices)]

    def columns(self, name: str) -> tuple[NDArray[Any], NDArray[Any]]:
        """Column ``name`` of both, over ``indices``."""
        return self.a.column(name, self.indices), self.b.column(name, self.indices)

    def share(
        self, quantity: str, kind: Kind, a: NDArray[np.bool_], b: NDArray[np.bool_]
    ) -> Difference:
        """Difference of two shares of the same images."""
        only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
        lower, upper = paired_interval(int((a & b).sum()), only_a, only_b, len(a), level=self.level)
        return Difference(
            quantity, self.a.path, kind, a.mean(), b.mean(), (only_b - only_a) / len(a),
            lower, upper, only_a, only_b, two_sided_p_value(only_a, only_b), len(a), self.level,
        )  # fmt: skip

    def number(
        self, quantity: str, kind: Kind, a: NDArray[np.float64], b: NDArray[np.float64]
    ) -> Difference:
        """Difference of the means of two numbers, or of the medians if one is infinite."""
        known = ~(np.isnan(a) | np.isnan(b))
        a, b = a[known], b[known]
        more_a, more_b = int((a > b).sum()), int((b > a).sum())
        middle = np.mean if np.isfinite(a).all() and np.isfinite(b).all() else np.median
        value_a, value_b = float(middle(a)), float(middle(b))
        lower, upper = np.nan, np.nan
        if middle is np.mean and len(a) > 1:
            spread = float(np.std(b - a, ddof=1)) / len(a) ** 0.5
            reach = float(special.stdtrit(len(a) - 1, (1 + self.level) / 2)) * spread
            lower, upper = value_b - value_a - reach, value_b - value_a + reach
        gap = value_b - value_a if np.isfinite((value_a, value_b)).all() else np.nan
        return Difference(
            quantity, self.a.path, kind, value_a, value_b, gap,
            lower, upper, more_a, more_b, two_sided_p_value(more_a, more_b), len(a), self.level,
        )  # fmt: skip


def paired_interval(both: int, only_a: int, only_b: int, n: int, *, level: float) -> NDArray[Any]:
    r"""Limits ``(lower, upper)`` of p_b - p_a, two shares of the same ``n`` images.

    Newcombe's method 10: with Wilson limits :math:`l, u` of each share :math:`p` and
    :math:`\hat\phi` the (continuity-corrected) correlation of the two,

    .. math:: d_L = (p_b - p_a) - \sqrt{(p_b - l_b)^2
              - 2 \hat\phi (p_b - l_b)(u_a - p_a) + (u_a - p_a)^2}

    and likewise upwards.

    Args:
        both: images where both are right.
        only_a: images where only a is.
        only_b: images where only b is.
        n: images.
        level: of the interval.
    """
    neither = n - both - only_a - only_b
    p_a, p_b = (both + only_a) / n, (both + only_b) / n
    (low_a, high_a), (low_b, high_b) = (_wilson(p, n, level) for p in (p_a, p_b))
    product = (both + only_a) * (only_b + neither) * (both + only_b) * (only_a + neither)
    cross = float(both * neither - only_a * only_b)
    cross = max(cross - n / 2, 0.0) if cross > 0 else cross
    phi = cross / product**0.5 if product else 0.0
    down_b, up_a, up_b, down_a = p_b - low_b, high_a - p_a, high_b - p_b, p_a - low_a
    down = (down_b**2 - 2 * phi * down_b * up_a + up_a**2) ** 0.5
    up = (up_b**2 - 2 * phi * up_b * down_a + down_a**2) ** 0.5
    return np.array([p_b - p_a - down, p_b - p_a + up])


def _wilson(p: float, n: int, level: float) -> tuple[float, float]:
    """Wilson's limits of a share ``p`` of ``n``."""
    z = float(special.ndtri((1 + level) / 2))
    centre = p + z**2 / (2 * n)
    reach = z * (p * (1 - p) / n + z**2 / (4 * n**2)) ** 0.5
    return (centre - reach) / (1 + z**2 / n), (centre + reach) / (1 + z**2 / n)


def _of_table(pair: Pair) -> Iterator[Difference]:
    if len(pair.indices) == 0:
        return
    name = pair.a.schema_name
    labels = pair.labels()
    if name == "clean" and (labels >= 0).all():
        right = [column == labels for column in pair.columns("prediction")]
        yield pair.share("clean accuracy", Kind.MEASURED, *right)
    if name == "smoothing" and (labels >= 0).all():
        yield from _certified(pair, labels)
    for column in MEANS.get(name, ()):
        if column not in pair.a.columns or column not in pair.b.columns:
            continue  # of an earlier version
        kind = Kind.CERTIFIED if name == "smoothing" else Kind.ESTIMATED
        a, b = pair.columns(column)
        if not (np.isnan(a) | np.isnan(b)).all():
            yield pair.number(column, kind, a, b)
    if name == "attack":
        distances = pair.columns("distance")
        yield pair.number("distance", Kind.ATTACKED, *distances)
        for epsilon in pair.radii:
            quantity = f"robust accuracy at {pixel(epsilon)} ({pair.a.settings['norm']})"
            within = reach(pair.a, epsilon)
            yield pair.share(quantity, Kind.ATTACKED, *(d > within for d in distances))


def _certified(pair: Pair, labels: NDArray[np.int32]) -> Iterator[Difference]:
    right = [column == labels for column in pair.columns("prediction")]
    radii = pair.columns("radius")
    for radius in pair.a.settings.get("radii", ()):
        held = [ok & (r >= radius) for ok, r in zip(right, radii, strict=True)]
        yield pair.share(f"certified accuracy at {radius:.4g} (l2)", Kind.CERTIFIED, *held)
