"""How much more often images are misclassified under some attacks than under others.

If outputs do not differ between calls, an attack succeeds on an image or it does not. If they do,
fresh draws give a share at the image where each attack ended, and the largest of several such
shares is large by chance too. So one half of the draws chooses the attack on an image and the other
half judges it, and vice versa. The mean of both is not biased by the choice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .schema import BY_GRADIENT, JUDGED, NEEDLESS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from robcert.certify.session import Columns

    Shares = NDArray[np.float64]

CLEAN = ("clean",)

SETTLED = 0.9
"""Share of misclassified draws from which further attacks have too little to add."""


def broken_by(columns: Columns, names: tuple[str, ...]) -> NDArray[np.bool_]:
    """Mask of the images that are misclassified under an attack of ``names``."""
    return np.asarray(np.logical_or.reduce([columns[name] == 1 for name in names]))


def is_random(columns: Columns) -> NDArray[np.bool_]:
    """Mask of the images whose attacks were judged by several draws."""
    return np.asarray(~np.isnan(columns["wrong_share"][:, 0, 0]))


def settled(columns: Columns, names: tuple[str, ...]) -> NDArray[np.bool_]:
    """Mask of the images that need no attack after those of ``names``.

    They are misclassified, or an attack of ``names`` succeeded; if outputs differ between calls, in
    almost all draws.
    """
    done = columns["correct"] != 1
    if names:
        done |= broken_by(columns, names)
    drawn = is_random(columns)
    if drawn.any():
        shares = columns["wrong_share"][drawn].mean(2)
        done[drawn] = _best(shares, CLEAN + names) >= SETTLED
    return np.asarray(done)


def excess(columns: Columns, names: tuple[str, ...], over: tuple[str, ...]) -> Shares:
    """Share misclassified under the best attack, beyond the best of ``over`` alone ``(n,)``.

    0 or 1 without randomness; else in [-1, 1], with a mean that chance does not raise.

    Args:
        columns: finished rows of the masking table.
        names: attacks.
        over: attacks that they are compared with.
    """
    shown = (broken_by(columns, names) & ~broken_by(columns, over)).astype(np.float64)
    drawn = is_random(columns)
    if drawn.any():
        shares = columns["wrong_share"][drawn]
        before = CLEAN + over
        more = _judged_apart(shares, before + names) - _judged_apart(shares, before)
        shown[drawn] = more
    return shown


def misclassified(columns: Columns, names: tuple[str, ...]) -> Shares:
    """Share misclassified at the image itself or under the best of ``names`` ``(n,)``.

    Where an attack was not needed, gradient attacks on the logits count for it.
    """
    needless = np.logical_or.reduce([columns[name] == NEEDLESS for name in names])
    broken = broken_by(columns, names) | (needless & broken_by(columns, BY_GRADIENT))
    wrong = ((columns["correct"] != 1) | broken).astype(np.float64)
    drawn = is_random(columns)
    if drawn.any():
        shares = columns["wrong_share"][drawn]
        wrong[drawn] = np.where(
            needless[drawn],
            _judged_apart(shares, CLEAN + BY_GRADIENT + names),
            _judged_apart(shares, CLEAN + names),
        )
    return wrong


def excess_with_chance(columns: Columns, names: tuple[str, ...], over: tuple[str, ...]) -> Shares:
    """What :func:`excess` would be if the draws that choose an attack also judged it ``(n,)``."""
    before = CLEAN + over
    shares = columns["wrong_share"].mean(2)
    return _best(shares, before + names) - _best(shares, before)


def with_rounds(columns: Columns, broken: NDArray[np.int8], wrong_share: Shares) -> Columns:
    """The columns with what further rounds found, as the attack ``rounds``.

    Args:
        columns: rows of the masking table.
        broken: 1 where a round succeeded, 0 where none did, -1 without a round ``(n,)``.
        wrong_share: judgements of each round's best attack ``(n, rounds, 2)``; NaN for images that
            it did not attack, and without randomness.
    """
    judged = np.concatenate([columns["wrong_share"], wrong_share], axis=1)
    return columns | {"rounds": broken, "wrong_share": judged}


def _judged_apart(shares: Shares, names: tuple[str, ...]) -> Shares:
    """Share of the attack that one half of the draws prefers, by the other half ``(n,)``."""
    at = _positions(names, shares.shape[1])
    halves = [np.nan_to_num(shares[:, at, half], nan=-1.0) for half in (0, 1)]
    rows = np.arange(len(shares))
    found = [halves[1 - half][rows, halves[half].argmax(1)] for half in (0, 1)]
    return np.asarray(np.mean(found, 0))


def _best(shares: Shares, names: tuple[str, ...]) -> Shares:
    at = _positions(names, shares.shape[1])
    return np.asarray(np.nan_to_num(shares[:, at], nan=-1.0).max(1))


def _positions(names: tuple[str, ...], count: int) -> list[int]:
    """Positions of ``names`` among the ``count`` along the axis of attacks.

    Rounds stand behind all others; attacks in the file were not judged.
    """
    at = [JUDGED.index(name) for name in dict.fromkeys(names) if name in JUDGED]
    return at + (list(range(len(JUDGED), count)) if "rounds" in names else [])
