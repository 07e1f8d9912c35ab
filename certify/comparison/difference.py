"""One number of two models, and the family of comparisons whose p-values are adjusted together."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from robcert.certify.stats import Correction, adjusted_p_values
from robcert.certify.store import plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from robcert.certify.core import Kind


@dataclass(frozen=True, slots=True)
class ComparisonSettings:
    """How models are compared.

    Attributes:
        epsilons: radii of the robust accuracies, pixel units; empty: those of the results files,
            and for the main numbers the first one at which the attacks of all files searched.
        level: level of each single interval.
        correction: how p-values are adjusted for the number of comparisons.
    """

    epsilons: tuple[float, ...] = ()
    level: float = 0.95
    correction: Correction = Correction.HOLM


@dataclass(frozen=True, slots=True)
class Difference:
    """One number of model b minus that of model a, over the same images.

    Attributes:
        quantity: what is compared, for instance ``robust accuracy at 0.0314 (linf)``.
        table: path of the table in both files.
        kind: kind of claim of the numbers.
        a: accuracy, mean or (for distances) median of the first model.
        b: the same number of the second model.
        difference: b - a; for distances, the difference of the medians.
        lower: lower limit of the difference; NaN where there is no interval.
        upper: upper limit.
        more_a: images on which the first model's number is larger (only the first is correct).
        more_b: images on which the second model's number is larger.
        p_value: p-value of the exact two-sided test of: each is larger equally often.
        n: number of images.
        level: level of the interval.
        p_adjusted: ``p_value`` adjusted for all comparisons of its family; None if no
            correction was requested.
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
    p_adjusted: float | None = None

    def to_json(self) -> dict[str, Any]:
        """The difference as plain JSON."""
        return dict(plain(asdict(self)))


@dataclass(frozen=True, slots=True)
class Family:
    """The comparisons whose p-values are adjusted together.

    Attributes:
        correction: how p-values are adjusted.
        size: number of comparisons.
    """

    correction: Correction
    size: int

    @property
    def statement(self) -> str:
        """How many comparisons there are and which error probability is controlled."""
        many = "1 comparison" if self.size == 1 else f"{self.size} comparisons"
        if self.correction is Correction.NONE:
            return f"The p-values are not adjusted for the {many} of this command."
        if self.correction is Correction.HOLM:
            return (
                f"Adjusted p: Holm's correction over the {many} of this command. If every row with "
                "adjusted p ≤ α is called a difference, the probability of one or more false calls "
                "is at most α (family-wise error rate)."
            )
        return (
            f"Adjusted p: Benjamini-Hochberg correction over the {many} of this command. If every "
            "row with adjusted p ≤ α is called a difference, the expected share of false calls "
            "among them is at most α (false discovery rate), provided that the tests are "
            "independent or positively dependent."
        )


def adjusted(
    found: Sequence[tuple[Difference, ...]], correction: Correction
) -> tuple[tuple[Difference, ...], ...]:
    """The same differences with ``p_adjusted``; all of ``found`` is one family."""
    if correction is Correction.NONE:
        return tuple(found)
    raw = [difference.p_value for one in found for difference in one]
    values = iter(adjusted_p_values(raw, correction))
    return tuple(tuple(replace(d, p_adjusted=next(values)) for d in one) for one in found)
