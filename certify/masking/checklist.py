"""The checklist: indicators from the columns of the masking table.

It also selects images for the long black-box search: those that survived every attack although
their gradient looks unusable. So the verdict rests on attacks rather than on properties of the
gradient, and the check of a model without masking costs no more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from robcert.certify.stats import proportion

from .indicators import (
    ANSWERS_DIFFER,
    AVERAGING_WINS,
    CONFIDENCE,
    CONFIDENCE_PGD1,
    CONFIDENCE_RANDOM,
    CROSSINGS,
    DISAGREES,
    GRADIENT_FLOOR,
    HOPSKIPJUMP_WINS,
    INNER_WINS,
    LABELS_WIN,
    LONG_WINS,
    LOSS_GAP,
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
from .schema import BY_GRADIENT, NEEDLESS
from .shares import broken_by, excess, is_random
from .verdict import LEVEL

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from robcert.certify.model import ModelInfo
    from robcert.certify.session import Columns

    from .verdict import Indicator, IndicatorText


WITHOUT_GRADIENT = (
    *("search", "label_search", "hopskipjump", "noise"),
    *("transfer", "transfer_start", "long_search"),
)
"""Attacks that need no gradient of the audited model."""

ATTACKS = (
    *BY_GRADIENT,
    *WITHOUT_GRADIENT,
    *("inner", "averaged", "fgsm", "pgd_file", "earlier", "rounds"),
)
"""All attacks within epsilon.

``earlier`` are the attacks of `robcert attack` in the file, ``rounds`` those of further rounds on
selected images.
"""


@dataclass(frozen=True, slots=True)
class Facts:
    """Properties of the model that the masking table does not hold.

    Attributes:
        hint_nodes: number of nodes without a useful gradient.
        disagreement: share of images where twin and runtime predict different classes; None
            without a comparison.
        slope_mismatch: 1 minus the correlation of the gradient with finite differences of the
            runtime; None where it is not meaningful.
        names_one_class: whether the model predicts one class for every image.
        compared: number of estimated radii with an attacked distance to compare with.
        crossings: number of those that exceed the attacked distance.
    """

    hint_nodes: int = 0
    disagreement: float | None = None
    slope_mismatch: float | None = None
    names_one_class: bool = False
    compared: int = 0
    crossings: int = 0


def indicators_of(columns: Columns, facts: Facts) -> list[Indicator]:
    """All indicators, from the finished rows of a masking table (and ``earlier``), decisive first.

    Shares of attacks refer to the images that the runtime classifies correctly.
    """
    return [
        *_attack_comparisons(columns),
        *_gradients(columns),
        *_attack_paths(columns, facts),
        *_outputs(columns, facts),
    ]


def known(column: NDArray[Any]) -> NDArray[np.bool_]:
    """Mask of the values that were computed or not needed: neither NaN nor the fill value."""
    if column.dtype.kind == "f":
        return np.asarray(~np.isnan(column))
    return np.asarray((column >= 0) | (column == NEEDLESS))


def _among(columns: Columns, needed: tuple[str, ...]) -> NDArray[np.bool_]:
    """Mask of the correctly classified images for which all of ``needed`` was computed."""
    computed = np.logical_and.reduce([known(columns[name]) for name in needed])
    return np.asarray((columns["correct"] == 1) & computed)


def _attack_comparisons(columns: Columns) -> Iterator[Indicator]:
    def beats(text: IndicatorText, *names: str) -> Indicator:
        among = _among(columns, (names[0], "pgd_ce"))
        return text.of_share(excess(columns, names, BY_GRADIENT), among)

    def survives(text: IndicatorText, name: str) -> Indicator:
        return text.of_share(excess(columns, ATTACKS, (name,)), _among(columns, (name,)))

    yield survives(STRONGER_FILE, "pgd_file")
    yield survives(STRONGER_CE, "pgd_ce")
    yield beats(SEARCH_WINS, "search")
    yield beats(LABELS_WIN, "label_search")
    yield beats(HOPSKIPJUMP_WINS, "hopskipjump")
    yield beats(TRANSFER_WINS, "transfer")
    yield beats(TRANSFER_START_WINS, "transfer_start")
    yield beats(LONG_WINS, *WITHOUT_GRADIENT)
    yield beats(INNER_WINS, "inner")
    yield beats(AVERAGING_WINS, "averaged")
    yield beats(NOISE_WINS, "noise")
    gained = excess(columns, ("pgd_small_logits", "pgd_large_logits"), ("pgd_ce",))
    yield RESCALED_WINS.of_share(gained, _among(columns, ("pgd_ce", "pgd_small_logits")))


def _gradients(columns: Columns) -> Iterator[Indicator]:
    by_any, stuck = broken_by(columns, ATTACKS), (columns["moved"] == 0) | ~ascends(columns)
    for text, norm, attack in (
        (VANISHING_FILE, "gradient_norm_file", "pgd_file"),
        (VANISHING_CE, "gradient_norm_ce", "pgd_ce"),
    ):
        # confident models, robust ones included, may have a zero gradient only at the image itself
        hides = (columns[attack] != 1) & (by_any | stuck)
        yield text.of_share(
            (columns[norm] < GRADIENT_FLOOR) & hides, _among(columns, (norm, attack))
        )
    margin, withstood = "gradient_norm_margin", survives_naive(columns)
    flat = (columns[margin] < GRADIENT_FLOOR) & withstood
    yield VANISHING_MARGIN.of_share(flat, _among(columns, (margin,)))
    unknown = (columns["gradient_nan"] == 1) & withstood
    yield NOT_A_NUMBER.of_share(unknown, _among(columns, ("gradient_nan",)))


def survives_naive(columns: Columns) -> NDArray[np.bool_]:
    """Mask of images that survive the naive attack: on the others nothing can be hidden."""
    return np.asarray(columns["pgd_file"] != 1)


def ascends(columns: Columns) -> NDArray[np.bool_]:
    """Mask of images whose margin loss at some step of PGD exceeds its start; False for NaN."""
    margins = columns["margin_curve"]
    return np.asarray((margins[:, 1:] > margins[:, :1]).any(1))


def _attack_paths(columns: Columns, facts: Facts) -> Iterator[Indicator]:
    withstood = survives_naive(columns)
    better = excess(columns, ("fgsm",), ("pgd_ce",)) * withstood
    yield ONE_STEP.of_share(better, _among(columns, ("fgsm", "pgd_ce")))
    lost = excess(columns, ("pgd_ce",), ("pgd_wide",)) * withstood
    yield WIDER.of_share(lost, _among(columns, ("pgd_ce", "pgd_wide")))
    margins, traced = columns["margin_curve"], _among(columns, ("moved",))
    before, last = margins[:, :-1] > 0, margins[:, -1]
    passing = before.any(1) & ~(last > 0) & withstood
    steady = traced & ~is_random(columns)  # random margins rise and fall by themselves
    yield UNSTEADY.of_share(passing, steady)
    yield NOT_RISING.of_share(~ascends(columns) & withstood, steady)
    yield STILL.of_share((columns["moved"] == 0) & withstood, traced)
    survived = (columns["unbounded"] != 1) & withstood & (not facts.names_one_class)
    yield UNBOUNDED.of_share(survived, _among(columns, ("unbounded",)))
    bent = columns["gamma"] > columns["linear_change"]
    yield NOT_LINEAR.of_share(bent, _among(columns, ("gamma", "linear_change")))
    yield NOISY.of_mean(columns["high_frequency"])


def _outputs(columns: Columns, facts: Facts) -> Iterator[Indicator]:
    all_images = np.ones(len(columns["correct"]), dtype=np.bool_)
    yield ANSWERS_DIFFER.of_share(columns["answers_differ"] == 1, all_images)
    yield CONFIDENCE.of_mean(columns["confidence"])
    yield CONFIDENCE_RANDOM.of_mean(columns["confidence_random"])
    yield CONFIDENCE_PGD1.of_mean(columns["confidence_pgd1"])
    yield SATURATED.of_share(columns["confidence"] == 1, all_images)
    yield NO_GRADIENT_NODES.of_value(facts.hint_nodes)
    yield DISAGREES.of_value(facts.disagreement)
    yield OTHER_SLOPE.of_value(facts.slope_mismatch if _may_hide(columns) else None)
    above = np.arange(facts.compared) < facts.crossings
    yield CROSSINGS.of_share(above, np.ones(facts.compared, dtype=np.bool_))


def _may_hide(columns: Columns) -> bool:
    """Whether more images survive the naive attack than honest models hide, or it did not run."""
    among = _among(columns, ("pgd_file",))
    survive = int((survives_naive(columns) & among).sum())
    share = proportion(survive, int(among.sum()), level=LEVEL)
    return share.n == 0 or share.lower > LOSS_GAP


def needs_long_search(columns: Columns, info: ModelInfo) -> NDArray[np.bool_]:
    """Mask ``(b,)`` of the images that get the long black-box search.

    They are classified correctly, survived every attack, and have a gradient that looks unusable:
    PGD never moves or its loss never rises, the gradient is NaN, the unbounded attack fails, or the
    gradient disagrees with finite differences. Without a differentiable model no image is selected:
    the verdict is ``unknown``.
    """
    survived = (columns["correct"] == 1) & ~broken_by(columns, tuple(set(ATTACKS) & set(columns)))
    if not known(columns["pgd_ce"]).all():
        return np.zeros_like(survived)
    stuck = (columns["moved"] == 0) | ~ascends(columns)
    signs = stuck | (columns["gradient_nan"] == 1) | (columns["unbounded"] != 1)
    return np.asarray(survived & (signs | shattered(info)))


def shattered(info: ModelInfo) -> bool:
    """Whether the gradient disagrees with finite differences of the runtime."""
    mismatch = slope_mismatch(info)
    return mismatch is not None and mismatch > OTHER_SLOPE.threshold


def slope_mismatch(info: ModelInfo) -> float | None:
    """1 minus the correlation of gradient and finite differences; None if not meaningful."""
    if info.parity is None or info.parity.gradient_correlation is None or info.straight_through:
        return None
    if info.random:  # differences of two random outputs are not derivatives
        return None
    return 1 - info.parity.gradient_correlation
