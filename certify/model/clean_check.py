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
from robcert.certify.stats import Proportion, proportion

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from robcert.certify.data import ImageSet

    from .classifier import Classifier, Logits
    from .preprocessing import Preprocessing

CHECK_IMAGES = 200
"""Images on which clean accuracy is measured before an analysis."""

TRIAL_IMAGES = 64
"""Images on which other preprocessings are tried in order to suggest one."""

TRIAL_BATCH = 32

FAILED = -2
"""In place of the class of an image on which the model fails."""


@dataclass(frozen=True, slots=True)
class _Normalisation:
    """A common normalisation; mean and std in the order RGB."""

    name: str
    limits: tuple[float, float] = (0.0, 1.0)
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()


_NORMALISATIONS = (
    _Normalisation("range 0 to 1"),
    _Normalisation("range 0 to 255", (0.0, 255.0)),
    _Normalisation("range -1 to 1", (-1.0, 1.0)),
    _Normalisation("inverted pixel values", (1.0, 0.0)),
    _Normalisation(
        "ImageNet mean and std", (0.0, 1.0), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    ),
    _Normalisation("ImageNet means of 0 to 255", (0.0, 255.0), (123.68, 116.78, 103.94)),
    _Normalisation(
        "CIFAR-10 mean and std", (0.0, 1.0), (0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616)
    ),
    _Normalisation("MNIST mean and std", (0.0, 1.0), (0.1307,), (0.3081,)),
    _Normalisation("Fashion-MNIST mean and std", (0.0, 1.0), (0.286,), (0.353,)),
)


@dataclass(frozen=True, slots=True)
class Alternative:
    """Another preprocessing and its accuracy.

    Attributes:
        name: what is different, in words.
        preprocessing: all of it.
        options: command-line options that change the present preprocessing to this one.
        right: number of correctly classified images among ``n``.
        n: number of images tried.
    """

    name: str
    preprocessing: Preprocessing
    options: str
    right: int
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
    indices = _spread(len(images), CHECK_IMAGES)
    predicted = _predictions(classifier.logits, classifier, images, indices)
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


def near_chance(accuracy: Proportion, num_classes: int) -> bool:
    """Whether ``accuracy`` is at most twice chance, or a tenth of the way from chance to 1.

    >>> near_chance(proportion(15, 100), 10), near_chance(proportion(30, 100), 10)
    (True, False)
    """
    chance = 1 / num_classes
    return accuracy.value <= min(2 * chance, chance + 0.1 * (1 - chance))


def check_clean_accuracy(classifier: Classifier, images: ImageSet) -> Proportion | None:
    """Clean accuracy if it is better than chance; None without labels.

    Raises:
        PreprocessingError: it is at or near chance. The hint names the usual causes and, if a
            common preprocessing does better, the options that select it; none is chosen silently.
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
    raise PreprocessingError(message, hint=chance_hint(classifier, images))


def chance_hint(classifier: Classifier, images: ImageSet) -> str:
    """What to try if clean accuracy is at chance."""
    causes = "usual causes: normalisation, layout, channel order, label order, or other data"
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

    Significantly: the exact 95 % intervals on the same images do not overlap.
    """
    with_preprocessing = classifier.runtime.with_preprocessing
    if images.labels is None or with_preprocessing is None:
        return None
    indices = _spread(len(images), TRIAL_IMAGES)
    labels = images.labels[indices]
    present = _predictions(classifier.logits, classifier, images, indices)
    used = classifier.preprocessing
    best: Alternative | None = None
    for name, preprocessing in alternatives(used, classifier.image_shape[0]):
        logits = with_preprocessing(preprocessing)
        predicted = _predictions(logits, classifier, images, indices)
        right = int((predicted == labels).sum())
        if best is None or right > best.right:
            options = options_for(preprocessing, present=used)
            best = Alternative(name, preprocessing, options, right, len(indices))
    now = proportion(int((present == labels).sum()), len(indices))
    if best is None or proportion(best.right, best.n).lower <= now.upper:
        return None
    return best


def alternatives(present: Preprocessing, channels: int) -> Iterator[tuple[str, Preprocessing]]:
    """Common preprocessings for the same input, with their names."""
    for arrangement, arranged in _arrangements(present, channels):
        order = -1 if arranged.channels == "BGR" else 1  # means follow the model's channel order
        for scaling in _NORMALISATIONS:
            mean, std = scaling.mean[::order], scaling.std[::order]
            changed = replace(arranged, range=scaling.limits, mean=mean, std=std)
            if changed != present and len(mean) in (0, channels):
                yield ", ".join(filter(None, (scaling.name, arrangement))), changed


def options_for(wanted: Preprocessing, *, present: Preprocessing) -> str:
    """Command-line options that change the preprocessing ``present`` to ``wanted``.

    >>> from robcert.certify.model import Preprocessing
    >>> options_for(Preprocessing(range=(0, 255), channels="BGR"), present=Preprocessing())
    '--range 0,255 --preprocess FILE, where FILE contains {"channels": "BGR"}'
    """
    options = []
    if wanted.range != present.range:
        options.append(f"--range {_listed(wanted.range)}")
    if wanted.mean != present.mean:
        options.append(f"--mean {_listed(wanted.mean or (0,))}")
    if wanted.std != present.std:
        options.append(f"--std {_listed(wanted.std or (1,))}")
    if wanted.layout != present.layout:
        options.append(f"--layout {wanted.layout}")
    rest: dict[str, str] = {}  # parts without an option of their own
    if wanted.channels != present.channels:
        rest["channels"] = wanted.channels
    if wanted.flatten != present.flatten:
        rest["flatten"] = wanted.flatten
    if rest:
        options.append(f"--preprocess FILE, where FILE contains {json.dumps(rest)}")
    return " ".join(options)


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


def _accuracy_up_to_labels(classifier: Classifier, images: ImageSet) -> float | None:
    """Share correct under the best permutation of the classes; None where it is not significant."""
    k = classifier.num_classes
    indices = _spread(len(images), CHECK_IMAGES)
    if images.labels is None or len(indices) < 10 * k:
        return None
    counts = np.zeros((k, k), np.int64)
    predicted = _predictions(classifier.logits, classifier, images, indices)
    named = predicted >= 0
    np.add.at(counts, (images.labels[indices][named], predicted[named]), 1)
    rows, columns = linear_sum_assignment(-counts)
    share = float(counts[rows, columns].sum() / len(indices))
    return share if share > 0.5 + 0.5 / k else None


def _predictions(
    logits: Logits, classifier: Classifier, images: ImageSet, indices: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Classes that ``logits`` predicts for the images at ``indices``, FAILED where it fails.

    Raises:
        RobcertError: it fails on all of them.
    """
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
    if failed and len(failed) == len(indices):
        raise failed[0]
    return predicted


def _spread(n: int, most: int) -> NDArray[np.int64]:
    """At most ``most`` positions spread evenly over ``n``: sets are often sorted by class."""
    return np.linspace(0, n - 1, min(n, most)).astype(np.int64)
