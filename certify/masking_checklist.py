"""From the evidence of the masking table to indicators: every threshold and why it stands there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .masking import Indicator, IndicatorText, Weight

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

Columns = dict[str, "NDArray[Any]"]
"""Columns of the masking table, by name; all of one length."""

GONE = 1e-12
"""Gradients below this are counted as vanished: float32 resolves them to noise at best."""

# Thresholds. An honest, adversarially trained network loses 2 to 8 % of its images between PGD on
# cross-entropy and the multi-targeted margin attack (LLR, Table 2), so a tenth is where a gap
# stops being ordinary. Random points and score search follow no gradient at all: a few images
# where they alone succeed are chance at the decision boundary, a twentieth is not.
GAP, CHANCE, FEW = 0.10, 0.05, 0.01

CONFIDENCE = IndicatorText(
    "confidence",
    0.99,
    Weight.HINT,
    "Mean largest probability on the images; outputs that saturate leave cross-entropy no slope.",
    "Nothing by itself: honest models are confident too. Look at the vanishing gradients.",
)
CONFIDENCE_RANDOM = IndicatorText(
    "confidence_random",
    0.99,
    Weight.HINT,
    "The same after random noise of size epsilon (SOAR, Table 5).",
    "Compare with the clean value: both near 1 hint at saturated outputs.",
)
CONFIDENCE_PGD1 = IndicatorText(
    "confidence_pgd1",
    0.99,
    Weight.HINT,
    "The same after one gradient step from a random start (SOAR, Table 5).",
    "Near 1 where the attack should confuse the model hints at saturated outputs.",
)
SATURATED = IndicatorText(
    "saturated_outputs",
    0.5,
    Weight.HINT,
    "Share of images whose largest probability is exactly 1 in float32.",
    "Attack the logits instead of the probabilities.",
)
VANISHING_FILE = IndicatorText(
    "vanishing_gradient_file",
    FEW,
    Weight.SUPPORTING,
    "Share of images where the true gradient of the file's own output is zero (below 1e-12).",
    "Attack the logits (robcert does), or use straight-through gradients and search.",
)
VANISHING_CE = IndicatorText(
    "vanishing_gradient_ce",
    FEW,
    Weight.SUPPORTING,
    "Share of images where the true cross-entropy gradient of the logits is zero (below 1e-12).",
    "Use the logit margin as the loss, or rescale the logits.",
)
VANISHING_MARGIN = IndicatorText(
    "vanishing_gradient_margin",
    FEW,
    Weight.SUPPORTING,
    "Share of images where the true gradient of the logit margin is zero (below 1e-12).",
    "No loss helps: use straight-through gradients, score search or transfer.",
)
STRONGER_FILE = IndicatorText(
    "hidden_by_the_file",
    GAP,
    Weight.DECISIVE,
    "Share of images that withstand PGD on the file's own output but not another attack here.",
    "Trust the corrected robust accuracy, not the naive one.",
)
STRONGER_CE = IndicatorText(
    "hidden_from_cross_entropy",
    GAP,
    Weight.DECISIVE,
    "Share of images that withstand PGD on cross-entropy of the logits but not another attack.",
    "Use margin losses; cross-entropy numbers of this model are too optimistic.",
)
SEARCH_WINS = IndicatorText(
    "search_beats_gradient",
    CHANCE,
    Weight.DECISIVE,
    "Share of images that score search breaks and no gradient attack does.",
    "Run longer searches: the gradient misleads here.",
)
NOISE_WINS = IndicatorText(
    "noise_beats_gradient",
    FEW,
    Weight.DECISIVE,
    "Share of images that random points of the ball break and no gradient attack does.",
    "The gradient is worse than chance here: use search.",
)
ONE_STEP = IndicatorText(
    "one_step_beats_many",
    CHANCE,
    Weight.SUPPORTING,
    "Share of images that one step breaks and many steps on the same loss do not.",
    "The loss surface is jagged: more restarts, smaller steps, other losses.",
)
UNBOUNDED = IndicatorText(
    "withstands_unbounded",
    FEW,
    Weight.SUPPORTING,
    "Share of images that PGD without a radius does not break; every honest model breaks.",
    "The attack's gradients carry no information: use search.",
)
RANDOM = IndicatorText(
    "answers_differ",
    0.0,
    Weight.SUPPORTING,
    "Share of images that got two different outputs for the same input.",
    "Average the attack's gradients over draws.",
)
NO_GRADIENT_NODES = IndicatorText(
    "nodes_without_gradient",
    0.0,
    Weight.HINT,
    "Rounding, quantising, comparing or random nodes in the graph.",
    "Nothing by itself: the same layers can be honest.",
    required=False,
)

CHECKLIST = (
    STRONGER_FILE,
    STRONGER_CE,
    SEARCH_WINS,
    NOISE_WINS,
    VANISHING_FILE,
    VANISHING_CE,
    VANISHING_MARGIN,
    ONE_STEP,
    UNBOUNDED,
    RANDOM,
    CONFIDENCE,
    CONFIDENCE_RANDOM,
    CONFIDENCE_PGD1,
    SATURATED,
    NO_GRADIENT_NODES,
)
"""Every indicator, the decisive ones first."""


def indicators_of(columns: Columns, *, hint_nodes: int) -> list[Indicator]:
    """The checklist filled in from the finished rows of a masking table.

    Shares of attacks are among the images that the runtime classifies correctly.
    """
    correct = columns["correct"] == 1
    broken = {name: columns[name] == 1 for name in ATTACKS}
    by_gradient = broken["pgd_ce"] | broken["pgd_margin"] | broken["multi_targeted"]
    anyhow = by_gradient | broken["search"] | broken["noise"]
    shares: dict[IndicatorText, tuple[NDArray[np.bool_], tuple[str, ...]]] = {
        STRONGER_FILE: (anyhow & ~broken["pgd_file"], ("pgd_file",)),
        STRONGER_CE: (anyhow & ~broken["pgd_ce"], ("pgd_ce",)),
        SEARCH_WINS: (broken["search"] & ~by_gradient, ("pgd_ce", "search")),
        NOISE_WINS: (broken["noise"] & ~by_gradient, ("pgd_ce", "noise")),
        ONE_STEP: (broken["fgsm"] & ~broken["pgd_ce"], ("fgsm", "pgd_ce")),
        UNBOUNDED: (~broken["unbounded"], ("unbounded",)),
        VANISHING_FILE: (_gone(columns, "gradient_norm_file"), ("gradient_norm_file",)),
        VANISHING_CE: (_gone(columns, "gradient_norm_ce"), ("gradient_norm_ce",)),
        VANISHING_MARGIN: (_gone(columns, "gradient_norm_margin"), ("gradient_norm_margin",)),
    }
    everyone = np.ones_like(correct)
    filled: dict[IndicatorText, Callable[[], Indicator]] = {
        RANDOM: lambda: RANDOM.of_share(columns["answers_differ"] == 1, everyone),
        CONFIDENCE: lambda: CONFIDENCE.of_mean(columns["confidence"]),
        CONFIDENCE_RANDOM: lambda: CONFIDENCE_RANDOM.of_mean(columns["confidence_random"]),
        CONFIDENCE_PGD1: lambda: CONFIDENCE_PGD1.of_mean(columns["confidence_pgd1"]),
        SATURATED: lambda: SATURATED.of_share(columns["confidence"] == 1, everyone),
        NO_GRADIENT_NODES: lambda: NO_GRADIENT_NODES.of_count(hint_nodes),
    }

    def of(text: IndicatorText) -> Indicator:
        if text in filled:
            return filled[text]()
        shown, needed = shares[text]
        known = correct & np.logical_and.reduce([_known(columns[name]) for name in needed])
        return text.of_share(shown, known)

    return [of(text) for text in CHECKLIST]


ATTACKS = ("fgsm", "pgd_file", "pgd_ce", "pgd_margin", "multi_targeted", "noise", "search",
           "unbounded")  # fmt: skip
"""Columns that say who got through."""


def _known(column: NDArray[Any]) -> NDArray[np.bool_]:
    """Where a value was computed: neither NaN nor the integer fill."""
    return ~np.isnan(column) if column.dtype.kind == "f" else column >= 0


def _gone(columns: Columns, name: str) -> NDArray[np.bool_]:
    return columns[name] < GONE
