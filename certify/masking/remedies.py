"""Remedies: robust accuracy under each attack of the check, compared with the naive attack."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from robcert.certify.stats import Proportion, mean_share

from .checklist import ATTACKS, known
from .indicators import GRADIENT_FREE_SHARE
from .schema import NEEDLESS
from .shares import excess, misclassified
from .verdict import LEVEL

if TYPE_CHECKING:
    from robcert.certify.session import Columns

NAIVE = ("pgd_file",)
"""The naive attack, which ignores masking: PGD on cross-entropy of the file's own output."""


@dataclass(frozen=True, slots=True)
class Remedy:
    """Robust accuracy under one remedy.

    Attributes:
        name: the remedy.
        robust: attacked: share of all images that are still classified correctly under it.
        broken_beyond: attacked: share of the correctly classified images that survive the naive
            attack but not this one.
        gets_through: whether the lower limit of that share exceeds its threshold.
        or_gradient: whether it ran only where gradient attacks on the logits failed, which then
            count as well.
    """

    name: str
    robust: Proportion
    broken_beyond: Proportion
    gets_through: bool
    or_gradient: bool = False

    @property
    def title(self) -> str:
        """The name, and what else counts."""
        return f"{self.name}, or a gradient attack" if self.or_gradient else self.name

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "name": self.name,
            "robust_accuracy": proportion_values(self.robust),
            "broken_beyond_naive": proportion_values(self.broken_beyond),
            "gets_through": self.gets_through,
            "or_gradient_attack": self.or_gradient,
        }


def remedies_of(columns: Columns, *, straight_through: bool) -> tuple[Remedy, ...]:
    """Every remedy, from weak to strong; one that was not run counts 0 images.

    Args:
        columns: finished rows of the masking table, and ``earlier``.
        straight_through: whether gradients are straight-through at quantised nodes.
    """
    first = "cross-entropy of the logits"
    if straight_through:
        first += ", straight-through gradients"
    if bool((columns["answers_differ"] == 1).any()):
        first += ", mean of several draws"
    tried = (
        ("one step (FGSM)", ("fgsm",)),
        (first, ("pgd_ce",)),
        ("rescaled logits", ("pgd_small_logits", "pgd_large_logits")),
        ("margin loss", ("pgd_margin",)),
        ("each class as target", ("multi_targeted",)),
        ("scores inside the graph", ("inner",)),
        ("noise-averaged gradient", ("averaged",)),
        ("random noise", ("noise",)),
        ("score search", ("search",)),
        ("label-only search", ("label_search",)),
        ("label-only search (HopSkipJump)", ("hopskipjump",)),
        ("transfer from other models", ("transfer",)),
        ("search from a transferred start", ("transfer_start",)),
        ("long search of selected images", ("long_search",)),
        ("attacks already in the file", ("earlier",)),
        ("further rounds on selected images", ("rounds",)),
    )
    return tuple(_remedy(columns, name, attacks) for name, attacks in tried)


def robust_accuracy(columns: Columns, attacks: tuple[str, ...] = ATTACKS) -> Proportion:
    """Share of all images that are still classified correctly under ``attacks``.

    If outputs differ between calls: of draws at them.
    """
    ran = np.logical_or.reduce([known(columns[name]) for name in attacks])
    return mean_share(1 - misclassified(columns, attacks)[ran], level=LEVEL)


def proportion_values(share: Proportion) -> dict[str, Any]:
    """A proportion as plain JSON values; None over 0 images."""
    if share.n == 0:
        return {"value": None, "lower": None, "upper": None, "n": 0}
    return {"value": share.value, "lower": share.lower, "upper": share.upper, "n": share.n}


def _remedy(columns: Columns, name: str, attacks: tuple[str, ...]) -> Remedy:
    both = (columns["correct"] == 1) & known(columns[NAIVE[0]]) & known(columns[attacks[0]])
    extra = mean_share(excess(columns, attacks, NAIVE)[both], level=LEVEL)
    through = extra.n > 0 and extra.lower > GRADIENT_FREE_SHARE
    spared = any(bool((columns[attack] == NEEDLESS).any()) for attack in attacks)
    return Remedy(name, robust_accuracy(columns, attacks), extra, bool(through), spared)
