"""Normalisations in common use: ranges, and means and standard deviations of data sets."""

from __future__ import annotations

from dataclasses import dataclass

ImageShape = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Normalisation:
    """A common normalisation; mean and std in the order RGB.

    Attributes:
        name: its name in messages.
        limits: values of black and white before mean and std are applied.
        mean: per channel; empty for none.
        std: likewise.
        images: (c, h, w) of the data set that the constants are from; empty if of no data set.
        word: part of the names of that data set.
    """

    name: str
    limits: tuple[float, float] = (0.0, 1.0)
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    images: tuple[int, ...] = ()
    word: str = ""

    def fit(self, shape: ImageShape, name: str) -> int:
        """How well the constants fit images of ``shape`` from the set ``name``, 0 to 2.

        2 if they are from that set, 1 if from a set of such images or from none.
        """
        if not self.images:
            return 1
        plain = name.lower().replace("-", "").replace("_", "")
        other = self.word == "mnist" and "fashion" in plain
        same_set = self.word in plain and not other and self.word + "0" not in plain
        return 2 * (self.images == shape and same_set) or int(self.images == shape)


_SMALL, _GREY = (3, 32, 32), (1, 28, 28)
_PHOTOGRAPHS = (3, 224, 224)

NORMALISATIONS = (
    Normalisation("range 0 to 1"),
    Normalisation("range 0 to 255", (0.0, 255.0)),
    Normalisation("range -1 to 1", (-1.0, 1.0)),
    Normalisation("inverted pixel values", (1.0, 0.0)),
    Normalisation(
        "ImageNet mean and std",
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        images=_PHOTOGRAPHS,
        word="imagenet",
    ),
    Normalisation(
        "ImageNet means of 0 to 255",
        (0.0, 255.0),
        mean=(123.68, 116.78, 103.94),
        images=_PHOTOGRAPHS,
        word="imagenet",
    ),
    Normalisation(
        "CIFAR-10 mean and std",
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.247, 0.2435, 0.2616),
        images=_SMALL,
        word="cifar10",
    ),
    Normalisation(
        "CIFAR-10 mean and the smaller std in common use",
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2023, 0.1994, 0.201),
        images=_SMALL,
        word="cifar10",
    ),
    Normalisation(
        "CIFAR-100 mean and std",
        mean=(0.5071, 0.4865, 0.4409),
        std=(0.2673, 0.2564, 0.2762),
        images=_SMALL,
        word="cifar100",
    ),
    Normalisation(
        "SVHN mean and std",
        mean=(0.4377, 0.4438, 0.4728),
        std=(0.198, 0.201, 0.197),
        images=_SMALL,
        word="svhn",
    ),
    Normalisation("MNIST mean and std", mean=(0.1307,), std=(0.3081,), images=_GREY, word="mnist"),
    Normalisation(
        "Fashion-MNIST mean and std",
        mean=(0.286,),
        std=(0.353,),
        images=_GREY,
        word="fashion",
    ),
)
"""Candidates, tried in this order."""
