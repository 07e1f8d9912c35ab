"""Signs that a model cannot tell the images apart: one class for all, or scores without spread.

Without labels no accuracy shows that a model gets pixels in a range it does not expect, and a
constant prediction is the most robust there is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from robcert.certify.failures import in_parts
from robcert.certify.numerics import NO_CLASS, classes_of

from .clean_check import CHECK_IMAGES, TRIAL_BATCH, candidates, options_for, spread_over

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from robcert.certify.data import ImageSet

    from .classifier import Classifier, Logits
    from .clean_check import Candidate

FEWEST_IMAGES = 10
"""Of fewer images it means nothing that all get one class."""

NO_SPREAD = 0.05
"""Scores whose relative spread is at most this hardly depend on the image.

Twenty networks on images of several classes have 2 and more, with pixels that are 255 times too
dark 0.03 and less. On images of one class a network that is sure of it may have 0.01, so there the
spread decides nothing unless it is 0.
"""

CLEAR_SPREAD = 0.25
"""A preprocessing under which the relative spread is at least this tells images apart."""

MOST_NAMED = 3
"""Preprocessings that a warning names."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """What a model says about images.

    Attributes:
        classes: number of different classes.
        first: one of them.
        spread: relative spread of the scores, see :func:`relative_spread`.
    """

    classes: int
    first: int
    spread: float


def constant_warning(classifier: Classifier, images: ImageSet) -> str:
    """A sentence without a full stop if the model hardly tells the images apart; else empty.

    That is so if all images get one class although their labels, if any, are of several; if the
    scores hardly differ although there are several classes; or if the scores are equal. It names
    the common preprocessings under which the model does tell the images apart, with the options of
    the best. Of fewer than ``FEWEST_IMAGES`` images nothing is said unless another preprocessing
    gives them several classes.
    """
    indices = spread_over(len(images), CHECK_IMAGES)
    found = _answer(classifier.logits, classifier, images, indices)
    if found.classes == 0 or len(indices) < 2:
        return ""
    few = len(indices) < FEWEST_IMAGES
    labels = None if images.labels is None else len(np.unique(images.labels[indices]))
    one_class = found.classes == 1 and labels != 1 and not few
    if not (one_class or _is_flat(found, labels, few=few)):
        return ""
    better = _better(classifier, images, indices, one_class=one_class, few=few)
    if few and not better:
        return ""
    return _sentence(classifier, found, better, n=len(indices), one_class=one_class)


def _is_flat(found: _Answer, labels: int | None, *, few: bool) -> bool:
    """Whether the scores do not depend on the image; ``labels`` is the number of classes."""
    several = found.classes > 1 or (few if labels is None else labels > 1)
    return found.spread == 0 or (several and found.spread <= NO_SPREAD)


def _sentence(
    classifier: Classifier,
    found: _Answer,
    better: list[tuple[Candidate, _Answer]],
    *,
    n: int,
    one_class: bool,
) -> str:
    if one_class:
        text = f"all {n} images tried get class {found.first}: a constant prediction is no test"
        nothing = "several classes"
    else:
        text = (
            f"the scores of the {n} images tried hardly differ from image to image (relative "
            f"spread {found.spread:.2g}): robustness of such scores is no test"
        )
        nothing = "a larger spread"
    if not better:
        return f"{text}; no common preprocessing gives {nothing}"
    named = "; ".join(
        f"with {one.name}, they get {answer.classes} class{'es' if answer.classes > 1 else ''}"
        + ("" if one_class else f" (spread {answer.spread:.2g})")
        for one, answer in reversed(better)
    )
    options = options_for(better[0][0].preprocessing, present=classifier.preprocessing)
    return f"{text}; {named}; if so, pass: {options}"


def relative_spread(scores: NDArray[np.float64]) -> float:
    """How much scores ``(n, k)`` depend on the image, relative to how much on the class.

    With each row shifted to mean 0 and m their mean row: root mean square of rows minus m, divided
    by that of m. It depends neither on the scale of the scores nor on a shift of a row. 0 if all
    rows are equal up to rounding.

    >>> round(relative_spread(np.array([[1.0, -1.0], [3.0, -3.0]])), 3)
    0.5
    """
    rows = scores - scores.mean(1, keepdims=True)
    centre = rows.mean(0)
    away, size = (float(np.sqrt(np.mean(part**2))) for part in (rows - centre, centre))
    rounding = 16 * float(np.finfo(np.float32).eps) * float(np.abs(scores).max(initial=0.0))
    if away <= rounding or scores.shape[1] < 2:
        return 0.0
    return away / size if size > 0 else float("inf")


def _better(
    classifier: Classifier,
    images: ImageSet,
    indices: NDArray[np.int64],
    *,
    one_class: bool,
    few: bool,
) -> list[tuple[Candidate, _Answer]]:
    """Preprocessings that tell the images apart, the one with most classes first."""
    good = []
    for one, logits in candidates(classifier, images):
        answer = _answer(logits, classifier, images, indices)
        classes = answer.classes > 1 or not (one_class or few)
        if classes and (one_class or answer.spread >= CLEAR_SPREAD):
            good.append((one, answer))
    good.sort(key=lambda entry: entry[1].classes, reverse=True)  # stable: the usual ones first
    return good[:MOST_NAMED]


def _answer(
    logits: Logits, classifier: Classifier, images: ImageSet, indices: NDArray[np.int64]
) -> _Answer:
    """What ``logits`` says about the images at ``indices``; those where it fails are left out."""
    failed: dict[int, Exception] = {}
    rows: list[NDArray[np.float64]] = []

    def scores(at: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.asarray(logits(images.pixels(at).to(classifier.device)).cpu(), np.float64)

    with classifier.forward_only():
        for start in range(0, len(indices), TRIAL_BATCH):
            step = indices[start : start + TRIAL_BATCH]
            rows += [part for _, part in in_parts(scores, step, failed)]
    values = np.concatenate(rows) if rows else np.empty((0, 1))
    values = values[~np.isnan(values).any(1)]
    predicted = np.asarray(classes_of(torch.from_numpy(values)))
    named = np.unique(predicted[predicted != NO_CLASS])
    if not len(named):
        return _Answer(0, NO_CLASS, float("inf"))
    finite = np.isfinite(values)
    fixed = bool((finite == finite[0]).all())  # a class may always be at minus infinity
    spread = relative_spread(values[:, finite[0]]) if fixed else float("inf")
    return _Answer(len(named), int(named[0]), spread)
