"""Checks by clean accuracy that the model gets the input it expects.

A wrong layout or range causes accuracy at chance. A slightly wrong normalisation does not, which is
why assumptions about the preprocessing are always printed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment

from robcert.certify.errors import ModelFileError, PreprocessingError
from robcert.certify.failures import in_parts
from robcert.certify.numerics import NO_CLASS, classes_of, generator
from robcert.certify.stats import Proportion, proportion, two_sided_p_value

from .constants import NORMALISATIONS, Normalisation
from .contradiction import scale_contradiction
from .training_record import at_chance

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from robcert.certify.data import ImageSet

    from .classifier import Classifier, Logits
    from .preprocessing import Layout, Preprocessing

CHECK_IMAGES = 200
"""Images on which clean accuracy is measured before an analysis."""

TRIAL_IMAGES = 64
"""Images on which other preprocessings are tried in order to suggest one."""

TRIAL_BATCH = 32

FAILED = -2
"""In place of the class of an image on which the model fails."""

NEARLY_AS_GOOD = 1
"""Of preprocessings that differ by at most so many images, that of the data set is suggested."""

SIGNIFICANT = 0.05
"""Largest p-value, over all preprocessings tried, at which one counts as better."""


@dataclass(frozen=True, slots=True)
class Alternative:
    """Another preprocessing and its accuracy.

    Attributes:
        name: what is different, in words.
        preprocessing: all of it.
        options: command-line options that change the present preprocessing to this one.
        right: number of correctly classified images among ``n``.
        now: the same under the present preprocessing.
        n: number of images tried.
    """

    name: str
    preprocessing: Preprocessing
    options: str
    right: int
    now: int
    n: int


@dataclass(frozen=True, slots=True)
class CleanCheck:
    """The runtime on images spread evenly over the set.

    Attributes:
        accuracy: share classified correctly; None without labels.
        undefined: number of images without a class because their scores are NaN; they are wrong.
        n: number of images.
    """

    accuracy: Proportion | None
    undefined: int
    n: int

    @property
    def warning(self) -> str:
        """What to say about images without a class; empty if there is none."""
        if not self.undefined:
            return ""
        share = f"the model's scores are NaN on {self.undefined} of {self.n} images"
        if self.accuracy is None:
            return f"{share}: they have no class, and every analysis excludes them"
        return f"{share}: they have no class and count as wrong"


def clean_check(classifier: Classifier, images: ImageSet) -> CleanCheck:
    """Clean accuracy, and the number of images without a class.

    Raises:
        ModelFileError: no image has a class.
    """
    indices = spread_over(len(images), CHECK_IMAGES)
    predicted = predictions(classifier.logits, classifier, images, indices)
    undefined = int((predicted == NO_CLASS).sum())
    if undefined == len(indices):
        message = (
            f"{classifier.info.file} gives NaN scores for each of {undefined} images of "
            f"{images.name}: it names no class"
        )
        hint = "usual causes: weights that are NaN, or pixel values outside the range it expects"
        raise ModelFileError(message, hint=hint)
    accuracy = None
    if images.labels is not None:
        accuracy = proportion(int((predicted == images.labels[indices]).sum()), len(indices))
    return CleanCheck(accuracy, undefined, len(indices))


def require_a_class(classifier: Classifier) -> None:
    """Raise if no random image has a class; for a model that is inspected without images.

    Raises:
        ModelFileError: the scores of all random images are NaN.
    """
    source = generator(0, "clean-check", 0)
    noise = torch.rand(TRIAL_BATCH, *classifier.image_shape, generator=source)
    if bool((classes_of(classifier.logits(noise.to(classifier.device))) == NO_CLASS).all()):
        message = f"{classifier.info.file} gives NaN scores for {TRIAL_BATCH} random images"
        raise ModelFileError(message, hint="name images that it takes (--data) to try those")


def clean_accuracy(classifier: Classifier, images: ImageSet) -> Proportion | None:
    """Accuracy of the runtime on images spread evenly over the set; None without labels."""
    return None if images.labels is None else clean_check(classifier, images).accuracy


def checked_predictions(
    classifier: Classifier, images: ImageSet
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Images of the check and their predicted classes, negative where the model fails."""
    indices = spread_over(len(images), CHECK_IMAGES)
    return indices, predictions(classifier.logits, classifier, images, indices)


def near_chance(accuracy: Proportion, num_classes: int) -> bool:
    """Whether ``accuracy`` is at most twice chance, or a tenth of the way from chance to 1.

    >>> near_chance(proportion(15, 100), 10), near_chance(proportion(30, 100), 10)
    (True, False)
    """
    return at_chance(accuracy.value, num_classes)


def check_clean_accuracy(classifier: Classifier, images: ImageSet) -> Proportion | None:
    """Clean accuracy if it is better than chance; None without labels.

    Raises:
        PreprocessingError: it is at or near chance. The hint says if the training already ended
            there; else it names the usual causes and, if a common preprocessing does better, the
            options that select it; none is chosen silently.
    """
    return require_above_chance(classifier, images, clean_accuracy(classifier, images))


def require_above_chance(
    classifier: Classifier, images: ImageSet, accuracy: Proportion | None
) -> Proportion | None:
    """``accuracy``, the clean accuracy on ``images``, if it is better than chance.

    Raises:
        PreprocessingError: see :func:`check_clean_accuracy`.
    """
    if accuracy is None or not near_chance(accuracy, classifier.num_classes):
        return accuracy
    right = round(accuracy.value * accuracy.n)
    message = (
        f"{classifier.info.file} classifies {right} of {accuracy.n} images of {images.name} "
        f"correctly, no better than chance (1 in {classifier.num_classes})"
    )
    untrained = classifier.info.barely_trained(classifier.num_classes)
    raise PreprocessingError(message, hint=untrained or chance_hint(classifier, images))


def chance_hint(classifier: Classifier, images: ImageSet) -> str:
    """What to try if clean accuracy is at chance."""
    causes = "usual causes: normalisation, layout, channel order, label order, or other data"
    if contradiction := scale_contradiction(classifier.preprocessing):
        causes = f"{contradiction}. {causes}"
    best = better_alternative(classifier, images)
    matched = _accuracy_up_to_labels(classifier, images)
    if matched is not None and (best is None or matched > best.right / best.n):
        return (
            f"the classes seem to be in another order: with the best permutation of the classes "
            f"{matched:.0%} of the images are correct. {causes}"
        )
    if best is not None:
        return (
            f"with {best.name}, {best.right} of {best.n} images would be correct; if so, pass: "
            f"{best.options}. {causes}"
        )
    return f"{causes}; no common preprocessing does better"


def better_alternative(classifier: Classifier, images: ImageSet) -> Alternative | None:
    """The common preprocessing that is significantly better than the present one; None if none is.

    The candidates are compared on a few images; of those nearly as good as the best, the one whose
    constants are from a data set like these images is taken. Significantly: by the exact sign test
    on all images of the check, adjusted for the number of candidates (Bonferroni).
    """
    if images.labels is None:
        return None
    few, indices = (spread_over(len(images), most) for most in (TRIAL_IMAGES, CHECK_IMAGES))
    labels = images.labels[indices]
    tried = [
        (one, logits, _right(_attempted(logits, classifier, images, few)[0], images.labels[few]))
        for one, logits in candidates(classifier, images)
    ]
    if not tried:
        return None
    most = max(right for _, _, right in tried)
    near = [entry for entry in tried if entry[2] >= most - NEARLY_AS_GOOD]
    best, changed, _ = max(near, key=lambda entry: (entry[0].fit, entry[2]))
    now = predictions(classifier.logits, classifier, images, indices) == labels
    then = predictions(changed, classifier, images, indices) == labels
    gained, lost = int((then & ~now).sum()), int((now & ~then).sum())
    if gained <= lost or two_sided_p_value(gained, lost) * len(tried) > SIGNIFICANT:
        return None
    options = options_for(best.preprocessing, present=classifier.preprocessing)
    right, present = int(then.sum()), int(now.sum())
    return Alternative(best.name, best.preprocessing, options, right, present, len(indices))


def _right(predicted: NDArray[np.int64], labels: NDArray[np.int64]) -> int:
    return int((predicted == labels).sum())


@dataclass(frozen=True, slots=True)
class Candidate:
    """A common preprocessing, and how well its constants fit the images, 0 to 2."""

    name: str
    preprocessing: Preprocessing
    fit: int


def candidates(classifier: Classifier, images: ImageSet) -> Iterator[tuple[Candidate, Logits]]:
    """Common preprocessings other than the present one, with the logits under each."""
    logits_under = classifier.runtime.with_preprocessing
    if logits_under is None:
        return
    shape = classifier.image_shape
    present = classifier.preprocessing
    other = _other_layout(present, classifier.info.input_shape, shape)
    for name, scaling, changed in alternatives(present, shape[0], other):
        one = Candidate(name, changed, scaling.fit(shape, images.name))
        yield one, logits_under(changed)


def alternatives(
    present: Preprocessing, channels: int, other: Preprocessing | None = None
) -> Iterator[tuple[str, Normalisation, Preprocessing]]:
    """Common preprocessings for the same input, with their names and normalisations.

    Args:
        present: the preprocessing now.
        channels: of the images.
        other: the same in the other order of the axes, where the input takes both.
    """
    arrangements = [*_arrangements(present, channels)]
    if other is not None:
        arrangements.append((f"layout {other.layout}", other))
    for arrangement, arranged in arrangements:
        order = -1 if arranged.channels == "BGR" else 1  # means follow the model's channel order
        for scaling in NORMALISATIONS:
            mean, std = scaling.mean[::order], scaling.std[::order]
            changed = replace(arranged, range=scaling.limits, mean=mean, std=std)
            if changed != present and len(mean) in (0, channels):
                yield ", ".join(filter(None, (scaling.name, arrangement))), scaling, changed


def options_for(wanted: Preprocessing, *, present: Preprocessing) -> str:
    """Command-line options that change the preprocessing ``present`` to ``wanted``.

    They can be pasted: one JSON text if a part has no option of its own.

    >>> from robcert.certify.model import Preprocessing
    >>> options_for(Preprocessing(range=(0, 255), mean=(1, 2, 3)), present=Preprocessing())
    '--range 0,255 --mean 1,2,3'
    >>> print(options_for(Preprocessing(channels="BGR"), present=Preprocessing()))
    --preprocess '{"channels": "BGR"}'
    """
    no_change: dict[str, tuple[float, ...]] = {"mean": (0,), "std": (1,)}
    changed = {
        name: getattr(wanted, name) or no_change[name]
        for name in ("range", "mean", "std", "layout", "channels", "flatten")
        if getattr(wanted, name) != getattr(present, name)
    }
    if {"channels", "flatten"} & set(changed):
        return f"--preprocess '{json.dumps(changed)}'"
    return " ".join(
        f"--{name} {value if name == 'layout' else _listed(value)}"
        for name, value in changed.items()
    )


def _listed(numbers: tuple[float, ...]) -> str:
    return ",".join(f"{number:g}" for number in numbers)


def _arrangements(present: Preprocessing, channels: int) -> Iterator[tuple[str, Preprocessing]]:
    """Orders of channels and pixels with an input of the same shape."""
    yield "", present
    if channels == 3:
        other: Literal["RGB", "BGR"] = "RGB" if present.channels == "BGR" else "BGR"
        yield f"channels as {other}", replace(present, channels=other)
    if len([size for size in present.input_shape if size > 1]) != 1:
        return
    for flatten in ("row-major", "column-major"):
        changed = replace(present, layout="flat", flatten=flatten)
        if (present.layout, present.flatten) != ("flat", flatten):
            yield f"flattened {flatten}", changed
    if channels > 1 and present.layout != "NHWC":
        yield "flattened from NHWC", replace(present, layout="NHWC")


def _other_layout(
    present: Preprocessing, declared: tuple[int | str, ...], image: tuple[int, int, int]
) -> Preprocessing | None:
    """``present`` in the other order of the axes; None unless the input ``declared`` takes it.

    A file leaves the order open if its axes are free, or if an image has as many rows as channels.
    """
    c, h, w = image
    shapes: dict[str, tuple[Layout, tuple[int, int, int]]] = {
        "NCHW": ("NHWC", (h, w, c)),
        "NHWC": ("NCHW", (c, h, w)),
    }
    if present.layout not in shapes or len(declared) != 4 or len(present.input_shape) != 3:
        return None
    layout, shape = shapes[present.layout]
    takes = all(
        isinstance(size, str) or size == wanted
        for size, wanted in zip(declared[1:], shape, strict=True)
    )
    return replace(present, layout=layout, input_shape=shape) if takes else None


def _accuracy_up_to_labels(classifier: Classifier, images: ImageSet) -> float | None:
    """Share correct under the best permutation of the classes; None where it is not significant."""
    k = classifier.num_classes
    indices = spread_over(len(images), CHECK_IMAGES)
    if images.labels is None or len(indices) < 10 * k:
        return None
    counts = np.zeros((k, k), np.int64)
    predicted = predictions(classifier.logits, classifier, images, indices)
    named = predicted >= 0
    np.add.at(counts, (images.labels[indices][named], predicted[named]), 1)
    rows, columns = linear_sum_assignment(-counts)
    share = float(counts[rows, columns].sum() / len(indices))
    return share if share > 0.5 + 0.5 / k else None


def predictions(
    logits: Logits, classifier: Classifier, images: ImageSet, indices: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Classes that ``logits`` predicts for the images at ``indices``, FAILED where it fails.

    Raises:
        RobcertError: it fails on all of them.
    """
    predicted, failed = _attempted(logits, classifier, images, indices)
    if failed and len(failed) == len(indices):
        raise failed[0]
    return predicted


def _attempted(
    logits: Logits, classifier: Classifier, images: ImageSet, indices: NDArray[np.int64]
) -> tuple[NDArray[np.int64], dict[int, Exception]]:
    """Classes as of :func:`predictions`, and the errors by position."""
    failed: dict[int, Exception] = {}
    predicted = np.full(len(indices), FAILED, np.int64)

    def classes(at: NDArray[np.int64]) -> NDArray[np.int64]:
        pixels = images.pixels(indices[at]).to(classifier.device)
        return np.asarray(classes_of(logits(pixels)).cpu())

    with classifier.forward_only():
        for start in range(0, len(indices), TRIAL_BATCH):
            step = np.arange(start, min(start + TRIAL_BATCH, len(indices)))
            for at, found in in_parts(classes, step, failed):
                predicted[at] = found
    return predicted, failed


def spread_over(n: int, most: int) -> NDArray[np.int64]:
    """At most ``most`` positions spread evenly over ``n``: sets are often sorted by class."""
    return np.linspace(0, n - 1, min(n, most)).astype(np.int64)
