"""From the evidence of the masking table to indicators.

Images in doubt: they stand, and what is seen of them says that no gradient could have led.

Only these are searched for long, so that the verdict on such a model rests on attacks and not on a
look at its gradient, and an honest model pays nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .indicators import (
    ANSWERS_DIFFER,
    AVERAGING_WINS,
    CONFIDENCE,
    CONFIDENCE_PGD1,
    CONFIDENCE_RANDOM,
    CROSSINGS,
    DISAGREES,
    GONE,
    HOPSKIPJUMP_WINS,
    INNER_WINS,
    LABELS_WIN,
    LONG_WINS,
    NO_GRADIENT_NODES,
    NOISE_WINS,
    NOISY,
    NOT_A_NUMBER,
    NOT_LINEAR,
    NOT_RISING,
    ONE_STEP,
    OTHER_SLOPE,
    RESCALED_WINS,
    SATURATED,
    SEARCH_WINS,
    STILL,
    STRONGER_CE,
    STRONGER_FILE,
    TRANSFER_START_WINS,
    TRANSFER_WINS,
    UNBOUNDED,
    UNSTEADY,
    VANISHING_CE,
    VANISHING_FILE,
    VANISHING_MARGIN,
    WIDER,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from robcert.certify.model import ModelInfo

    from .verdict import Indicator, IndicatorText


Columns = dict[str, "NDArray[Any]"]
"""Columns of the masking table, by name, and ``earlier``; all of one length."""

BY_GRADIENT = (
    "pgd_ce",
    "pgd_margin",
    "multi_targeted",
    "pgd_small_logits",
    "pgd_large_logits",
)
"""Attacks on the logits that follow gradients."""

WITHOUT_GRADIENT = (
    *("search", "label_search", "hopskipjump", "noise"),
    *("transfer", "transfer_start", "long_search"),
)

ATTACKS = (
    *BY_GRADIENT,
    *WITHOUT_GRADIENT,
    *("inner", "averaged", "fgsm", "pgd_file", "earlier"),
)
"""Everything that gets through within epsilon; ``earlier`` is what the file already knows."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What the file says of the model beside the masking table.

    Attributes:
        hint_nodes: nodes of the graph that have no useful gradient.
        disagreement: share of images where twin and runtime name different classes; None without
            a comparison.
        slope_mismatch: 1 minus the correlation of the gradient with the runtime's differences;
            None where slopes decide nothing.
        names_one_class: whether every image gets the same class, which no attack can change.
        compared: estimated radii that could be compared with attacked distances.
        crossings: those that lie above.
    """

    hint_nodes: int = 0
    disagreement: float | None = None
    slope_mismatch: float | None = None
    names_one_class: bool = False
    compared: int = 0
    crossings: int = 0


def indicators_of(columns: Columns, facts: Facts) -> list[Indicator]:
    """The checklist filled in from the finished rows of a masking table, the decisive ones first.

    Shares of attacks are among the images that the runtime classifies correctly.
    """
    return [
        *_who_gets_through(columns),
        *_gradients(columns),
        *_on_the_way(columns, facts),
        *_outputs(columns, facts),
    ]


def known(column: NDArray[Any]) -> NDArray[np.bool_]:
    """Where a value was computed: neither NaN nor the integer fill."""
    return ~np.isnan(column) if column.dtype.kind == "f" else column >= 0


def broken_by(columns: Columns, names: tuple[str, ...]) -> NDArray[np.bool_]:
    """Images that some attack of ``names`` breaks."""
    return np.asarray(np.logical_or.reduce([columns[name] == 1 for name in names]))


def _among(columns: Columns, needed: tuple[str, ...]) -> NDArray[np.bool_]:
    """Correctly classified images for which all of ``needed`` was computed."""
    computed = np.logical_and.reduce([known(columns[name]) for name in needed])
    return np.asarray((columns["correct"] == 1) & computed)


def _who_gets_through(columns: Columns) -> Iterator[Indicator]:
    by_gradient = broken_by(columns, BY_GRADIENT)
    anyhow = broken_by(columns, ATTACKS)

    def beats(text: IndicatorText, name: str) -> Indicator:
        shown = broken_by(columns, (name,)) & ~by_gradient
        return text.of_share(shown, _among(columns, (name, "pgd_ce")))

    def withstands(text: IndicatorText, name: str) -> Indicator:
        return text.of_share(anyhow & (columns[name] != 1), _among(columns, (name,)))

    yield withstands(STRONGER_FILE, "pgd_file")
    yield withstands(STRONGER_CE, "pgd_ce")
    yield beats(SEARCH_WINS, "search")
    yield beats(LABELS_WIN, "label_search")
    yield beats(HOPSKIPJUMP_WINS, "hopskipjump")
    yield beats(TRANSFER_WINS, "transfer")
    yield beats(TRANSFER_START_WINS, "transfer_start")
    free = broken_by(columns, WITHOUT_GRADIENT) & ~by_gradient
    yield LONG_WINS.of_share(free, _among(columns, ("search", "pgd_ce")))
    yield beats(INNER_WINS, "inner")
    yield beats(AVERAGING_WINS, "averaged")
    yield beats(NOISE_WINS, "noise")
    rescaled = broken_by(columns, ("pgd_small_logits", "pgd_large_logits"))
    woken = rescaled & (columns["pgd_ce"] != 1)
    yield RESCALED_WINS.of_share(woken, _among(columns, ("pgd_ce", "pgd_small_logits")))


def _gradients(columns: Columns) -> Iterator[Indicator]:
    anyhow, stuck = broken_by(columns, ATTACKS), (columns["moved"] == 0) | ~climbs(columns)
    for text, norm, attack in (
        (VANISHING_FILE, "gradient_norm_file", "pgd_file"),
        (VANISHING_CE, "gradient_norm_ce", "pgd_ce"),
    ):
        # confident models, robust ones too, have no slope at the image and one beside it
        hides = (columns[attack] != 1) & (anyhow | stuck)
        yield text.of_share((columns[norm] < GONE) & hides, _among(columns, (norm, attack)))
    margin = "gradient_norm_margin"
    yield VANISHING_MARGIN.of_share(columns[margin] < GONE, _among(columns, (margin,)))
    yield NOT_A_NUMBER.of_share(columns["gradient_nan"] == 1, _among(columns, ("gradient_nan",)))


def climbs(columns: Columns) -> NDArray[np.bool_]:
    """Where some point on the way of PGD is better than its start; never by scores that are NaN."""
    margins = columns["margin_curve"]
    return np.asarray((margins[:, 1:] > margins[:, :1]).any(1))


def _on_the_way(columns: Columns, facts: Facts) -> Iterator[Indicator]:
    yield ONE_STEP.of_share(
        (columns["fgsm"] == 1) & (columns["pgd_ce"] != 1), _among(columns, ("fgsm", "pgd_ce"))
    )
    yield WIDER.of_share(
        (columns["pgd_ce"] == 1) & (columns["pgd_wide"] != 1),
        _among(columns, ("pgd_ce", "pgd_wide")),
    )
    margins, watched = columns["margin_curve"], _among(columns, ("moved",))
    before, last = margins[:, :-1] > 0, margins[:, -1]
    yield UNSTEADY.of_share(before.any(1) & ~(last > 0), watched)
    yield NOT_RISING.of_share(~climbs(columns), watched)
    yield STILL.of_share(columns["moved"] == 0, watched)
    stands = (columns["unbounded"] != 1) & (not facts.names_one_class)
    yield UNBOUNDED.of_share(stands, _among(columns, ("unbounded",)))
    bent = columns["gamma"] > columns["linear_change"]
    yield NOT_LINEAR.of_share(bent, _among(columns, ("gamma", "linear_change")))
    yield NOISY.of_mean(columns["high_frequency"])


def _outputs(columns: Columns, facts: Facts) -> Iterator[Indicator]:
    everyone = np.ones(len(columns["correct"]), dtype=np.bool_)
    yield ANSWERS_DIFFER.of_share(columns["answers_differ"] == 1, everyone)
    yield CONFIDENCE.of_mean(columns["confidence"])
    yield CONFIDENCE_RANDOM.of_mean(columns["confidence_random"])
    yield CONFIDENCE_PGD1.of_mean(columns["confidence_pgd1"])
    yield SATURATED.of_share(columns["confidence"] == 1, everyone)
    yield NO_GRADIENT_NODES.of_value(facts.hint_nodes)
    yield DISAGREES.of_value(facts.disagreement)
    yield OTHER_SLOPE.of_value(facts.slope_mismatch)
    above = np.arange(facts.compared) < facts.crossings
    yield CROSSINGS.of_share(above, np.ones(facts.compared, dtype=np.bool_))


def in_doubt(columns: Columns, info: ModelInfo) -> NDArray[np.bool_]:
    """Images ``(b,)`` that are classified correctly, withstand everything, and show a sign.

    A sign is an attack that stands still or nowhere climbs, a gradient that is no number, an attack
    without a radius that fails, an answer that differs from call to call, or a gradient that is not
    the slope over small steps. A model without any gradient is not in doubt but unknown.
    """
    stands = (columns["correct"] == 1) & ~broken_by(columns, tuple(set(ATTACKS) & set(columns)))
    if not known(columns["pgd_ce"]).all():
        return np.zeros_like(stands)
    stuck = (columns["moved"] == 0) | ~climbs(columns)
    signs = stuck | (columns["gradient_nan"] == 1) | (columns["unbounded"] != 1)
    signs |= columns["answers_differ"] == 1
    return np.asarray(stands & (signs | shattered(info)))


def shattered(info: ModelInfo) -> bool:
    """Whether the gradient is not the runtime's slope over small steps."""
    mismatch = slope_mismatch(info)
    return mismatch is not None and mismatch > OTHER_SLOPE.threshold


def slope_mismatch(info: ModelInfo) -> float | None:
    """1 minus the correlation of gradient and differences; None where slopes decide nothing."""
    if info.parity is None or info.parity.gradient_correlation is None or info.straight_through:
        return None
    if info.random:  # differences of two draws are no slope
        return None
    return 1 - info.parity.gradient_correlation
