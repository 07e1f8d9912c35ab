"""Reasons to doubt that the numbers of a results file mean what they seem to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robcert.certify.model import (
    better_alternative,
    chance_hint,
    constant_warning,
    near_chance,
    own_output_doubt,
    scale_contradiction,
)
from robcert.certify.time_budget import BatchAbandonedError, abandoned_after

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from robcert.certify.data import ImageSet
    from robcert.certify.model import Classifier, ModelInfo
    from robcert.certify.stats import Proportion
    from robcert.certify.store import ResultStore

    from .clean import CleanSummary


NO_SLOPE = (
    "every slope at the images tried is 0: attacks that follow gradients find nothing there, and "
    "accuracy under attack may be far too high; robcert masking-check also searches without them"
)

UNTESTED = (
    "the time budget ended before it was tested whether the model gets the input that it expects"
)


def input_doubts(
    classifier: Classifier, images: ImageSet, accuracy: Proportion | None
) -> tuple[str, ...]:
    """Signs that the model does not get the input it expects, or that its output has other classes.

    Args:
        classifier: the model.
        images: all images, of which a few are tried.
        accuracy: its clean accuracy on them; None without labels.
    """
    return tuple(_input_doubts(classifier, images, accuracy))


def input_doubts_until(
    end: float, classifier: Classifier, images: ImageSet, accuracy: Proportion | None
) -> tuple[str, ...]:
    """The signs that are found before ``end``, in the time of ``time.monotonic``.

    They take hundreds of calls of the model. Where one would come after ``end``, a last sentence
    says that signs may be missing.
    """
    found: list[str] = []
    try:
        with abandoned_after(end):
            found.extend(_input_doubts(classifier, images, accuracy))
    except BatchAbandonedError:
        found.append(UNTESTED)
    return tuple(found)


def doubts_of(
    store: ResultStore, facts: Mapping[str, Any], clean: CleanSummary | None
) -> tuple[str, ...]:
    """Every doubt that ``store`` holds, as sentences.

    Args:
        store: the results file.
        facts: facts about the model as the audit recorded them; empty without an audit.
        clean: results on unchanged images.
    """
    found = [*facts.get("doubts", ()), *(store.model.get("doubts") or ())]
    undefined = 0 if clean is None else clean.to_json().get("undefined", 0)
    if clean is not None and undefined:
        found.append(f"the model's scores are NaN on {undefined} of {clean.images} images")
    return tuple(f"Doubtful: {line}." for line in dict.fromkeys(found))


def _input_doubts(
    classifier: Classifier, images: ImageSet, accuracy: Proportion | None
) -> Iterator[str]:
    yield from images.doubts
    if contradiction := scale_contradiction(classifier.preprocessing):
        yield contradiction
    if differs := own_output_doubt(classifier, images):
        yield differs
    classes = classifier.num_classes
    at_chance = accuracy is not None and near_chance(accuracy, classes)
    untrained = classifier.info.barely_trained(classes) if at_chance else ""
    if not untrained and (constant := constant_warning(classifier, images)):
        yield constant
    elif _without_slope(classifier.info):
        yield NO_SLOPE
    if accuracy is None:
        return
    if at_chance:
        reason = untrained or chance_hint(classifier, images)
        yield f"clean accuracy is at chance: {reason}"
    elif (best := better_alternative(classifier, images)) is not None:
        yield (
            f"the present preprocessing classifies {best.now} of {best.n} images correctly, and "
            f"{best.name} would classify {best.right} correctly; if so, pass: {best.options}"
        )


def _without_slope(info: ModelInfo) -> bool:
    """Whether twin or runtime had no slope on any image on which the two were compared."""
    return info.parity is not None and info.parity.gradient_correlation is None
