"""Which of two orders of the class folders a model was trained with.

Folders whose names are numbers are classes by their values here. torchvision's ImageFolder sorts
the names as text: 0, 1, 10, 11, 2, … Folders with a number in their names, such as class2 and
class10, are sorted as text here, and by number in many other programs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from robcert.certify.stats import two_sided_p_value

from .clean_check import SIGNIFICANT, checked_predictions

if TYPE_CHECKING:
    from robcert.certify.data import ImageSet

    from .classifier import Classifier


NUMERICAL = "numerical order"


@dataclass(frozen=True, slots=True)
class OrderChoice:
    """Images with their labels in the order that fits a model.

    Attributes:
        images: the images.
        line: what was decided and why; empty if there was nothing to decide.
        decided: whether one order is significantly better.
        changed: whether it is not the order that the images had.
    """

    images: ImageSet
    line: str = ""
    decided: bool = True
    changed: bool = False


def fitting_order(classifier: Classifier, images: ImageSet) -> OrderChoice:
    """``images`` in the order of classes under which ``classifier`` is right more often.

    Significantly, by the exact sign test on the same images; else the order is left as it is.
    """
    other = images.other_order
    if images.labels is None or other is None or images.shape != classifier.image_shape:
        return OrderChoice(images)
    indices, predicted = checked_predictions(classifier, images)
    now, then = (predicted == labels[indices] for labels in (images.labels, other.labels))
    gained, lost = int((then & ~now).sum()), int((now & ~then).sum())
    decided = two_sided_p_value(gained, lost) <= SIGNIFICANT
    changed = decided and gained > lost
    orders = (NUMERICAL, "order of ImageFolder")
    present, tried = orders if other.as_text else orders[::-1]
    verdict = f"undecided; the {present} is used"
    if decided:
        verdict = f"the {tried if changed else present} is used"
    line = (
        f"the class folders have numbers {'for' if other.as_text else 'in their'} names: "
        f"{_in(present)} {int(now.sum())} of {len(indices)} images are classified correctly, "
        f"{_in(tried)} ({other.shown}) {int(then.sum())}: {verdict}"
    )
    return OrderChoice(images.in_other_order() if changed else images, line, decided, changed)


def _in(order: str) -> str:
    """Words for a count under ``order``."""
    return f"in {order}" if order == NUMERICAL else "in the order of torchvision's ImageFolder"
