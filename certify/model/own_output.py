"""Whether the file's own output gives images the class of the scores that are analysed.

The logits in front of a softmax or sigmoid tell classes apart that the output may round to equal
numbers: a sigmoid of large scores is 1 for several classes. Whoever reads the output then gets the
first of them, and the accuracy of the logits is not that of the output.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .clean_check import CHECK_IMAGES, TRIAL_IMAGES, predictions, spread_over

if TYPE_CHECKING:
    from robcert.certify.data import ImageSet

    from .classifier import Classifier

ONE_SCORE = ("one score", "log-odds")
"""How ``ModelInfo.logits_from`` begins for a model with one score per image."""


def own_output_doubt(classifier: Classifier, images: ImageSet) -> str:
    """A sentence without a full stop if output and logits give an image other classes; else empty.

    Nothing is said about a model whose scores differ from call to call, nor about one score of a
    binary classifier, whose output is compared with a number.
    """
    runtime, info = classifier.runtime, classifier.info
    if runtime.declared is None or info.random or info.logits_from.startswith(ONE_SCORE):
        return ""
    most = CHECK_IMAGES if runtime.reorders else TRIAL_IMAGES
    indices = spread_over(len(images), most)
    analysed = predictions(classifier.logits, classifier, images, indices)
    own = predictions(runtime.declared, classifier, images, indices)
    differ = int((analysed != own).sum())
    if not differ:
        return ""
    name, n = info.output_name, len(indices)
    line = (
        f"the file's own output {name!r} gives {differ} of {n} images another class than the "
        "scores before it, which are analysed: numbers that differ there are equal in the output, "
        "or not numbers"
    )
    if images.labels is None:
        return line
    labels = images.labels[indices]
    right, before = int((own == labels).sum()), int((analysed == labels).sum())
    return f"{line}. By the output {right} images are correct, by those scores {before}"
