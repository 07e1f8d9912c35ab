"""From pixels to the model's input, as a proof file states it in JSON."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from .errors import ProofFileError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

KEYS = {"layout", "flatten", "range", "channels", "mean", "std", "dtype", "input_shape"}

CHOICES = {
    "layout": ("NCHW", "NHWC", "flat"),
    "flatten": ("row-major", "column-major"),
    "channels": ("RGB", "BGR"),
    "dtype": ("float32", "uint8"),
}

MOST_NUMBERS = 4096
"""Entries of a list of numbers."""


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """How pixels in [0, 1], ``(c, h, w)``, become the input of the model.

    In this order: scaling to ``range``, ``(x - mean) / std`` with constants in float32, order of
    the channels, layout, shape.

    Attributes:
        layout: NCHW, NHWC or flat.
        flatten: order of the pixels in a flat input.
        range: values of black and of white.
        channels: RGB or BGR; mean and std are in the model's order.
        mean: subtracted; one number, one per channel, or none.
        std: divisor, likewise.
        input_shape: shape of one input without the batch axis.
        dtype: type of the input; proofs about whole numbers are about images that are such.
    """

    layout: str
    flatten: str
    range: tuple[float, float]
    channels: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    input_shape: tuple[int, ...]
    dtype: str = "float32"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The preprocessing in JSON with exactly the keys of this class, and ``dtype``.

        Raises:
            ProofFileError: it has another form.
        """
        try:
            stated = json.loads(text)
        except (ValueError, RecursionError) as error:
            message = f"the preprocessing in the proof is not JSON: {error}"
            raise ProofFileError(message) from error
        if not isinstance(stated, dict) or set(stated) != KEYS:
            message = f"the preprocessing in the proof must have the keys {', '.join(sorted(KEYS))}"
            raise ProofFileError(message)
        for key, choices in CHOICES.items():
            if stated[key] not in choices:
                message = f"the checker knows {key} {' and '.join(choices)}, not {stated[key]!r}"
                raise ProofFileError(message)
        limits = _numbers("range", stated["range"])
        std = _numbers("std", stated["std"])
        if len(limits) != 2 or limits[0] == limits[1] or min(std, default=1) <= 0:
            message = "range or std of the preprocessing in the proof make no sense"
            raise ProofFileError(message)
        mean = _numbers("mean", stated["mean"])
        if stated["dtype"] != "float32" and (mean or std):
            message = "mean or std of an input of whole numbers in the proof make no sense"
            raise ProofFileError(message)
        if stated["dtype"] == "uint8" and not all(map(_is_level, limits)):
            message = "black and white of an input of whole numbers in the proof are none"
            raise ProofFileError(message)
        return cls(
            stated["layout"],
            stated["flatten"],
            (limits[0], limits[1]),
            stated["channels"],
            mean,
            std,
            _shape(stated["input_shape"]),
            stated["dtype"],
        )

    @property
    def sentence(self) -> str:
        """What happens to the pixels, in words."""
        black, white = self.range
        said = [f"scaled to [{black:g}, {white:g}]"]
        for name, numbers in (("mean", self.mean), ("std", self.std)):
            if numbers:
                said.append(f"{name} {', '.join(f'{number:g}' for number in numbers)}")
        layout = f"flat ({self.flatten})" if self.layout == "flat" else self.layout
        order = ", channels as BGR" if self.channels == "BGR" else ""
        return f"{', '.join(said)}; {layout}{order}"

    def constant(self, values: tuple[float, ...], shape: tuple[int, ...]) -> Array:
        """Constants per channel in the order of the image, of images of ``shape (c, h, w)``.

        Raises:
            ProofFileError: there are neither one nor one for each channel.
        """
        if len(values) not in (1, shape[0]):
            message = "mean and std in the proof do not fit the channels of its images"
            raise ProofFileError(message)
        ordered = values[::-1] if self.channels == "BGR" else values
        rounded = np.array(ordered, np.float32).astype(np.float64)
        return np.broadcast_to(rounded[:, None, None], shape).ravel()

    def arranged(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Elements ``(c, h, w)`` in the order of the model's input, ``(1, *input_shape)``.

        Raises:
            ProofFileError: their number is another.
        """
        if self.channels == "BGR":
            numbers = numbers[::-1]
        if self.layout == "NHWC":
            numbers = numbers.transpose(1, 2, 0)
        elif self.layout == "flat" and self.flatten == "column-major":
            numbers = numbers.transpose(0, 2, 1)
        if numbers.size != math.prod(self.input_shape):
            message = "the images in the proof do not fit the input of the model"
            raise ProofFileError(message)
        return numbers.reshape(1, *self.input_shape)


def _numbers(key: str, value: Any) -> tuple[float, ...]:
    listed = isinstance(value, list) and len(value) <= MOST_NUMBERS
    if not listed or not all(_is_number(x) for x in value):
        message = f"{key} of the preprocessing in the proof must be a list of finite numbers"
        raise ProofFileError(message)
    return tuple(map(float, value))


def _is_level(value: float) -> bool:
    """Whether a number stands for itself among those of 8 bits, or for the nearest beyond them."""
    return value.is_integer() or not 0 < value < 255


def _is_number(x: object) -> bool:
    return isinstance(x, int | float) and not isinstance(x, bool) and abs(x) < 1e30


def _shape(value: Any) -> tuple[int, ...]:
    listed = isinstance(value, list) and 0 < len(value) <= 8
    if not listed or not all(type(n) is int and 0 < n <= 2**24 for n in value):
        message = "input_shape of the preprocessing in the proof must list positive sizes"
        raise ProofFileError(message)
    return tuple(value)
