"""Which fix gets through: robust accuracy by each attack of the check, beside the naive one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from robcert.certify.stats import Proportion, proportion

from .checklist import ATTACKS, broken_by, known
from .indicators import CHANCE
from .verdict import LEVEL

if TYPE_CHECKING:
    from .checklist import Columns

NAIVE = ("pgd_file",)
"""What somebody runs who knows of no masking: PGD on cross-entropy of the file's own output."""


@dataclass(frozen=True, slots=True)
class Remedy:
    """One attack with its fix.

    Attributes:
        name: the fix.
        robust: attacked: share of all images that are classified correctly and withstand it.
        broken_beyond: attacked: share of the images that withstand the naive attack but not it,
            among those classified correctly.
        gets_through: whether that share is more than chance.
    """

    name: str
    robust: Proportion
    broken_beyond: Proportion
    gets_through: bool

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "name": self.name,
            "robust_accuracy": share(self.robust),
            "broken_beyond_naive": share(self.broken_beyond),
            "gets_through": self.gets_through,
        }


def remedies_of(columns: Columns, *, straight_through: bool) -> tuple[Remedy, ...]:
    """Every fix in the table, from weak to strong, tried or not (then over 0 images).

    Args:
        columns: finished rows of the masking table.
        straight_through: whether the logits' gradient passes quantised nodes as if they were not.
    """
    plain = "cross-entropy of the logits"
    if straight_through:
        plain += ", straight-through gradients"
    if bool((columns["answers_differ"] == 1).any()):
        plain += ", mean of several draws"
    tried = (
        ("one step (FGSM)", ("fgsm",)),
        (plain, ("pgd_ce",)),
        ("rescaled logits", ("pgd_small_logits", "pgd_large_logits")),
        ("margin loss", ("pgd_margin",)),
        ("each class as target", ("multi_targeted",)),
        ("scores inside the graph", ("inner",)),
        ("mean gradient of noisy copies", ("averaged",)),
        ("random noise", ("noise",)),
        ("score search", ("search",)),
        ("label-only search", ("label_search",)),
        ("label-only search (HopSkipJump)", ("hopskipjump",)),
        ("transfer from other models", ("transfer",)),
        ("search from a transferred start", ("transfer_start",)),
        ("long search of images in doubt", ("long_search",)),
        ("attacks already in the file", ("earlier",)),
    )
    return tuple(_remedy(columns, name, attacks) for name, attacks in tried)


def robust_accuracy(columns: Columns, attacks: tuple[str, ...] = ATTACKS) -> Proportion:
    """Share of all images that are classified correctly and withstand ``attacks``."""
    ran = np.logical_or.reduce([known(columns[name]) for name in attacks])
    standing = (columns["correct"] == 1) & ~broken_by(columns, attacks)
    return proportion(int((standing & ran).sum()), int(ran.sum()), level=LEVEL)


def share(share: Proportion) -> dict[str, Any]:
    """A proportion as plain values; None over 0 images."""
    if share.n == 0:
        return {"value": None, "lower": None, "upper": None, "n": 0}
    return {"value": share.value, "lower": share.lower, "upper": share.upper, "n": share.n}


def _remedy(columns: Columns, name: str, attacks: tuple[str, ...]) -> Remedy:
    both = (columns["correct"] == 1) & known(columns[NAIVE[0]]) & known(columns[attacks[0]])
    beyond = both & broken_by(columns, attacks) & ~broken_by(columns, NAIVE)
    extra = proportion(int(beyond.sum()), int(both.sum()), level=LEVEL)
    through = extra.n > 0 and extra.lower > CHANCE
    return Remedy(name, robust_accuracy(columns, attacks), extra, bool(through))
