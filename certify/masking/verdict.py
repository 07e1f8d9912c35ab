"""Is the gradient honest? Indicators of gradient masking and the rule for the verdict.

After Athalye, Carlini, Wagner (2018, arXiv:1802.00420), Carlini et al. (2019, arXiv:1902.06705)
and the confidence check of SOAR, Table 5 (Ma, Faghri, Farahmand 2020). No single indicator
decides; the last word is an attack that gets through where gradients did not.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np

from robcert.certify.stats import proportion

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

LEVEL = 0.95
"""Level of the two-sided intervals of indicators."""

_LISTED = 4


class MaskingVerdict(StrEnum):
    """Answer to: are the gradient-based numbers of this model meaningful?"""

    CLEAR = "clear"
    SUSPECT = "suspect"
    MASKED = "masked"
    UNKNOWN = "unknown"


class Weight(StrEnum):
    """What a flagged indicator does to the verdict."""

    HINT = "hint"  # nothing: honest models show it too
    SUPPORTING = "supporting"  # suspect
    DECISIVE = "decisive"  # masked: an attack got through where the gradient did not


@dataclass(frozen=True, slots=True)
class Indicator:
    """One line of the checklist.

    Attributes:
        value: measured; NaN where it could not be computed.
        lower: limits of its interval at ``LEVEL``; NaN where it has none.
        upper: see ``lower``.
        threshold: flagged where the lower limit (the value, if there is no interval) exceeds it.
        flagged: False also where the indicator was not run.
        near: decisive, not flagged, but its lower limit exceeds half the threshold.
        ran: whether it could be computed.
        required: without it the verdict is ``unknown`` at best.
        meaning: what the number says, in one sentence.
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
        """Plain values; NaN becomes None."""
        return {k: None if v != v else v for k, v in asdict(self).items()}


@dataclass(frozen=True, slots=True)
class IndicatorText:
    """What is fixed of an indicator: its name, rule and sentences."""

    name: str
    threshold: float
    weight: Weight
    meaning: str
    advice: str
    required: bool = True

    def of_share(self, shown: NDArray[np.bool_], among: NDArray[np.bool_]) -> Indicator:
        """Share of the images ``among`` that ``shown`` it, with its Clopper–Pearson interval.

        Flagged where the lower limit exceeds the threshold.
        """
        n = int(among.sum())
        if n == 0:
            return self.not_run()
        share = proportion(int((shown & among).sum()), n, level=LEVEL)
        return self._make(share.value, share.lower, share.upper, share.lower > self.threshold, n)

    def of_mean(self, values: NDArray[np.float64]) -> Indicator:
        """Mean of ``values`` over the images that have one, with its normal interval."""
        known = values[~np.isnan(values)]
        if known.size == 0:
            return self.not_run()
        mean = float(known.mean())
        half = 1.96 * float(known.std(ddof=1)) / known.size**0.5 if known.size > 1 else 0.0
        return self._make(mean, mean - half, mean + half, mean > self.threshold, known.size)

    def of_value(self, value: float | None) -> Indicator:
        """A plain number, flagged above the threshold; None was not computed."""
        if value is None:
            return self.not_run()
        nan = float("nan")
        return self._make(float(value), nan, nan, value > self.threshold, 1)

    def not_run(self) -> Indicator:
        """The indicator where it could not be computed."""
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
    """One sentence: which evidence made the verdict."""
    verdict = verdict_of(indicators)
    if verdict is MaskingVerdict.UNKNOWN:
        missing = [i.name for i in indicators if i.required and not i.ran]
        return f"not computed: {_listed(missing)}; the verdict needs them."
    largest = sorted(_behind(indicators, verdict), key=lambda i: -i.value)
    evidence = _listed(
        [
            f"{i.name} {i.value:.3g} ({'half way to' if i.near else 'above'} {i.threshold:g})"
            for i in largest
        ]
    )
    if verdict is MaskingVerdict.MASKED:
        return f"{evidence}: an attack gets through where the gradient does not lead."
    if verdict is MaskingVerdict.SUSPECT:
        return f"{evidence}: {_through(indicators)}."
    return "no attack got further than the plain gradient, and no indicator of masking is flagged."


def _listed(names: Sequence[str]) -> str:
    """The first of ``names``, and how many more there are."""
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more


def _through(indicators: Sequence[Indicator]) -> str:
    """How far attacks got where gradients did not lead, without being enough for a verdict."""
    decisive = [i for i in indicators if i.weight is Weight.DECISIVE and i.ran]
    most = max(decisive, key=lambda i: i.value, default=None)
    if most is None or most.value == 0:
        return "no attack has yet got through where the gradient did not lead"
    return (
        f"attacks got through where the gradient did not lead on {round(most.value * most.n)} of "
        f"{most.n} images, too few to be no chance"
    )


def change_of(indicators: Sequence[Indicator]) -> str:
    """One sentence: what would change the verdict."""
    verdict = verdict_of(indicators)
    if verdict is MaskingVerdict.UNKNOWN:
        return (
            "What is missing decides; where it is the gradient, robcert inspect says why the model "
            "has none that is trusted."
        )
    if verdict is MaskingVerdict.MASKED:
        return "It stays unless a stronger gradient attack gets as far as the others got here."
    decisive = [i for i in indicators if i.weight is Weight.DECISIVE and i.ran]
    if not decisive:
        return "An attack that gets through where gradients do not would make it masked."
    nearest = min(decisive, key=lambda i: needed_for(i) - round(i.value * i.n))
    text = (
        f"{needed_for(nearest)} of {nearest.n} images in {nearest.name} would make it masked "
        f"(now {round(nearest.value * nearest.n)}); more images, --profile thorough and --source "
        "look harder"
    )
    if verdict is MaskingVerdict.CLEAR:
        return f"{text}."
    names = _listed([i.name for i in _behind(indicators, verdict)])
    return f"{text}; without {names} it would be clear."


def needed_for(indicator: Indicator) -> int:
    """Images out of ``indicator.n`` at which a share is flagged; one more than there are if none.

    The smallest count whose lower Clopper-Pearson limit exceeds the threshold.
    """
    for count in range(indicator.n + 1):
        if proportion(count, indicator.n, level=LEVEL).lower > indicator.threshold:
            return count
    return indicator.n + 1


def _behind(indicators: Sequence[Indicator], verdict: MaskingVerdict) -> list[Indicator]:
    if verdict is MaskingVerdict.SUSPECT:
        return [i for i in indicators if i.near or (i.flagged and i.weight is Weight.SUPPORTING)]
    return [i for i in indicators if i.flagged and i.weight is Weight.DECISIVE]
