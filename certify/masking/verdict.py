"""Indicators of gradient masking and the rule for the verdict.

After Athalye, Carlini, Wagner (2018, arXiv:1802.00420), Carlini et al. (2019, arXiv:1902.06705)
and the confidence check of SOAR, Table 5 (Ma, Faghri, Farahmand 2020). No single property of
the gradient decides, only attacks that succeed where gradient attacks fail.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np

from robcert.certify.stats import mean_share, proportion

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

LEVEL = 0.95
"""Level of the two-sided intervals of indicators."""

_MOST_LISTED = 4


class MaskingVerdict(StrEnum):
    """Answer to: are the gradient-based numbers of this model meaningful?"""

    CLEAR = "clear"
    SUSPECT = "suspect"
    MASKED = "masked"
    UNKNOWN = "unknown"


class Weight(StrEnum):
    """Effect of a flagged indicator on the verdict."""

    HINT = "hint"  # none: honest models show it too
    SUPPORTING = "supporting"  # suspect
    DECISIVE = "decisive"  # masked: an attack succeeded where gradient attacks failed


@dataclass(frozen=True, slots=True)
class Indicator:
    """One line of the checklist.

    Attributes:
        value: measured value; NaN if it could not be computed.
        lower: lower limit of its interval at ``LEVEL``; NaN if it has none.
        upper: upper limit, likewise.
        threshold: flagged if the lower limit (or the value, if there is no interval) exceeds it.
        flagged: False also if the indicator was not run.
        near: decisive, not flagged, but its lower limit exceeds half the threshold.
        ran: whether it could be computed.
        required: without it the verdict is ``unknown`` at best.
        meaning: what the value measures, in one sentence.
        advice: what to do next, in one sentence.
    """

    name: str
    value: float
    lower: float
    upper: float
    threshold: float
    flagged: bool
    near: bool
    ran: bool
    required: bool
    weight: Weight
    n: int
    meaning: str
    advice: str

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; NaN becomes None."""
        return {k: None if v != v else v for k, v in asdict(self).items()}


@dataclass(frozen=True, slots=True)
class IndicatorText:
    """The definition of an indicator: name, threshold, weight and texts."""

    name: str
    threshold: float
    weight: Weight
    meaning: str
    advice: str
    required: bool = True

    def of_share(
        self, shown: NDArray[np.bool_] | NDArray[np.float64], among: NDArray[np.bool_]
    ) -> Indicator:
        """Mean of ``shown`` over the images ``among``, with its Clopper–Pearson interval.

        It is a share of images, or of draws at them if outputs differ between calls.

        Flagged if the lower limit exceeds the threshold.
        """
        n = int(among.sum())
        if n == 0:
            return self.not_run()
        share = mean_share(shown[among].astype(np.float64), level=LEVEL)
        return self._make(share.value, share.lower, share.upper, share.lower > self.threshold, n)

    def of_mean(self, values: NDArray[np.float64]) -> Indicator:
        """Mean of the ``values`` that are not NaN, with its normal interval."""
        known = values[~np.isnan(values)]
        if known.size == 0:
            return self.not_run()
        mean = float(known.mean())
        half = 1.96 * float(known.std(ddof=1)) / known.size**0.5 if known.size > 1 else 0.0
        return self._make(mean, mean - half, mean + half, mean > self.threshold, known.size)

    def of_value(self, value: float | None) -> Indicator:
        """A number without an interval, flagged above the threshold; None if not computed."""
        if value is None:
            return self.not_run()
        nan = float("nan")
        return self._make(float(value), nan, nan, value > self.threshold, 1)

    def not_run(self) -> Indicator:
        """The indicator that could not be computed."""
        nan = float("nan")
        return self._make(nan, nan, nan, flagged=False, n=0)

    def _make(self, value: float, lower: float, upper: float, flagged: bool, n: int) -> Indicator:
        return Indicator(
            name=self.name,
            value=value,
            lower=lower,
            upper=upper,
            threshold=self.threshold,
            flagged=bool(flagged),
            near=self.weight is Weight.DECISIVE and not flagged and lower > self.threshold / 2,
            ran=n > 0,
            required=self.required,
            weight=self.weight,
            n=n,
            meaning=self.meaning,
            advice=self.advice,
        )


def verdict_of(indicators: Sequence[Indicator]) -> MaskingVerdict:
    """The verdict by rule.

    ``masked`` if a decisive indicator is flagged; else ``suspect`` if a supporting one is, or a
    decisive one is near; else ``unknown`` if a required one could not be computed; else ``clear``.
    """
    flagged = {indicator.weight for indicator in indicators if indicator.flagged}
    if Weight.DECISIVE in flagged:
        return MaskingVerdict.MASKED
    if Weight.SUPPORTING in flagged or any(indicator.near for indicator in indicators):
        return MaskingVerdict.SUSPECT
    if any(indicator.required and not indicator.ran for indicator in indicators):
        return MaskingVerdict.UNKNOWN
    return MaskingVerdict.CLEAR


def reason_of(indicators: Sequence[Indicator]) -> str:
    """One sentence with the evidence for the verdict."""
    verdict = verdict_of(indicators)
    if verdict is MaskingVerdict.UNKNOWN:
        missing = [i.name for i in indicators if i.required and not i.ran]
        return f"Required indicators could not be computed: {_listed(missing)}."
    largest = sorted(_evidence(indicators, verdict), key=lambda i: -i.value)
    evidence = _listed(
        [
            f"{i.name} {i.value:.3g} ({'more than half of' if i.near else 'above'} {i.threshold:g})"
            for i in largest
        ]
    )
    if verdict is MaskingVerdict.MASKED:
        return f"{evidence}: an attack succeeds where gradient attacks fail."
    if verdict is MaskingVerdict.SUSPECT:
        return f"{evidence}: {_successes(indicators)}."
    return (
        "No attack does better than plain gradient attacks, and no indicator of masking is flagged."
    )


def _listed(names: Sequence[str]) -> str:
    """The first of ``names``, and the number of the others."""
    more = f" and {len(names) - _MOST_LISTED} more" if len(names) > _MOST_LISTED else ""
    return ", ".join(names[:_MOST_LISTED]) + more


def _successes(indicators: Sequence[Indicator]) -> str:
    """On how many images attacks succeeded where gradient attacks failed, below the threshold."""
    decisive = [i for i in indicators if i.weight is Weight.DECISIVE and i.ran]
    most = max(decisive, key=lambda i: i.value, default=None)
    if most is None or most.value == 0:
        return "no attack succeeded where gradient attacks failed"
    return (
        f"attacks succeeded where gradient attacks failed on {round(most.value * most.n)} of "
        f"{most.n} images, which may be chance"
    )


def change_of(indicators: Sequence[Indicator]) -> str:
    """One sentence on what would change the verdict."""
    verdict = verdict_of(indicators)
    if verdict is MaskingVerdict.UNKNOWN:
        return (
            "The missing indicators would decide. If the gradient is missing, robcert inspect "
            "explains why."
        )
    if verdict is MaskingVerdict.MASKED:
        return "Only a gradient attack as strong as the best attack here would change the verdict."
    decisive = [i for i in indicators if i.weight is Weight.DECISIVE and i.ran]
    if not decisive:
        return (
            "An attack that succeeds where gradient attacks fail would change the verdict to "
            "'masked'."
        )
    nearest = min(decisive, key=lambda i: needed_for(i) - round(i.value * i.n))
    text = (
        f"Had '{nearest.name}' been found on {needed_for(nearest)} of {nearest.n} images instead "
        f"of {round(nearest.value * nearest.n)}, the verdict would be 'masked'; more images, the "
        "profile thorough and further source models make the check stronger"
    )
    if verdict is MaskingVerdict.CLEAR:
        return f"{text}."
    names = _listed([i.name for i in _evidence(indicators, verdict)])
    return f"{text}. Without {names} the verdict would be 'clear'."


def needed_for(indicator: Indicator) -> int:
    """Smallest number of images at which a share is flagged; ``indicator.n + 1`` if none is.

    Flagged means that the lower Clopper-Pearson limit exceeds the threshold.
    """
    for count in range(indicator.n + 1):
        if proportion(count, indicator.n, level=LEVEL).lower > indicator.threshold:
            return count
    return indicator.n + 1


def _evidence(indicators: Sequence[Indicator], verdict: MaskingVerdict) -> list[Indicator]:
    if verdict is MaskingVerdict.SUSPECT:
        return [i for i in indicators if i.near or (i.flagged and i.weight is Weight.SUPPORTING)]
    return [i for i in indicators if i.flagged and i.weight is Weight.DECISIVE]
