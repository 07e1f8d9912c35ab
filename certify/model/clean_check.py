"""Is the model given what it expects? Clean accuracy is the only witness, and it can only warn.

A wrong layout or range shows as chance accuracy. A slightly wrong normalisation does not show at
all, which is why what was assumed is always printed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy.optimize import linear_sum_assignment

from robcert.certify.errors import PreprocessingError
from robcert.certify.failures import in_parts
from robcert.certify.stats import Proportion, proportion

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from robcert.certify.data import ImageSet

    from .classifier import Classifier, Logits
    from .preprocessing import Preprocessing

CHECK_IMAGES = 200
"""Images on which clean accuracy is looked at before an analysis."""

TRIAL_IMAGES = 64
"""Images on which other preprocessings are tried, to suggest one."""

TRIAL_BATCH = 32


@dataclass(frozen=True, slots=True)
class _Normalisation:
    """A common way to scale pixels; mean and std in the order RGB."""

    name: str
    limits: tuple[float, float] = (0.0, 1.0)
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()


_NORMALISATIONS = (
    _Normalisation("range 0 to 1"),
    _Normalisation("range 0 to 255", (0.0, 255.0)),
    _Normalisation("range -1 to 1", (-1.0, 1.0)),
    _Normalisation("black and white exchanged", (1.0, 0.0)),
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
    """Another preprocessing, and how it does.

    Attributes:
        name: what is different, for people.
        preprocessing: the whole of it.
        right: correctly classified images among ``n``.
        n: images tried.
    """

    name: str
    preprocessing: Preprocessing
    right: int
    n: int


def clean_accuracy(classifier: Classifier, images: ImageSet) -> Proportion | None:
    """Accuracy of the runtime on images spread evenly over the set; None without labels."""
    if images.labels is None:
        return None
    indices = _spread(len(images), CHECK_IMAGES)
    predicted = _predictions(classifier.logits, classifier, images, indices)
    return proportion(int((predicted == images.labels[indices]).sum()), len(indices))


def near_chance(accuracy: Proportion, num_classes: int) -> bool:
    """Whether ``accuracy`` is at most twice chance, or a tenth of the way from chance to 1.

    >>> near_chance(proportion(15, 100), 10), near_chance(proportion(30, 100), 10)
    (True, False)
    """
    chance = 1 / num_classes
    return accuracy.value <= min(2 * chance, chance + 0.1 * (1 - chance))


def check_clean_accuracy(classifier: Classifier, images: ImageSet) -> Proportion | None:
    """Clean accuracy, once it is seen to be better than chance; None without labels.

    Raises:
        PreprocessingError: it is at or near chance. The hint names the usual causes, and the
            alternative that does better if one of the usual ones does; none is ever chosen.
    """
    accuracy = clean_accuracy(classifier, images)
    if accuracy is None or not near_chance(accuracy, classifier.num_classes):
        return accuracy
    right = round(accuracy.value * accuracy.n)
    message = (
        f"{classifier.info.file} classifies {right} of {accuracy.n} images of {images.name} "
        f"correctly, no better than chance (1 in {classifier.num_classes})"
    )
    raise PreprocessingError(message, hint=chance_hint(classifier, images))


def chance_hint(classifier: Classifier, images: ImageSet) -> str:
    """What to try when clean accuracy is at chance."""
    causes = "usual causes: normalisation, layout, channel order, label order, or other data"
    best = better_alternative(classifier, images)
    matched = _accuracy_up_to_labels(classifier, images)
    if matched is not None and (best is None or matched > best.right / best.n):
        return (
            f"the classes seem to be in another order: {matched:.0%} of the images are right up to "
            f"a renaming of the classes. {causes}"
        )
    if best is not None:
        share = f"{best.right} of {best.n}"
        options = "--range, --mean, --std, --layout"
        return f"with {best.name} it would be {share}; if so, pass it ({options}). {causes}"
    return f"{causes}; none of the common preprocessings does better"


def better_alternative(classifier: Classifier, images: ImageSet) -> Alternative | None:
    """The common preprocessing that does clearly better than the present one; None if none does.

    "Clearly": the exact 95 % intervals on the same images do not overlap.
    """
    if images.labels is None or classifier.with_preprocessing is None:
        return None
    indices = _spread(len(images), TRIAL_IMAGES)
    labels = images.labels[indices]
    present = _predictions(classifier.logits, classifier, images, indices)
    best: Alternative | None = None
    for name, preprocessing in alternatives(classifier.preprocessing, classifier.image_shape[0]):
        logits = classifier.with_preprocessing(preprocessing)
        predicted = _predictions(logits, classifier, images, indices)
        right = int((predicted == labels).sum())
        if best is None or right > best.right:
            best = Alternative(name, preprocessing, right, len(indices))
    now = proportion(int((present == labels).sum()), len(indices))
    if best is None or proportion(best.right, best.n).lower <= now.upper:
        return None
    return best


def alternatives(present: Preprocessing, channels: int) -> Iterator[tuple[str, Preprocessing]]:
    """Common preprocessings that fit the same input, with their names."""
    for arrangement, arranged in _arrangements(present, channels):
        order = -1 if arranged.channels == "BGR" else 1  # means follow the model's channel order
        for scaling in _NORMALISATIONS:
            mean, std = scaling.mean[::order], scaling.std[::order]
            changed = replace(arranged, range=scaling.limits, mean=mean, std=std)
            if changed != present and len(mean) in (0, channels):
                yield ", ".join(filter(None, (scaling.name, arrangement))), changed


def _arrangements(present: Preprocessing, channels: int) -> Iterator[tuple[str, Preprocessing]]:
    """Orders of channels and pixels that give an input of the same shape."""
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
    """Share that is right under the best renaming of the classes; None where it says nothing."""
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
    """Classes that ``logits`` gives the images at ``indices``, -1 where it fails.

    Raises:
        RobcertError: it fails on all of them.
    """
    failed: dict[int, Exception] = {}
    predicted = np.full(len(indices), -1, np.int64)

    def classes(at: NDArray[np.int64]) -> NDArray[np.int64]:
        pixels = images.pixels(indices[at]).to(classifier.device)
        return np.asarray(logits(pixels).argmax(1).cpu())

    with classifier.forward_only():
        for start in range(0, len(indices), TRIAL_BATCH):
            step = np.arange(start, min(start + TRIAL_BATCH, len(indices)))
            for at, found in in_parts(classes, step, failed):
                predicted[at] = found
    if failed and len(failed) == len(indices):
        raise failed[0]
    return predicted


def _spread(n: int, most: int) -> NDArray[np.int64]:
    """At most ``most`` positions spread evenly over ``n``; sets are often sorted by class."""
    return np.linspace(0, n - 1, min(n, most)).astype(np.int64)
